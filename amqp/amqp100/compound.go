package amqp100

import "encoding/binary"

// Kind is the primitive type of a value, whatever its encoding.
type Kind uint8

// Kinds.
const (
	KindNull Kind = iota
	KindBool
	KindUbyte
	KindUshort
	KindUint
	KindUlong
	KindByte
	KindShort
	KindInt
	KindLong
	KindFloat
	KindDouble
	KindDecimal
	KindChar
	KindTimestamp
	KindUUID
	KindBinary
	KindString
	KindSymbol
	KindList
	KindMap
	KindArray
	KindDescribed
)

var kindOf = [256]Kind{
	codeNull: KindNull, codeTrue: KindBool, codeFalse: KindBool, codeBoolean: KindBool,
	codeUbyte: KindUbyte, codeUshort: KindUshort, codeUint: KindUint, codeSmallUint: KindUint,
	codeUint0: KindUint, codeUlong: KindUlong, codeSmallUlong: KindUlong, codeUlong0: KindUlong,
	codeByte: KindByte, codeShort: KindShort, codeInt: KindInt, codeSmallInt: KindInt,
	codeLong: KindLong, codeSmallLong: KindLong, codeFloat: KindFloat, codeDouble: KindDouble,
	codeDecimal32: KindDecimal, codeDecimal64: KindDecimal, codeDecimal128: KindDecimal,
	codeChar: KindChar, codeTimestamp: KindTimestamp, codeUUID: KindUUID,
	codeBinary8: KindBinary, codeBinary32: KindBinary, codeString8: KindString,
	codeString32: KindString, codeSymbol8: KindSymbol, codeSymbol32: KindSymbol,
	codeList0: KindList, codeList8: KindList, codeList32: KindList, codeMap8: KindMap,
	codeMap32: KindMap, codeArray8: KindArray, codeArray32: KindArray, codeDescribed: KindDescribed,
}

// Kind is the value's type.
func (v Raw) Kind() Kind {
	if len(v) == 0 {
		return KindNull
	}
	return kindOf[v[0]]
}

// UUID is the value's bytes, if it is a uuid.
func (v Raw) UUID() ([]byte, bool) {
	if v.Kind() != KindUUID {
		return nil, false
	}
	return v[1:], true
}

// elements takes the head off a list or map: what its elements are encoded in, and how
// many there are. Each takes a byte at least, so count never exceeds len(b).
func elements(v []byte) (b []byte, count uint32, err error) {
	if len(v) == 0 {
		return nil, 0, errShort
	}
	switch v[0] {
	case codeList0:
		return nil, 0, nil
	case codeList8, codeMap8:
		if len(v) < 3 {
			return nil, 0, errSize
		}
		b, count = v[3:], uint32(v[2])
	case codeList32, codeMap32:
		if len(v) < 9 {
			return nil, 0, errSize
		}
		b, count = v[9:], binary.BigEndian.Uint32(v[5:])
	default:
		return nil, 0, errFormat
	}
	if uint64(count) > uint64(len(b)) {
		return nil, 0, errSize
	}
	return b, count, nil
}

// Items walks the elements of a list, the pairs of a map or the elements of an array:
//
//	for it := v.Items(); it.Next(); { use(it.Key, it.Value) }
//
// Key is set for maps only. Err tells whether the walk ended for a fault.
type Items struct {
	Key, Value  Raw
	rest        []byte
	count       uint32
	pairs       bool
	constructor []byte // of an array
	scratch     []byte // an array's element with its constructor
	err         error
}

// Items begins a walk. Where v is no list, map or array there is nothing to walk.
func (v Raw) Items() Items {
	it := Items{}
	switch v.Kind() {
	case KindArray:
		it.openArray(v)
	case KindMap:
		it.pairs = true
		it.rest, it.count, it.err = elements(v)
		if it.err == nil && it.count%2 != 0 {
			it.err, it.count = errOddMap, 0
		}
	case KindList:
		it.rest, it.count, it.err = elements(v)
	}
	return it
}

// Err is what ended the walk early.
func (it *Items) Err() error { return it.err }

// Next goes to the next element.
func (it *Items) Next() bool {
	if it.err != nil || it.count == 0 {
		return false
	}
	if it.constructor != nil {
		return it.nextOfArray()
	}
	if it.pairs {
		it.count--
		if it.Key, it.rest, it.err = next(it.rest); it.err != nil {
			return false
		}
	}
	it.count--
	it.Value, it.rest, it.err = next(it.rest)
	return it.err == nil
}

// maxEmptyElements bounds arrays whose elements take no bytes at all: their count is a
// length from the wire with nothing behind it.
const maxEmptyElements = 1024

func (it *Items) openArray(v Raw) {
	head := 3
	if v[0] == codeArray32 {
		head = 9
	}
	if len(v) <= head {
		it.err = errSize
		return
	}
	if head == 3 {
		it.count = uint32(v[2])
	} else {
		it.count = binary.BigEndian.Uint32(v[5:])
	}
	b := v[head:]
	n := 1
	if b[0] == codeDescribed { // the descriptor, then the element's own constructor
		d, err := skipDescriptor(b[1:], 0)
		if err != nil || 1+d >= len(b) {
			it.err = errSize
			return
		}
		n = 1 + d + 1
	}
	it.constructor, it.rest = b[:n:n], b[n:]
	if code := b[n-1]; code == codeDescribed || !validCode[code] {
		it.err = errFormat
	} else if limit := uint64(max(len(it.rest), maxEmptyElements)); uint64(it.count) > limit {
		it.err = errSize
	}
}

// nextOfArray puts an element together with the constructor that all of them share.
func (it *Items) nextOfArray() bool {
	it.count--
	n, err := plainSize(it.constructor[len(it.constructor)-1], it.rest)
	if err != nil {
		it.err = err
		return false
	}
	it.scratch = append(append(it.scratch[:0], it.constructor...), it.rest[:n]...)
	it.Value, it.rest = it.scratch, it.rest[n:]
	return true
}

// Lookup finds the value of a text key in a map. It does not allocate.
func (v Raw) Lookup(key string) (Raw, bool) {
	if v.Kind() != KindMap {
		return nil, false
	}
	for it := v.Items(); it.Next(); {
		if k, ok := it.Key.Text(); ok && string(k) == key {
			return it.Value, true
		}
	}
	return nil, false
}

// Check walks all of a value and tells whether it is well formed to its depths.
func Check(v Raw) error {
	n, err := Skip(v)
	if err != nil {
		return err
	}
	if n != len(v) {
		return errTrailing
	}
	return check(v, 0)
}

func check(v Raw, depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	switch v.Kind() {
	case KindDescribed:
		_, inner, rest, err := SplitDescribed(v)
		if err != nil {
			return err
		}
		if len(rest) != 0 {
			return errTrailing
		}
		return check(inner, depth+1)
	case KindList, KindMap, KindArray:
		it := v.Items()
		for it.Next() {
			if err := check(it.Key, depth+1); err != nil {
				return err
			}
			if err := check(it.Value, depth+1); err != nil {
				return err
			}
		}
		if it.err == nil && len(it.rest) != 0 {
			return errTrailing
		}
		return it.err
	}
	return nil
}
