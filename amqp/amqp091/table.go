package amqp091

import (
	"encoding/binary"
	"math"
)

// MaxTableDepth is how deep tables and arrays may nest: far beyond any use, and few enough
// stack frames.
const MaxTableDepth = 32

// Table is an encoded field table without its length (4.2.5.5): a sequence of
//
//	name shortstr, type octet, value
//
// A table that came out of Decode is well-formed at all depths.
type Table []byte

// Array is the encoded elements of a field array, each a type octet and a value.
type Array []byte

// Value is a view of one value in a table or array: its type letter, and its encoding
// without the length that some types open with. The letters are those of RabbitMQ, which
// differ from the printed standard (4.2.1) as all clients do:
//
//	t bool   b int8    B uint8   s int16   u uint16   I int32   i uint32
//	l int64  L int64   f float   d double  D decimal  T timestamp
//	S long string   x bytes   A array   F table   V void
type Value struct {
	Type byte
	Raw  []byte
}

// Next takes the first field off t.
func (t Table) Next() (name []byte, v Value, rest Table, ok bool) {
	if len(t) == 0 {
		return nil, Value{}, nil, false
	}
	n := 1 + int(t[0])
	if n > len(t) {
		return nil, Value{}, nil, false
	}
	v, after, ok := nextValue(t[n:])
	return t[1:n], v, after, ok
}

// Lookup finds a field by name; the first of that name counts.
func (t Table) Lookup(name string) (Value, bool) {
	for {
		k, v, rest, ok := t.Next()
		if !ok {
			return Value{}, false
		}
		if string(k) == name {
			return v, true
		}
		t = rest
	}
}

// Next takes the first element off a.
func (a Array) Next() (v Value, rest Array, ok bool) {
	v, after, ok := nextValue(a)
	return v, after, ok
}

func nextValue(b []byte) (v Value, rest []byte, ok bool) {
	if len(b) == 0 {
		return Value{}, nil, false
	}
	v.Type, b = b[0], b[1:]
	size := uint64(0)
	switch v.Type {
	case 'V':
	case 't', 'b', 'B':
		size = 1
	case 's', 'u':
		size = 2
	case 'I', 'i', 'f':
		size = 4
	case 'D':
		size = 5
	case 'l', 'L', 'd', 'T':
		size = 8
	case 'S', 'x', 'A', 'F':
		if len(b) < 4 {
			return v, nil, false
		}
		size = uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	default:
		return v, nil, false
	}
	if size > uint64(len(b)) {
		return v, nil, false
	}
	v.Raw = b[:size:size]
	return v, b[size:], true
}

func (t Table) check() error { return checkTable(t, 1) }

func checkTable(t Table, depth int) error {
	for len(t) > 0 {
		name, v, rest, ok := t.Next()
		if !ok {
			return Errorf(SyntaxError, "a field table has a malformed value for %q", name)
		}
		if err := checkNested(v, depth); err != nil {
			return err
		}
		t = rest
	}
	return nil
}

func checkNested(v Value, depth int) error {
	if v.Type != 'A' && v.Type != 'F' {
		return nil
	}
	if depth == MaxTableDepth {
		return Errorf(SyntaxError, "a field table is nested deeper than %d", MaxTableDepth)
	}
	if v.Type == 'F' {
		return checkTable(Table(v.Raw), depth+1)
	}
	for a := Array(v.Raw); len(a) > 0; {
		e, rest, ok := a.Next()
		if !ok {
			return Errorf(SyntaxError, "a field array has a malformed value")
		}
		if err := checkNested(e, depth+1); err != nil {
			return err
		}
		a = rest
	}
	return nil
}

// Int is the value of any integer type or timestamp.
func (v Value) Int() (int64, bool) {
	switch v.Type {
	case 'b':
		return int64(int8(v.Raw[0])), true
	case 'B':
		return int64(v.Raw[0]), true
	case 's':
		return int64(int16(binary.BigEndian.Uint16(v.Raw))), true
	case 'u':
		return int64(binary.BigEndian.Uint16(v.Raw)), true
	case 'I':
		return int64(int32(binary.BigEndian.Uint32(v.Raw))), true
	case 'i':
		return int64(binary.BigEndian.Uint32(v.Raw)), true
	case 'l', 'L', 'T':
		return int64(binary.BigEndian.Uint64(v.Raw)), true
	}
	return 0, false
}

// Bool is the value of a boolean.
func (v Value) Bool() (value, ok bool) {
	if v.Type != 't' {
		return false, false
	}
	return v.Raw[0] != 0, true
}

// Float is the value of a float, double or decimal.
func (v Value) Float() (float64, bool) {
	switch v.Type {
	case 'f':
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.Raw))), true
	case 'd':
		return math.Float64frombits(binary.BigEndian.Uint64(v.Raw)), true
	case 'D':
		return float64(binary.BigEndian.Uint32(v.Raw[1:])) * math.Pow10(-int(v.Raw[0])), true
	}
	return 0, false
}

// Bytes is the value of a long string or byte array.
func (v Value) Bytes() ([]byte, bool) {
	return v.Raw, v.Type == 'S' || v.Type == 'x'
}

// TypeName is what people call the type of v.
func (v Value) TypeName() string {
	switch v.Type {
	case 't':
		return "bool"
	case 'S', 'x':
		return "longstr"
	case 'f', 'd':
		return "float"
	case 'D':
		return "decimal"
	case 'T':
		return "timestamp"
	case 'A':
		return "array"
	case 'F':
		return "table"
	case 'V':
		return "void"
	}
	return "integer"
}
