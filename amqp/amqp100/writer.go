package amqp100

import (
	"encoding/binary"
	"math"
)

// listWriter appends a described list. It is written as a list8 and made a list32 when it
// turns out longer; nulls at its end are left out (1.4).
type listWriter struct {
	b     []byte
	at    int // where the list's constructor is
	count int
	tail  int // behind the last field that is not null
	full  int // fields up to there
}

func beginList(b []byte, c Code) listWriter {
	b = append(b, codeDescribed, codeSmallUlong, byte(c))
	at := len(b)
	b = append(b, codeList8, 0, 0)
	return listWriter{b: b, at: at, tail: len(b)}
}

// list8Limit is what the size byte of a list8 counts at most: the count byte and the data.
const list8Limit = math.MaxUint8

func (w *listWriter) end() []byte {
	if w.full == 0 {
		w.b = w.b[:w.at+1]
		w.b[w.at] = codeList0
		return w.b
	}
	w.b = w.b[:w.tail]
	if size := len(w.b) - w.at - 2; size <= list8Limit {
		w.b[w.at+1], w.b[w.at+2] = byte(size), byte(w.full)
		return w.b
	}
	const more = 6 // a list32's head is nine bytes, not three
	w.b = append(w.b, make([]byte, more)...)
	copy(w.b[w.at+3+more:], w.b[w.at+3:])
	w.b[w.at] = codeList32
	binary.BigEndian.PutUint32(w.b[w.at+1:], uint32(len(w.b)-w.at-5))
	binary.BigEndian.PutUint32(w.b[w.at+5:], uint32(w.full))
	return w.b
}

func (w *listWriter) null() {
	w.b = append(w.b, codeNull)
	w.count++
}

// set notes that what was appended is a field.
func (w *listWriter) set(b []byte) {
	w.b = b
	w.count++
	w.tail, w.full = len(b), w.count
}

func (w *listWriter) bool(v bool)        { w.set(AppendBool(w.b, v)) }
func (w *listWriter) ubyte(v uint8)      { w.set(append(w.b, codeUbyte, v)) }
func (w *listWriter) uint(v uint32)      { w.set(AppendUint(w.b, v)) }
func (w *listWriter) ulong(v uint64)     { w.set(AppendUlong(w.b, v)) }
func (w *listWriter) timestamp(v int64)  { w.set(AppendTimestamp(w.b, v)) }
func (w *listWriter) str(v string)       { w.set(AppendString(w.b, v)) }
func (w *listWriter) text(v []byte)      { w.set(AppendString(w.b, v)) }
func (w *listWriter) symbol(v string)    { w.set(AppendSymbol(w.b, v)) }
func (w *listWriter) binary(v []byte)    { w.set(AppendBinary(w.b, v)) }
func (w *listWriter) error(v *Error)     { w.set(v.Append(w.b)) }
func (w *listWriter) symbols(v []string) { w.set(AppendSymbols(w.b, v)) }

func (w *listWriter) ushort(v uint16) {
	w.set(binary.BigEndian.AppendUint16(append(w.b, codeUshort), v))
}

// raw appends an encoded value; an absent one, which is legal where a field is mandatory
// only for the other side, becomes null.
func (w *listWriter) raw(v Raw) {
	if len(v) == 0 {
		w.null()
		return
	}
	w.set(append(w.b, v...))
}

// AppendNull appends null.
func AppendNull(b []byte) []byte { return append(b, codeNull) }

// AppendBool appends a boolean.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

// AppendUint appends a uint in its shortest encoding.
func AppendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, codeUint0)
	case v <= math.MaxUint8:
		return append(b, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeUint), v)
}

// AppendUlong appends a ulong in its shortest encoding.
func AppendUlong(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, codeUlong0)
	case v <= math.MaxUint8:
		return append(b, codeSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeUlong), v)
}

// AppendInt appends an int in its shortest encoding.
func AppendInt(b []byte, v int32) []byte {
	if v == int32(int8(v)) {
		return append(b, codeSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeInt), uint32(v))
}

// AppendLong appends a long in its shortest encoding.
func AppendLong(b []byte, v int64) []byte {
	if v == int64(int8(v)) {
		return append(b, codeSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeLong), uint64(v))
}

// AppendUbyte appends a ubyte.
func AppendUbyte(b []byte, v uint8) []byte { return append(b, codeUbyte, v) }

// AppendByte appends a byte.
func AppendByte(b []byte, v int8) []byte { return append(b, codeByte, byte(v)) }

// AppendUshort appends a ushort.
func AppendUshort(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, codeUshort), v)
}

// AppendShort appends a short.
func AppendShort(b []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(append(b, codeShort), uint16(v))
}

// AppendFloat appends a float.
func AppendFloat(b []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(b, codeFloat), math.Float32bits(v))
}

// AppendDouble appends a double.
func AppendDouble(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, codeDouble), math.Float64bits(v))
}

// AppendTimestamp appends a timestamp: milliseconds since 1970.
func AppendTimestamp(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, codeTimestamp), uint64(v))
}

// AppendString appends a string.
func AppendString[T string | []byte](b []byte, v T) []byte {
	return append(appendLength(b, codeString8, len(v)), v...)
}

// AppendSymbol appends a symbol.
func AppendSymbol[T string | []byte](b []byte, v T) []byte {
	return append(appendLength(b, codeSymbol8, len(v)), v...)
}

// AppendBinary appends a binary.
func AppendBinary(b, v []byte) []byte {
	return append(appendLength(b, codeBinary8, len(v)), v...)
}

// AppendDataHead appends all of a data section (3.2.6) but its bytes, of which n follow.
func AppendDataHead(b []byte, n int) []byte {
	return appendLength(append(b, codeDescribed, codeSmallUlong, byte(CodeData)), codeBinary8, n)
}

// appendLength appends the head of a value of n bytes; the wide codes are 0x10 up.
func appendLength(b []byte, narrow byte, n int) []byte {
	if n <= math.MaxUint8 {
		return append(b, narrow, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, narrow+0x10), uint32(n))
}

// AppendSymbols appends an array of symbols, or the one there is.
func AppendSymbols(b []byte, v []string) []byte {
	if len(v) == 1 {
		return AppendSymbol(b, v[0])
	}
	b = append(b, codeArray32, 0, 0, 0, 0)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	b = append(b, codeSymbol32)
	for _, s := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

// BeginMap appends the head of a map that EndCompound completes; at is for that.
func BeginMap(b []byte) (_ []byte, at int) { return beginCompound(b, codeMap32) }

// BeginList appends the head of a list that EndCompound completes likewise.
func BeginList(b []byte) (_ []byte, at int) { return beginCompound(b, codeList32) }

func beginCompound(b []byte, code byte) (_ []byte, at int) {
	at = len(b)
	return append(b, code, 0, 0, 0, 0, 0, 0, 0, 0), at
}

// EndCompound completes a map or list of count elements; a pair of a map is two.
func EndCompound(b []byte, at, count int) []byte {
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-5))
	binary.BigEndian.PutUint32(b[at+5:], uint32(count))
	return b
}

// AppendDescriptor appends the descriptor of a value that is to follow.
func AppendDescriptor(b []byte, c Code) []byte {
	return AppendUlong(append(b, codeDescribed), uint64(c))
}

// AppendUUID appends a uuid.
func AppendUUID(b []byte, id [16]byte) []byte {
	return append(append(b, codeUUID), id[:]...)
}
