package amqp100

import (
	"encoding/binary"
	"math"
)

// MaxDepth is how deep described and compound values may be nested.
const MaxDepth = 32

// Format codes (part 1, section 1.6), as far as they are named here.
const (
	codeDescribed  = 0x00
	codeNull       = 0x40
	codeTrue       = 0x41
	codeFalse      = 0x42
	codeUint0      = 0x43
	codeUlong0     = 0x44
	codeList0      = 0x45
	codeUbyte      = 0x50
	codeByte       = 0x51
	codeSmallUint  = 0x52
	codeSmallUlong = 0x53
	codeSmallInt   = 0x54
	codeSmallLong  = 0x55
	codeBoolean    = 0x56
	codeUshort     = 0x60
	codeShort      = 0x61
	codeUint       = 0x70
	codeInt        = 0x71
	codeFloat      = 0x72
	codeChar       = 0x73
	codeDecimal32  = 0x74
	codeUlong      = 0x80
	codeLong       = 0x81
	codeDouble     = 0x82
	codeTimestamp  = 0x83
	codeDecimal64  = 0x84
	codeDecimal128 = 0x94
	codeUUID       = 0x98
	codeBinary8    = 0xa0
	codeString8    = 0xa1
	codeSymbol8    = 0xa3
	codeBinary32   = 0xb0
	codeString32   = 0xb1
	codeSymbol32   = 0xb3
	codeList8      = 0xc0
	codeMap8       = 0xc1
	codeList32     = 0xd0
	codeMap32      = 0xd1
	codeArray8     = 0xe0
	codeArray32    = 0xf0
)

// validCode holds a 1 for every format code of the standard, so that what is skipped
// unread is at least made of known parts.
var validCode = func() (valid [256]bool) {
	for _, c := range []byte{
		codeNull, codeTrue, codeFalse, codeUint0, codeUlong0, codeList0, codeUbyte, codeByte,
		codeSmallUint, codeSmallUlong, codeSmallInt, codeSmallLong, codeBoolean, codeUshort,
		codeShort, codeUint, codeInt, codeFloat, codeChar, codeDecimal32, codeUlong, codeLong,
		codeDouble, codeTimestamp, codeDecimal64, codeDecimal128, codeUUID, codeBinary8,
		codeString8, codeSymbol8, codeBinary32, codeString32, codeSymbol32, codeList8, codeMap8,
		codeList32, codeMap32, codeArray8, codeArray32,
	} {
		valid[c] = true
	}
	return valid
}()

// Raw is one encoded value, whole, as Skip found it. nil is absence, and so is null.
type Raw []byte

// Skip returns the size of the value that b begins with.
func Skip(b []byte) (int, error) {
	at := 0
	for depth := 0; ; depth++ {
		if depth > MaxDepth {
			return 0, errDepth
		}
		if at >= len(b) {
			return 0, errShort
		}
		if b[at] != codeDescribed {
			break
		}
		// A descriptor may itself be described, but not without end: each level of it
		// costs a level here.
		n, err := skipDescriptor(b[at+1:], depth)
		if err != nil {
			return 0, err
		}
		at += 1 + n
	}
	n, err := plainSize(b[at], b[at+1:])
	if err != nil {
		return 0, err
	}
	return at + 1 + n, nil
}

// skipDescriptor is Skip for a descriptor. Every one in use is a number or a symbol, so
// described descriptors, which the grammar allows, are refused.
func skipDescriptor(b []byte, depth int) (int, error) {
	if len(b) == 0 {
		return 0, errShort
	}
	if b[0] == codeDescribed || depth >= MaxDepth {
		return 0, errDepth
	}
	n, err := plainSize(b[0], b[1:])
	return 1 + n, err
}

// plainSize is the size of a value's data, b, behind the format code code.
func plainSize(code byte, b []byte) (int, error) {
	if !validCode[code] {
		return 0, errFormat
	}
	size := uint64(0)
	switch code >> 4 {
	case 0x4:
	case 0x5:
		size = 1
	case 0x6:
		size = 2
	case 0x7:
		size = 4
	case 0x8:
		size = 8
	case 0x9:
		size = 16
	case 0xa, 0xc, 0xe:
		if len(b) < 1 {
			return 0, errShort
		}
		size = 1 + uint64(b[0])
	default:
		if len(b) < 4 {
			return 0, errShort
		}
		size = 4 + uint64(binary.BigEndian.Uint32(b))
	}
	if size > uint64(len(b)) {
		return 0, errShort
	}
	return int(size), nil
}

