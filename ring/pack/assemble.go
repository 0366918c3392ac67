package pack

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// maxAssembledBytes is what an assembler keeps for one node: the longest message and the
// rest of one packet, as in corosync.
const maxAssembledBytes = MaxMessageBytes + 64<<10

// Batch collects the messages of packets. Parts of a message point into the packets; the
// caller resets the batch when nobody looks at them any more and then releases Done.
type Batch struct {
	Parts    [][]byte
	Messages []Message
	Done     []*wire.Block // memory of fragments whose message is complete or given up
}

// Message is Parts[First:End] of its batch.
type Message struct{ First, End int }

// Counters of what an assembler threw away.
type Counters struct {
	Malformed  uint64 // packets whose lengths do not add up
	OutOfStep  uint64 // packets that did not continue what was there
	Overlong   uint64 // messages above the limit
	TooManyIDs uint64 // packets of senders beyond the limit of members
}

// Assembler takes the messages of one stream out of the packets of all members.
type Assembler struct {
	peers []peer
	Counters
}

// peer is what the assembler holds of one sender.
type peer struct {
	node     wire.NodeID
	last     uint8 // the continuation its next packet must have
	throwing bool  // its packets do not fit together: nothing is delivered
	bytes    int
	parts    [][]byte
	blocks   []*wire.Block
}

// Unpack takes the messages out of the payload of one packet.
func (a *Assembler) Unpack(from wire.NodeID, o wire.Order, payload []byte, block *wire.Block, out *Batch) {
	pk, err := wire.ParsePacking(o, payload)
	if err != nil {
		a.Malformed++
		return
	}
	p := a.peer(from)
	if p == nil {
		a.TooManyIDs++
		return
	}
	if a.accepts(p, &pk) {
		p.emit(&pk, out)
	}
	if pk.Fragmented == 0 {
		p.last, p.throwing = 0, false
		p.forget(out)
		return
	}
	if pk.Count > 1 {
		p.forget(out)
	}
	a.keep(p, &pk, block, out)
}

// accepts moves the sender's state by one packet and reports whether the packet's complete
// messages are delivered. In corosync a packet that ends in fragment 1 ends the throwing
// away, but the continuation expected next stays what it was, so that the packet after it
// usually starts it again; the same here, or members would deliver different messages.
func (a *Assembler) accepts(p *peer, pk *wire.Packing) bool {
	switch {
	case p.throwing:
		a.OutOfStep++
		p.throwing = pk.Fragmented > 1
		return false
	case pk.Continuation != p.last:
		a.OutOfStep++
		p.throwing = true
		return false
	}
	p.last = pk.Fragmented
	return true
}

// emit appends the messages that end in this packet; the first may have begun before.
func (p *peer) emit(pk *wire.Packing, out *Batch) {
	whole := pk.Count
	if pk.Fragmented != 0 {
		whole--
	}
	at := 0
	for i := range whole {
		first := len(out.Parts)
		if i == 0 {
			out.Parts = append(out.Parts, p.parts...)
		}
		n := pk.Len(i)
		if n > 0 {
			out.Parts = append(out.Parts, pk.Data[at:at+n:at+n])
		}
		at += n
		if len(out.Parts) > first {
			out.Messages = append(out.Messages, Message{First: first, End: len(out.Parts)})
		}
	}
}

// keep holds the fragment at the end of the packet.
func (a *Assembler) keep(p *peer, pk *wire.Packing, block *wire.Block, out *Batch) {
	n := pk.Len(pk.Count - 1)
	if p.bytes+n > maxAssembledBytes {
		a.Overlong++
		p.throwing = true
		p.forget(out)
		return
	}
	if n == 0 {
		return
	}
	p.bytes += n
	p.parts = append(p.parts, pk.Data[len(pk.Data)-n:len(pk.Data):len(pk.Data)])
	if block != nil {
		block.Retain()
		p.blocks = append(p.blocks, block)
	}
}

func (p *peer) forget(out *Batch) {
	out.Done = append(out.Done, p.blocks...)
	clear(p.parts)
	clear(p.blocks)
	p.parts, p.blocks, p.bytes = p.parts[:0], p.blocks[:0], 0
}

// Keep drops what the assembler holds of nodes that are not in members.
func (a *Assembler) Keep(members []wire.NodeID, out *Batch) {
	kept := a.peers[:0]
	for i := range a.peers {
		p := a.peers[i]
		if slices.Contains(members, p.node) {
			kept = append(kept, p)
			continue
		}
		p.forget(out)
	}
	clear(a.peers[len(kept):])
	a.peers = kept
}

func (a *Assembler) peer(n wire.NodeID) *peer {
	for i := range a.peers {
		if a.peers[i].node == n {
			return &a.peers[i]
		}
	}
	if len(a.peers) == wire.MaxMembers {
		return nil
	}
	a.peers = append(a.peers, peer{node: n})
	return &a.peers[len(a.peers)-1]
}
