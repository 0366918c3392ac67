package amqp091

import "encoding/binary"

// reader takes arguments apart (4.2.1). The first thing wrong sticks, zero values follow.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, or nil.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(Errorf(SyntaxError, "a field of %d bytes where %d are left", n, len(r.b)))
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) octet() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) long() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) longlong() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) timestamp() uint64 { return r.longlong() }

func (r *reader) shortstr() []byte { return r.take(uint64(r.octet())) }

func (r *reader) longstr() []byte { return r.take(uint64(r.long())) }

func (r *reader) table() Table {
	t := Table(r.longstr())
	if r.err == nil {
		if err := t.check(); err != nil {
			r.fail(err)
			return nil
		}
	}
	return t
}

// flags reads property flags. Basic's fit the first 14 bits; the other two announce more
// flags, which no class has.
func (r *reader) flags() uint16 {
	v := r.short()
	if v&3 != 0 {
		r.fail(Errorf(SyntaxError, "property flags %#x name unknown properties", v))
		return 0
	}
	return v
}

func (r *reader) end(id MethodID) error {
	if len(r.b) > 0 {
		r.fail(Errorf(SyntaxError, "%d bytes too many", len(r.b)))
	}
	if r.err == nil {
		return nil
	}
	e, ok := r.err.(*Error)
	if !ok {
		return r.err
	}
	e = Errorf(e.Code, "%s: %s", id, e.Text[len(e.Code.Name())+3:])
	e.Method = id
	return e
}

func (r *reader) endProperties() error {
	if len(r.b) > 0 {
		r.fail(Errorf(SyntaxError, "%d bytes too many in a content header", len(r.b)))
	}
	return r.err
}

// appendShortstr adds a short string. What does not fit is cut: only texts for people can be
// too long, since names came in as short strings.
func appendShortstr(b, s []byte) []byte {
	s = s[:min(len(s), 255)]
	b = append(b, byte(len(s)))
	return append(b, s...)
}

func appendLongstr(b, s []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
