package frame

import (
	"encoding/binary"
	"math/bits"
)

// sum adds bytes to a sum in one's complement of 16-bit words (RFC 1071), which fold makes short.
// An odd last byte counts as the upper half of a word, so only the last part may be odd.
func sum(s uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 32 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b), 0)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[8:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[16:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(b[24:]), carry)
		s, carry = bits.Add64(s, carry, 0)
		s += carry
		b = b[32:]
	}
	for len(b) >= 4 {
		s, carry = bits.Add64(s, uint64(binary.BigEndian.Uint32(b)), 0)
		s += carry
		b = b[4:]
	}
	rest := uint64(0)
	switch len(b) {
	case 1:
		rest = uint64(b[0]) << 8
	case 2:
		rest = uint64(binary.BigEndian.Uint16(b))
	case 3:
		rest = uint64(binary.BigEndian.Uint16(b)) + uint64(b[2])<<8
	}
	s, carry = bits.Add64(s, rest, 0)
	return s + carry
}

// fold makes a sum one of 16 bits.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}
