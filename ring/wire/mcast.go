package wire

import "encoding/binary"

// McastBytes is the header of a Mcast.
const McastBytes = 45

// Mcast is a packet with a place in the order (section 2.4). Payload points into the packet
// it was parsed from.
type Mcast struct {
	Order    Order
	Node     NodeID // the originator, also in a retransmission by somebody else
	From     NodeID // system_from; equal to Node from a well-behaved peer
	Seq      Seq
	Ring     RingID
	Recovery bool // Payload is a whole Mcast of an old ring
	Payload  []byte
}

// ParseMcast reads a Mcast.
func ParseMcast(b []byte) (Mcast, error) {
	h, err := parse(b, TypeMcast, McastBytes)
	if err != nil {
		return Mcast{}, err
	}
	if h.Encapsulated != encapsulatedPlain && h.Encapsulated != encapsulatedRecovery {
		return Mcast{}, ErrType
	}
	o := h.Order
	m := Mcast{
		Order:    o,
		Node:     h.Node,
		From:     NodeID(o.Uint32(b[13:])),
		Seq:      Seq(o.Uint32(b[17:])),
		Ring:     o.ringID(b[25:]),
		Recovery: h.Encapsulated == encapsulatedRecovery,
		Payload:  b[McastBytes:],
	}
	if m.Node == 0 || m.From == 0 {
		return Mcast{}, ErrNode
	}
	return m, nil
}

// PutMcast writes the header of a Mcast into the first McastBytes of b. local is the
// sender's own count of packets, which nobody reads.
func PutMcast(b []byte, from NodeID, seq Seq, local uint32, ring RingID, recovery bool) {
	encapsulated := uint8(encapsulatedPlain)
	if recovery {
		encapsulated = encapsulatedRecovery
	}
	putHeader(b, TypeMcast, encapsulated, from, 0)
	binary.LittleEndian.PutUint32(b[13:], uint32(from))
	binary.LittleEndian.PutUint32(b[17:], uint32(seq))
	binary.LittleEndian.PutUint32(b[21:], local)
	putRingID(b[25:], ring)
	binary.LittleEndian.PutUint32(b[37:], 0) // node_id, always 0
	binary.LittleEndian.PutUint32(b[41:], 0) // guarantee: agreed
}
