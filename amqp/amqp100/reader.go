package amqp100

import (
	"encoding/binary"
	"fmt"
)

// maxSymbols bounds the symbols of one field: capabilities, locales, outcomes, mechanisms.
const maxSymbols = 256

// listReader reads the fields of a composite type in order: field goes to the next and
// tells whether it is there, and a method for its type reads it. The first thing wrong
// sticks, and what is read after it is zero.
type listReader struct {
	b     []byte
	count uint32
	at    int // the field's number, from 1
	err   error
}

func openList(value []byte) (l listReader) {
	if len(value) > 0 && (value[0] == codeMap8 || value[0] == codeMap32) {
		l.err = errFormat
		return l
	}
	l.b, l.count, l.err = elements(value)
	return l
}

// close reports what was wrong. Fields beyond those that are known are left unread.
func (l *listReader) close(c Code) error {
	if l.err == nil {
		return nil
	}
	return &DecodeError{fmt.Sprintf("%v, field %d: %v", c, l.at, l.err)}
}

func (l *listReader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
	l.count, l.b = 0, nil
}

var errMandatory = &DecodeError{"a mandatory field is missing"}

func (l *listReader) field(mandatory bool) bool {
	if l.err != nil {
		return false
	}
	l.at++
	if l.count == 0 {
		if mandatory {
			l.fail(errMandatory)
		}
		return false
	}
	l.count--
	if len(l.b) == 0 {
		l.fail(errShort)
		return false
	}
	if l.b[0] != codeNull {
		return true
	}
	l.b = l.b[1:]
	if mandatory {
		l.fail(errMandatory)
	}
	return false
}

func (l *listReader) raw() Raw {
	v, rest, err := next(l.b)
	if err != nil {
		l.fail(err)
		return nil
	}
	l.b = rest
	return v
}

// fixed takes n bytes of data behind a format code.
func (l *listReader) fixed(n int) []byte {
	if len(l.b) < 1+n {
		l.fail(errShort)
		return nil
	}
	data := l.b[1 : 1+n]
	l.b = l.b[1+n:]
	return data
}

func (l *listReader) bool() bool {
	switch l.b[0] {
	case codeTrue:
		l.b = l.b[1:]
		return true
	case codeFalse:
		l.b = l.b[1:]
		return false
	case codeBoolean:
		data := l.fixed(1)
		return data != nil && data[0] != 0
	}
	l.fail(errFormat)
	return false
}

func (l *listReader) ubyte() uint8 {
	if l.b[0] != codeUbyte {
		l.fail(errFormat)
		return 0
	}
	if data := l.fixed(1); data != nil {
		return data[0]
	}
	return 0
}

func (l *listReader) ushort() uint16 {
	if l.b[0] != codeUshort {
		l.fail(errFormat)
		return 0
	}
	if data := l.fixed(2); data != nil {
		return binary.BigEndian.Uint16(data)
	}
	return 0
}

func (l *listReader) uint() uint32 {
	switch l.b[0] {
	case codeUint0:
		l.b = l.b[1:]
		return 0
	case codeSmallUint:
		if data := l.fixed(1); data != nil {
			return uint32(data[0])
		}
		return 0
	case codeUint:
		if data := l.fixed(4); data != nil {
			return binary.BigEndian.Uint32(data)
		}
		return 0
	}
	l.fail(errFormat)
	return 0
}

func (l *listReader) ulong() uint64 {
	v := l.raw()
	if k := v.Kind(); l.err == nil && k != KindUlong {
		l.fail(errFormat)
	}
	n, _ := v.Uint()
	return n
}

func (l *listReader) timestamp() int64 {
	if l.b[0] != codeTimestamp {
		l.fail(errFormat)
		return 0
	}
	if data := l.fixed(8); data != nil {
		return int64(binary.BigEndian.Uint64(data))
	}
	return 0
}

// text takes strings and symbols alike: some clients send the one for the other.
func (l *listReader) text() []byte {
	v := l.raw()
	s, ok := v.Text()
	if !ok && l.err == nil {
		l.fail(errFormat)
	}
	return s
}

func (l *listReader) str() string    { return string(l.text()) }
func (l *listReader) symbol() string { return string(l.text()) }

func (l *listReader) binary() []byte {
	v := l.raw()
	s, ok := v.Binary()
	if !ok && l.err == nil {
		l.fail(errFormat)
	}
	return s
}

// symbols reads a field that is "multiple": one symbol, or an array of them (1.4).
func (l *listReader) symbols() []string {
	v := l.raw()
	if s, ok := v.Text(); ok {
		return []string{string(s)}
	}
	if l.err == nil && v.Kind() != KindArray {
		l.fail(errFormat)
		return nil
	}
	var list []string
	it := v.Items()
	for it.Next() {
		s, ok := it.Value.Text()
		if !ok || len(list) == maxSymbols {
			l.fail(errFormat)
			return nil
		}
		list = append(list, string(s))
	}
	if it.err != nil {
		l.fail(it.err)
		return nil
	}
	return list
}

func (l *listReader) error() *Error {
	code, value, ok := l.raw().Described()
	if l.err != nil {
		return nil
	}
	if !ok || code != CodeError {
		l.fail(errFormat)
		return nil
	}
	e := &Error{}
	if err := e.Decode(value); err != nil {
		l.fail(err)
		return nil
	}
	return e
}
