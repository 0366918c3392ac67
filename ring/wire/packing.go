package wire

import "encoding/binary"

// PackingBytes is the packing header without its list of lengths (section 3).
const PackingBytes = 8

// PackingLenBytes is what each message in a packet costs in the list of lengths.
const PackingLenBytes = 2

// Packing describes the messages in one packet. Its methods read the lengths in place.
type Packing struct {
	Order        Order
	Fragmented   uint8 // 0, or the fragment id if the last message continues in the next packet
	Continuation uint8 // 0, or Fragmented of the packet that the first message continues
	Count        int
	lens         []byte
	Data         []byte // the messages, back to back
}

// ParsePacking reads a packing header and checks that the lengths add up exactly, as every
// peer does. A packet without a message is refused: no peer sends one.
func ParsePacking(o Order, b []byte) (Packing, error) {
	if len(b) < PackingBytes {
		return Packing{}, ErrShort
	}
	p := Packing{Order: o, Fragmented: b[4], Continuation: b[5], Count: int(o.Uint16(b[6:]))}
	if p.Count == 0 {
		return Packing{}, ErrCount
	}
	at := PackingBytes + PackingLenBytes*p.Count
	if len(b) < at {
		return Packing{}, ErrShort
	}
	p.lens, p.Data = b[PackingBytes:at], b[at:]
	sum := 0
	for i := range p.Count {
		sum += p.Len(i)
	}
	if sum != len(p.Data) {
		return Packing{}, ErrLength
	}
	return p, nil
}

// Len is the length of message i, which must be below Count.
func (p *Packing) Len(i int) int { return int(p.Order.Uint16(p.lens[PackingLenBytes*i:])) }

// PutPacking writes the header but not the lengths into b.
func PutPacking(b []byte, fragmented, continuation uint8, count int) {
	_ = b[PackingBytes-1]
	b[0], b[1], b[2], b[3] = 0, 0, 0, 0 // version 0, type 0
	b[4], b[5] = fragmented, continuation
	binary.LittleEndian.PutUint16(b[6:], uint16(count))
}

// PutPackingLen writes the length of message i into the packet b.
func PutPackingLen(b []byte, i, length int) {
	binary.LittleEndian.PutUint16(b[PackingBytes+PackingLenBytes*i:], uint16(length))
}