// next cuts the first value off b.
func next(b []byte) (v Raw, rest []byte, err error) {
	n, err := Skip(b)
	if err != nil {
		return nil, nil, err
	}
	return Raw(b[:n:n]), b[n:], nil
}

// SplitDescribed reads a described value that b begins with: its descriptor, and the
// value; what follows it is returned as rest. An unknown descriptor has code 0.
func SplitDescribed(b []byte) (code Code, value Raw, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errShort
	}
	if b[0] != codeDescribed {
		return 0, nil, nil, errFormat
	}
	if b[1] == codeSmallUlong && len(b) > 3 { // nearly always
		value, rest, err = next(b[3:])
		return Code(b[2]), value, rest, err
	}
	descriptor, rest, err := next(b[1:])
	if err != nil {
		return 0, nil, nil, err
	}
	if n, ok := descriptor.Uint(); ok {
		code = Code(n)
	} else if s, ok := descriptor.Text(); ok {
		code = symbolicCode(s)
	} else {
		return 0, nil, nil, errDescriptor
	}
	value, rest, err = next(rest)
	return code, value, rest, err
}

// Described is SplitDescribed for a value that stands alone.
func (v Raw) Described() (code Code, value Raw, ok bool) {
	code, value, _, err := SplitDescribed(v)
	return code, value, err == nil
}

// IsNull tells whether there is no value.
func (v Raw) IsNull() bool { return len(v) == 0 || v[0] == codeNull }

// Bool is the value, if it is a boolean.
func (v Raw) Bool() (value, ok bool) {
	if len(v) == 0 {
		return false, false
	}
	switch v[0] {
	case codeTrue:
		return true, true
	case codeFalse:
		return false, true
	case codeBoolean:
		return v[1] != 0, true
	}
	return false, false
}

// Uint is the value, if it is an unsigned integer of any width.
func (v Raw) Uint() (uint64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	switch v[0] {
	case codeUint0, codeUlong0:
		return 0, true
	case codeUbyte, codeSmallUint, codeSmallUlong:
		return uint64(v[1]), true
	case codeUshort:
		return uint64(binary.BigEndian.Uint16(v[1:])), true
	case codeUint:
		return uint64(binary.BigEndian.Uint32(v[1:])), true
	case codeUlong:
		return binary.BigEndian.Uint64(v[1:]), true
	}
	return 0, false
}

// Int is the value, if it is an integer that fits: signed, unsigned or a timestamp.
func (v Raw) Int() (int64, bool) {
	if u, ok := v.Uint(); ok {
		return int64(u), u <= math.MaxInt64
	}
	if len(v) == 0 {
		return 0, false
	}
	switch v[0] {
	case codeByte, codeSmallInt, codeSmallLong:
		return int64(int8(v[1])), true
	case codeShort:
		return int64(int16(binary.BigEndian.Uint16(v[1:]))), true
	case codeInt:
		return int64(int32(binary.BigEndian.Uint32(v[1:]))), true
	case codeLong, codeTimestamp:
		return int64(binary.BigEndian.Uint64(v[1:])), true
	}
	return 0, false
}

// Float is the value, if it is a binary floating point number.
func (v Raw) Float() (float64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	switch v[0] {
	case codeFloat:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v[1:]))), true
	case codeDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(v[1:])), true
	}
	return 0, false
}

// Text is the value's bytes, if it is a string or a symbol.
func (v Raw) Text() ([]byte, bool) {
	if len(v) == 0 {
		return nil, false
	}
	switch v[0] {
	case codeString8, codeSymbol8:
		return v[2:], true
	case codeString32, codeSymbol32:
		return v[5:], true
	}
	return nil, false
}

// Binary is the value's bytes, if it is a binary.
func (v Raw) Binary() ([]byte, bool) {
	if len(v) == 0 {
		return nil, false
	}
	switch v[0] {
	case codeBinary8:
		return v[2:], true
	case codeBinary32:
		return v[5:], true
	}
	return nil, false
}
