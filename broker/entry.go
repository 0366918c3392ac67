package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Index is an entry's position in the one order. It also names a message in every
// queue it was routed to, since an entry enqueues at most once to a queue.
type Index uint64

// ConnID names a client connection on its own member.
type ConnID uint32

// ConsumerID names a consumer within its connection; the session chooses it.
type ConsumerID uint32

// Kind tells what an entry changes.
type Kind uint8

// The kinds of entries. Their numbers are bytes on the wire and on disk.
const (
	KindInvalid Kind = iota
	KindPublish
	KindQueueDeclare
	KindQueueDelete
	KindQueuePurge
	KindExchangeDeclare
	KindExchangeDelete
	KindBind
	KindUnbind
	KindSubscribe
	KindCancel
	KindConnClosed
	KindDequeue
	KindRelease
	KindDeadLetter
	KindHeld
	KindControl // the cluster's own: see package cluster
	KindCounted
)

// HeaderBytes is the size of the header that every entry opens with:
//
//	0 size u32 (all of it)  4 kind u8  5 flags u8  6 format u8  7 priority u8  8 conn u32
//
// All integers are little endian.
const HeaderBytes = 12

// Limits of one entry.
const (
	MaxEntryBytes = 256 << 20
	MaxNameBytes  = 255
)

// Header is the fixed head of an entry.
type Header struct {
	Size     uint32
	Kind     Kind
	Flags    uint8
	Format   Format
	Priority uint8
	Conn     ConnID
}

// ParseHeader reads the head of an entry; b may hold more than the entry.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderBytes {
		return Header{}, errShort
	}
	h := Header{
		Size:     binary.LittleEndian.Uint32(b),
		Kind:     Kind(b[4]),
		Flags:    b[5],
		Format:   Format(b[6]),
		Priority: b[7],
		Conn:     ConnID(binary.LittleEndian.Uint32(b[8:])),
	}
	if h.Size < HeaderBytes || h.Size > MaxEntryBytes {
		return h, fmt.Errorf("entry of %d bytes: a size is %d to %d", h.Size, HeaderBytes, MaxEntryBytes)
	}
	if h.Kind == KindInvalid || h.Kind > KindCounted {
		return h, fmt.Errorf("entry of unknown kind %d", h.Kind)
	}
	return h, nil
}

var errShort = errors.New("entry is cut short")

// Format tells in which protocol's encoding a message's properties and body are.
type Format uint8

// Message formats.
const (
	// FormatAMQP091 keeps, as Props, the property flags and property list of a content
	// header frame (what follows its body-size field), and the bare body.
	FormatAMQP091 Format = iota + 1
	// FormatAMQP100 keeps, as Props, nothing or the encoded header, delivery and message
	// annotations, properties and application-properties sections as received, and, as
	// Body, the encoded body and footer sections.
	FormatAMQP100
)

// Flags of a publish entry.
const (
	FlagDurable     uint8 = 1 << iota
	FlagMandatory         // answer NoRoute, with the message, if it reaches no queue
	FlagTTL               // TTL counts
	FlagRedelivered       // was delivered before it was published here (dead lettering keeps it)
)

// FlagLogged, on what becomes of messages, or tells of it: some of them are on the disk, and so this
// has to be.
const FlagLogged uint8 = 1 << 7

// Logged tells, by the head of an entry, whether it is durable: what is left of the state when
// all members have lost power is what the durable entries make of it. All wiring is, also of
// what is itself not durable, since that decides what comes to durable queues.
func Logged(entry []byte) bool {
	switch Kind(entry[4]) {
	case KindPublish:
		return entry[5]&FlagDurable != 0
	case KindDequeue, KindRelease, KindDeadLetter, KindCounted:
		return entry[5]&FlagLogged != 0
	case KindHeld, KindControl:
		return false
	}
	return true
}

// Publish is a message on its way in, and what a delivered record parses to.
type Publish struct {
	Flags    uint8
	Format   Format
	Priority uint8
	Conn     ConnID
	TTL      uint32 // milliseconds, if FlagTTL
	Exchange []byte // "" is the default exchange
	Key      []byte
	// Trail names the queues, 8 bytes each, in which the message died of itself since it was
	// last rejected.
	Trail []byte
	Props []byte
	Body  []byte
}

// publishBytes is what a publish entry adds to the header:
//
//	12 ttl u32  16 props u32  20 exchange u8  21 key u8  22 queues on the trail u16; then the five byte strings
const publishBytes = 12

// PublishSize is the size of p as an entry.
func PublishSize(p *Publish) int {
	return HeaderBytes + publishBytes + len(p.Exchange) + len(p.Key) + len(p.Trail) + len(p.Props) + len(p.Body)
}

// AppendPublish appends p as an entry. The caller has held names to MaxNameBytes and the
// whole to MaxEntryBytes.
func AppendPublish(b []byte, p *Publish) []byte {
	b = AppendPublishHead(b, p, len(p.Body))
	return append(b, p.Body...)
}

// AppendPublishHead appends all of p but its body, of which bodyBytes are to follow.
func AppendPublishHead(b []byte, p *Publish, bodyBytes int) []byte {
	size := PublishSize(p) - len(p.Body) + bodyBytes
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = append(b, byte(KindPublish), p.Flags, byte(p.Format), p.Priority)
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Conn))
	b = binary.LittleEndian.AppendUint32(b, p.TTL)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Props)))
	b = append(b, byte(len(p.Exchange)), byte(len(p.Key)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(p.Trail)/8))
	b = append(b, p.Exchange...)
	b = append(b, p.Key...)
	b = append(b, p.Trail...)
	return append(b, p.Props...)
}

