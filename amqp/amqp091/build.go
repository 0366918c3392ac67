package amqp091

import "encoding/binary"

// The functions here append fields to a table, or elements to an array if name is Element.

// Element is the name to give for array elements, which have none.
const Element = "\x00"

func appendName(b []byte, name string, kind byte) []byte {
	if name != Element {
		b = append(b, byte(len(name)))
		b = append(b, name...)
	}
	return append(b, kind)
}

// AppendString adds a long string.
func AppendString(b []byte, name, value string) []byte {
	b = appendName(b, name, 'S')
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// AppendInt adds a signed 64-bit integer.
func AppendInt(b []byte, name string, value int64) []byte {
	return binary.BigEndian.AppendUint64(appendName(b, name, 'l'), uint64(value))
}

// AppendTime adds a timestamp in seconds.
func AppendTime(b []byte, name string, unixSeconds int64) []byte {
	return binary.BigEndian.AppendUint64(appendName(b, name, 'T'), uint64(unixSeconds))
}

// AppendBool adds a boolean.
func AppendBool(b []byte, name string, value bool) []byte {
	if b = appendName(b, name, 't'); value {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendValue adds a copy of v.
func AppendValue(b []byte, name string, v Value) []byte {
	b = appendName(b, name, v.Type)
	switch v.Type {
	case 'S', 'x', 'A', 'F':
		b = binary.BigEndian.AppendUint32(b, uint32(len(v.Raw)))
	}
	return append(b, v.Raw...)
}

// BeginTable opens a table; End closes it.
func BeginTable(b []byte, name string) ([]byte, int) { return begin(b, name, 'F') }

// BeginArray opens an array; End closes it.
func BeginArray(b []byte, name string) ([]byte, int) { return begin(b, name, 'A') }

func begin(b []byte, name string, kind byte) ([]byte, int) {
	b = append(appendName(b, name, kind), 0, 0, 0, 0)
	return b, len(b)
}

// End closes what was begun at the position that its Begin returned.
func End(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}
