package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// EventKind tells the three kinds of events apart.
type EventKind uint8

// The events, in the order in which a change of the ring brings them: packets of the old
// ring, Transitional, packets that only those who come along deliver, Regular, packets of the
// new ring.
const (
	EventPacket EventKind = iota
	EventTransitional
	EventRegular
)

// Event is a packet in its place or a configuration.
type Event struct {
	Kind    EventKind
	Seq     wire.Seq // of a packet, on the ring of the last Regular event
	From    wire.NodeID
	Order   wire.Order
	Payload []byte // points into Block, valid until Output.Reset
	Block   *wire.Block
	Config  *Configuration
}

// Configuration is a change of the ring.
type Configuration struct {
	Ring    wire.RingID
	Members []wire.NodeID // Transitional: of the old ring, those that come along; ascending
	Joined  []wire.NodeID // Regular: members that did not come along
	Left    []Departure   // Transitional: members of the old ring that do not come along
}

// Departure is a node that is no longer in the ring.
type Departure struct {
	Node  wire.NodeID
	Clean bool // it said goodbye
}

// Output collects what calls of a Machine produce. The machine only appends; its owner uses
// the contents and calls Reset.
type Output struct {
	Send   []wire.Datagram
	Events []Event
	// Retired are the blocks whose last user may be an event in this or an earlier Output.
	// An owner that keeps payloads longer takes them away and releases them later.
	Retired []*wire.Block
	// RingSeq is to be saved, before anything in Send is sent, if SaveRing is set.
	RingSeq  uint64
	SaveRing bool

	arena []byte
}

// controlBytes is room for the tokens and joins of one round of calls.
const controlBytes = 16 << 10

// NewOutput makes an empty Output.
func NewOutput() *Output { return &Output{arena: make([]byte, 0, controlBytes)} }

// Reset forgets everything and releases what is retired.
func (o *Output) Reset() {
	for _, b := range o.Retired {
		b.Release()
	}
	clear(o.Retired)
	clear(o.Events)
	clear(o.Send)
	o.Send, o.Events, o.Retired = o.Send[:0], o.Events[:0], o.Retired[:0]
	o.arena = o.arena[:0]
	o.SaveRing = false
}

// begin returns memory with room for most bytes to append a control message to; end sends
// what was appended. If the arena is full a new one is begun; datagrams before keep the old.
func (o *Output) begin(most int) []byte {
	if cap(o.arena)-len(o.arena) < most {
		o.arena = make([]byte, 0, max(controlBytes, most))
	}
	return o.arena
}

func (o *Output) end(to wire.NodeID, arena []byte) []byte {
	at := len(o.arena)
	o.arena = arena
	data := arena[at:len(arena):len(arena)]
	o.Send = append(o.Send, wire.Datagram{To: to, Data: data})
	return data
}