// ParsePublish reads a publish entry; the slices of p point into b.
func ParsePublish(b []byte, p *Publish) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if h.Kind != KindPublish {
		return fmt.Errorf("entry of kind %d is no publish", h.Kind)
	}
	if uint64(h.Size) > uint64(len(b)) || h.Size < HeaderBytes+publishBytes {
		return errShort
	}
	b = b[:h.Size]
	props := binary.LittleEndian.Uint32(b[16:])
	exchange, key, trail := int(b[20]), int(b[21]), 8*int(binary.LittleEndian.Uint16(b[22:]))
	rest := b[HeaderBytes+publishBytes:]
	if uint64(exchange+key+trail)+uint64(props) > uint64(len(rest)) {
		return errShort
	}
	p.Flags, p.Format, p.Priority, p.Conn = h.Flags, h.Format, h.Priority, h.Conn
	p.TTL = binary.LittleEndian.Uint32(b[12:])
	p.Exchange, rest = rest[:exchange], rest[exchange:]
	p.Key, rest = rest[:key], rest[key:]
	p.Trail, rest = rest[:trail], rest[trail:]
	p.Props, p.Body = rest[:props], rest[props:]
	return nil
}

// Overflow tells what a full queue does.
type Overflow uint8

// Overflow policies.
const (
	OverflowDropHead Overflow = iota
	OverflowReject
)

// MaxTTL is the longest that a queue may have its messages live, or live unused: ten years of 365 days, in
// milliseconds, as in RabbitMQ.
const MaxTTL = 10 * 365 * 24 * 3600 * 1000

// QueueOptions are what a queue was declared with.
type QueueOptions struct {
	Durable           bool
	Exclusive         bool    // to the declaring connection; gone with it
	AutoDelete        bool    // gone when its last consumer is
	MessageTTL        *uint64 // milliseconds, MaxTTL at most
	Expires           *uint64 // milliseconds unused, MaxTTL at most
	MaxLength         *uint64
	MaxLengthBytes    *uint64
	CountBodies       bool // MaxLengthBytes is of bodies; else of records, as in queues of before there was this
	Overflow          Overflow
	DeadLetter        *string // exchange for what is rejected, expired, dropped at the head
	DeadLetterKey     *string // nil keeps the message's own
	AlternateExchange string  // qpidd's: for what is rejected or left when the queue is deleted
}

// QueueDeclare creates or checks a queue.
type QueueDeclare struct {
	Conn    ConnID
	Name    string
	Passive bool
	Options QueueOptions
}

// QueueDelete deletes a queue.
type QueueDelete struct {
	Conn              ConnID
	Name              string
	IfUnused, IfEmpty bool
}

// QueuePurge drops what is ready in a queue.
type QueuePurge struct {
	Conn ConnID
	Name string
}

// ExchangeType is how an exchange routes.
type ExchangeType uint8

// Exchange types.
const (
	Direct ExchangeType = iota + 1
	Fanout
	Topic
	Headers
)

// ExchangeOptions are what an exchange was declared with.
type ExchangeOptions struct {
	Type              ExchangeType
	Durable           bool
	AutoDelete        bool
	Internal          bool // clients may not publish to it
	AlternateExchange string
}

// ExchangeDeclare creates or checks an exchange.
type ExchangeDeclare struct {
	Conn    ConnID
	Name    string
	Passive bool
	Options ExchangeOptions
}

// ExchangeDelete deletes an exchange.
type ExchangeDelete struct {
	Conn     ConnID
	Name     string
	IfUnused bool
}

// Match is how a headers binding matches.
type Match uint8

// Header matches; the X forms do not skip names that begin with "x-".
const (
	MatchAll Match = iota
	MatchAny
	MatchAllX
	MatchAnyX
)

// Field is one argument of a headers binding.
type Field struct {
	Name  string
	Value Value
}

// ValueKind is the type of a Value.
type ValueKind uint8

// Value kinds. Integers of all widths compare as one kind.
const (
	ValueVoid ValueKind = iota
	ValueBool
	ValueInt
	ValueFloat
	ValueString
	ValueOther // cannot be matched by value
)

// Value is a header's value in no protocol's encoding.
type Value struct {
	Kind  ValueKind
	Int   int64 // also Bool, as 0 or 1
	Float float64
	Str   string
}

// Equal is equality as the headers exchange wants it.
func (v Value) Equal(w Value) bool {
	if v.Kind == ValueFloat && w.Kind == ValueFloat {
		return v.Float == w.Float || math.IsNaN(v.Float) && math.IsNaN(w.Float)
	}
	return v == w && v.Kind != ValueOther
}

// Bind ties a queue or an exchange to an exchange. Bind and Unbind are one shape.
type Bind struct {
	Conn       ConnID
	Exchange   string // source
	ToExchange bool   // Target is an exchange
	Target     string
	Key        string
	Match      Match
	Fields     []Field
	HasFields  bool // the arguments tell bindings apart also when empty
}

// Subscribe attaches a consumer to a queue.
type Subscribe struct {
	Conn      ConnID
	Consumer  ConsumerID
	Queue     string
	Exclusive bool
	Browse    bool // deliver copies, acquire nothing
	Settled   bool // delivered messages are done with: no Settle follows
}

// Cancel detaches a consumer. What it holds stays held until settled or the connection ends.
type Cancel struct {
	Conn     ConnID
	Consumer ConsumerID
}
