package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"strconv"
)

// NodeID names a member of the ring. Zero names nobody: in a join it marks a leave, as the
// destination of a datagram it means everyone.
type NodeID uint32

func (n NodeID) String() string { return strconv.FormatUint(uint64(n), 10) }

// Seq is the place of a packet in the order of one ring. It counts from 1 and wraps.
type Seq uint32

// Sequence numbers above this point are compared shifted, so that those just before the wrap
// come before those just after it (section 0). Peers do exactly this; serial number
// arithmetic would differ from them for distances of more than 2^31.
const (
	seqRolloverPoint = 0x80000000
	seqRolloverShift = 0x10000
)

// Less reports whether s comes before o.
func (s Seq) Less(o Seq) bool {
	if s > seqRolloverPoint || o > seqRolloverPoint {
		return s-seqRolloverShift < o-seqRolloverShift
	}
	return s < o
}

// AtMost reports whether s is o or comes before it.
func (s Seq) AtMost(o Seq) bool { return s == o || s.Less(o) }

// Min returns the earlier of two places.
func (s Seq) Min(o Seq) Seq {
	if o.Less(s) {
		return o
	}
	return s
}

// RingID names one configuration of the ring: the representative that formed it and a number
// that grows with every ring anybody in it has heard of.
type RingID struct {
	Rep NodeID
	Seq uint64
}

func (r RingID) String() string {
	return r.Rep.String() + "." + strconv.FormatUint(r.Seq, 16)
}

const ringIDBytes = 12

// What a decoder refuses, by cause. Links and machines count by these.
var (
	ErrShort   = errors.New("wire: packet shorter than its fields")
	ErrMagic   = errors.New("wire: not a ring packet (bad magic)")
	ErrVersion = errors.New("wire: unknown protocol version")
	ErrType    = errors.New("wire: unexpected message type")
	ErrCount   = errors.New("wire: count above its limit")
	ErrLength  = errors.New("wire: lengths do not add up to the packet")
	ErrNode    = errors.New("wire: node id zero where a node must be named")
)

// Order is the byte order of the sender of a packet. The zero value is little endian, which
// is what we send.
type Order bool

// The byte orders.
const (
	Little Order = false
	Big    Order = true
)

// Uint16 reads two bytes. b must hold them; so for the others.
func (o Order) Uint16(b []byte) uint16 {
	v := binary.LittleEndian.Uint16(b)
	if o {
		v = bits.ReverseBytes16(v)
	}
	return v
}

// Uint32 reads four bytes.
func (o Order) Uint32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if o {
		v = bits.ReverseBytes32(v)
	}
	return v
}

// Uint64 reads eight bytes.
func (o Order) Uint64(b []byte) uint64 {
	v := binary.LittleEndian.Uint64(b)
	if o {
		v = bits.ReverseBytes64(v)
	}
	return v
}

func (o Order) ringID(b []byte) RingID {
	return RingID{Rep: NodeID(o.Uint32(b)), Seq: o.Uint64(b[4:])}
}

func putRingID(b []byte, r RingID) {
	binary.LittleEndian.PutUint32(b, uint32(r.Rep))
	binary.LittleEndian.PutUint64(b[4:], r.Seq)
}

func appendUint32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func appendUint64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func appendRingID(b []byte, r RingID) []byte {
	return appendUint64(appendUint32(b, uint32(r.Rep)), r.Seq)
}
