package session

import (
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
)

// This file translates single values. What has no counterpart is left out: decimals of 1.0,
// maps with keys that are no text, and what is nested too deep.

// valueTo091 appends a value as a field, or as an element if name is amqp091.Element.
func valueTo091(b []byte, name string, v amqp100.Raw, depth int) []byte {
	if depth >= amqp091.MaxTableDepth {
		return b
	}
	switch v.Kind() {
	case amqp100.KindBool:
		on, _ := v.Bool()
		return amqp091.AppendBool(b, name, on)
	case amqp100.KindList, amqp100.KindArray:
		b, at := amqp091.BeginArray(b, name)
		for it := v.Items(); it.Next(); {
			b = valueTo091(b, amqp091.Element, it.Value, depth+1)
		}
		return amqp091.End(b, at)
	case amqp100.KindMap:
		b, at := amqp091.BeginTable(b, name)
		for it := v.Items(); it.Next(); {
			if key, ok := it.Key.Text(); ok && len(key) > 0 && len(key) <= math.MaxUint8 {
				b = valueTo091(b, string(key), it.Value, depth+1)
			}
		}
		return amqp091.End(b, at)
	case amqp100.KindDescribed:
		_, inner, _ := v.Described()
		return valueTo091(b, name, inner, depth+1)
	}
	return plainTo091(b, name, v)
}

func plainTo091(b []byte, name string, v amqp100.Raw) []byte {
	raw := func(kind byte, data []byte) []byte {
		return amqp091.AppendValue(b, name, amqp091.Value{Type: kind, Raw: data})
	}
	number, isNumber := v.Int()
	switch v.Kind() {
	case amqp100.KindNull:
		return raw('V', nil)
	case amqp100.KindByte:
		return raw('b', []byte{byte(number)})
	case amqp100.KindUbyte:
		return raw('B', []byte{byte(number)})
	case amqp100.KindShort:
		return raw('s', binary.BigEndian.AppendUint16(nil, uint16(number)))
	case amqp100.KindUshort:
		return raw('u', binary.BigEndian.AppendUint16(nil, uint16(number)))
	case amqp100.KindInt:
		return raw('I', binary.BigEndian.AppendUint32(nil, uint32(number)))
	case amqp100.KindUint:
		return raw('i', binary.BigEndian.AppendUint32(nil, uint32(number)))
	case amqp100.KindTimestamp:
		return amqp091.AppendTime(b, name, number/1000)
	case amqp100.KindFloat:
		f, _ := v.Float()
		return raw('f', binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f))))
	case amqp100.KindDouble:
		f, _ := v.Float()
		return raw('d', binary.BigEndian.AppendUint64(nil, math.Float64bits(f)))
	case amqp100.KindChar:
		return raw('i', v[1:])
	case amqp100.KindUUID:
		id, _ := v.UUID()
		return raw('S', appendUUID(nil, id))
	case amqp100.KindBinary:
		data, _ := v.Binary()
		return raw('x', data)
	}
	if text, ok := v.Text(); ok {
		return raw('S', text)
	}
	if isNumber { // long, and ulong where it fits
		return amqp091.AppendInt(b, name, number)
	}
	return b
}

// valueTo100 appends a field's value; ok is false for what is left out. Tables and arrays
// are taken only if nested says so: application properties may have none (3.2.5).
func valueTo100(b []byte, v amqp091.Value, nested bool, depth int) (_ []byte, ok bool) {
	switch v.Type {
	case 'V':
		return amqp100.AppendNull(b), true
	case 't':
		on, _ := v.Bool()
		return amqp100.AppendBool(b, on), true
	case 'S':
		return amqp100.AppendString(b, v.Raw), true
	case 'x':
		return amqp100.AppendBinary(b, v.Raw), true
	case 'f', 'D':
		f, _ := v.Float()
		if v.Type == 'f' {
			return amqp100.AppendFloat(b, float32(f)), true
		}
		return amqp100.AppendDouble(b, f), true
	case 'd':
		f, _ := v.Float()
		return amqp100.AppendDouble(b, f), true
	case 'F', 'A':
		if !nested || depth >= amqp091.MaxTableDepth {
			return b, false
		}
		if v.Type == 'A' {
			return arrayTo100(b, amqp091.Array(v.Raw), depth), true
		}
		return tableTo100(b, amqp091.Table(v.Raw), depth), true
	}
	number, ok := v.Int()
	if !ok {
		return b, false
	}
	return numberTo100(b, v.Type, number), true
}

func numberTo100(b []byte, kind byte, number int64) []byte {
	switch kind {
	case 'b':
		return amqp100.AppendByte(b, int8(number))
	case 'B':
		return amqp100.AppendUbyte(b, uint8(number))
	case 's':
		return amqp100.AppendShort(b, int16(number))
	case 'u':
		return amqp100.AppendUshort(b, uint16(number))
	case 'I':
		return amqp100.AppendInt(b, int32(number))
	case 'i':
		return amqp100.AppendUint(b, uint32(number))
	case 'T':
		return amqp100.AppendTimestamp(b, number*1000)
	}
	return amqp100.AppendLong(b, number)
}

func arrayTo100(b []byte, a amqp091.Array, depth int) []byte {
	b, at := amqp100.BeginList(b)
	count := 0
	for {
		v, rest, ok := a.Next()
		if !ok {
			return amqp100.EndCompound(b, at, count)
		}
		if b, ok = valueTo100(b, v, true, depth+1); ok {
			count++
		}
		a = rest
	}
}

func tableTo100(b []byte, t amqp091.Table, depth int) []byte {
	b, at := amqp100.BeginMap(b)
	count := 0
	for {
		name, v, rest, ok := t.Next()
		if !ok {
			return amqp100.EndCompound(b, at, count)
		}
		before := len(b)
		if b, ok = valueTo100(amqp100.AppendString(b, name), v, true, depth+1); ok {
			count += 2
		} else {
			b = b[:before]
		}
		t = rest
	}
}

// appendUUID appends the text form of a uuid.
func appendUUID(b, id []byte) []byte {
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// parseUUID reads what appendUUID wrote.
func parseUUID(text []byte) (id [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	var digits [32]byte
	n := 0
	for _, c := range text {
		if c != '-' && n < len(digits) {
			digits[n] = c
			n++
		}
	}
	_, err := hex.Decode(id[:], digits[:])
	return id, n == len(digits) && err == nil
}
