package wire

import "encoding/binary"

// Type is the kind of a ring message (section 2).
type Type uint8

// The six messages of the protocol.
const (
	TypeToken Type = iota
	TypeMcast
	TypeMergeDetect
	TypeJoin
	TypeCommit
	TypeHoldCancel
	typeCount
)

var typeNames = [typeCount]string{
	"token", "mcast", "merge-detect", "join", "commit", "hold-cancel",
}

func (t Type) String() string {
	if t < typeCount {
		return typeNames[t]
	}
	return "unknown"
}

// Named limits of the protocol. Peers assert on some of them, so we never send more.
const (
	HeaderBytes = 13
	// MaxPacketBytes is the largest ring message: what one UDP datagram can carry.
	MaxPacketBytes = 65507
	// MaxMembers is the size of every list of nodes in corosync (PROCESSOR_COUNT_MAX).
	MaxMembers = 384
	// MaxRetransmit is the number of retransmission requests on a token.
	MaxRetransmit = 30
)

const (
	magicLittle = 0xC070 // as read by a little endian reader from a little endian sender
	magicBig    = 0x70C0
	version     = 3
)

// The encapsulated field of the header: what a Mcast carries.
const (
	encapsulatedNone     = 0 // any message but a Mcast
	encapsulatedRecovery = 1 // a whole message of an old ring
	encapsulatedPlain    = 2
)

// Header opens every ring message. The target field at offset 9 is left out: over UDP
// corosync sends whatever its stack held there. Over knet it counts, see Target.
type Header struct {
	Order        Order
	Type         Type
	Encapsulated uint8
	Node         NodeID // the last sender; 0 in a join marks a leave
}

// ParseHeader reads the header and checks magic, version and type.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < HeaderBytes {
		return h, ErrShort
	}
	switch binary.LittleEndian.Uint16(b) {
	case magicLittle:
		h.Order = Little
	case magicBig:
		h.Order = Big
	default:
		return h, ErrMagic
	}
	if b[2] != version {
		return h, ErrVersion
	}
	if b[3] >= uint8(typeCount) {
		return h, ErrType
	}
	h.Type = Type(b[3])
	h.Encapsulated = b[4]
	h.Node = NodeID(h.Order.Uint32(b[5:]))
	return h, nil
}

// Target is whom a packet is for: a node, or 0 for everyone, and of what is no ring packet. Only
// what came over transport knet has it right.
func Target(b []byte) NodeID {
	h, err := ParseHeader(b)
	if err != nil {
		return 0
	}
	return NodeID(h.Order.Uint32(b[9:]))
}

// TokenSeq is the token_seq of a token (section 2.3), without a look at the rest of it.
func TokenSeq(b []byte) (seq uint32, token bool) {
	if len(b) < tokenSeqAt+4 || Type(b[3]) != TypeToken {
		return 0, false
	}
	h, err := ParseHeader(b)
	if err != nil {
		return 0, false
	}
	return h.Order.Uint32(b[tokenSeqAt:]), true
}

// tokenSeqAt: behind the header and seq.
const tokenSeqAt = HeaderBytes + 4

// parse is ParseHeader for a decoder that knows which message it wants and how long it is at
// the least.
func parse(b []byte, want Type, least int) (Header, error) {
	h, err := ParseHeader(b)
	switch {
	case err != nil:
		return h, err
	case h.Type != want:
		return h, ErrType
	case len(b) < least:
		return h, ErrShort
	}
	return h, nil
}

func putHeader(b []byte, t Type, encapsulated uint8, from, target NodeID) {
	_ = b[HeaderBytes-1]
	binary.LittleEndian.PutUint16(b, magicLittle)
	b[2] = version
	b[3] = uint8(t)
	b[4] = encapsulated
	binary.LittleEndian.PutUint32(b[5:], uint32(from))
	binary.LittleEndian.PutUint32(b[9:], uint32(target))
}

func appendHeader(b []byte, t Type, encapsulated uint8, from, target NodeID) []byte {
	var h [HeaderBytes]byte
	putHeader(h[:], t, encapsulated, from, target)
	return append(b, h[:]...)
}
