package broker

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Wiring entries are small and rare, so they are encoded field by field: integers as
// varints, strings with a varint length, optional values behind a presence byte.

// Requests that order wiring entries, each numbered like Publish.

// QueueDeclare submits d.
func (r *Requests) QueueDeclare(d *QueueDeclare) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindQueueDeclare, d.Conn)
	w.bool(d.Passive)
	w.str(d.Name)
	w.queueOptions(&d.Options)
	r.Bytes = w.end()
	r.submit(from)
}

// QueueDelete submits d.
func (r *Requests) QueueDelete(d *QueueDelete) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindQueueDelete, d.Conn)
	w.str(d.Name)
	w.bool(d.IfUnused)
	w.bool(d.IfEmpty)
	r.Bytes = w.end()
	r.submit(from)
}

// QueuePurge submits d.
func (r *Requests) QueuePurge(d *QueuePurge) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindQueuePurge, d.Conn)
	w.str(d.Name)
	r.Bytes = w.end()
	r.submit(from)
}

// ExchangeDeclare submits d.
func (r *Requests) ExchangeDeclare(d *ExchangeDeclare) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindExchangeDeclare, d.Conn)
	w.bool(d.Passive)
	w.str(d.Name)
	w.exchangeOptions(&d.Options)
	r.Bytes = w.end()
	r.submit(from)
}

// ExchangeDelete submits d.
func (r *Requests) ExchangeDelete(d *ExchangeDelete) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindExchangeDelete, d.Conn)
	w.str(d.Name)
	w.bool(d.IfUnused)
	r.Bytes = w.end()
	r.submit(from)
}

// Bind submits b.
func (r *Requests) Bind(b *Bind) { r.bind(KindBind, b) }

// Unbind submits the removal of b.
func (r *Requests) Unbind(b *Bind) { r.bind(KindUnbind, b) }

func (r *Requests) bind(k Kind, b *Bind) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, k, b.Conn)
	w.binding(b)
	r.Bytes = w.end()
	r.submit(from)
}

// Subscribe submits s.
func (r *Requests) Subscribe(s *Subscribe) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindSubscribe, s.Conn)
	w.uint(uint64(s.Consumer))
	w.str(s.Queue)
	w.bool(s.Exclusive)
	w.bool(s.Browse)
	w.bool(s.Settled)
	r.Bytes = w.end()
	r.submit(from)
}

// Cancel submits c.
func (r *Requests) Cancel(c *Cancel) {
	from := len(r.Bytes)
	w := beginEntry(r.Bytes, KindCancel, c.Conn)
	w.uint(uint64(c.Consumer))
	r.Bytes = w.end()
	r.submit(from)
}

// writer appends one entry to a buffer.
type writer struct {
	b    []byte
	from int
}

func beginEntry(b []byte, k Kind, conn ConnID) writer {
	w := writer{b: b, from: len(b)}
	w.b = append(w.b, 0, 0, 0, 0, byte(k), 0, 0, 0)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(conn))
	return w
}

func (w *writer) end() []byte {
	binary.LittleEndian.PutUint32(w.b[w.from:], uint32(len(w.b)-w.from))
	return w.b
}

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *writer) str(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
		return
	}
	w.b = append(w.b, 0)
}

func (w *writer) optUint(v *uint64) {
	w.bool(v != nil)
	if v != nil {
		w.uint(*v)
	}
}

func (w *writer) optUint32(v *uint32) {
	w.bool(v != nil)
	if v != nil {
		w.uint(uint64(*v))
	}
}

func (w *writer) optStr(v *string) {
	w.bool(v != nil)
	if v != nil {
		w.str(*v)
	}
}

func (w *writer) queueOptions(o *QueueOptions) {
	w.bool(o.Durable)
	w.bool(o.Exclusive)
	w.bool(o.AutoDelete)
	w.optUint32(o.MessageTTL)
	w.optUint32(o.Expires)
	w.optUint(o.MaxLength)
	w.optUint(o.MaxLengthBytes)
	w.uint(uint64(o.Overflow))
	w.optStr(o.DeadLetter)
	w.optStr(o.DeadLetterKey)
	w.str(o.AlternateExchange)
}

func (w *writer) exchangeOptions(o *ExchangeOptions) {
	w.uint(uint64(o.Type))
	w.bool(o.Durable)
	w.bool(o.AutoDelete)
	w.bool(o.Internal)
	w.str(o.AlternateExchange)
}

func (w *writer) binding(b *Bind) {
	w.str(b.Exchange)
	w.bool(b.ToExchange)
	w.str(b.Target)
	w.str(b.Key)
	w.uint(uint64(b.Match))
	w.bool(b.HasFields)
	w.uint(uint64(len(b.Fields)))
	for i := range b.Fields {
		w.str(b.Fields[i].Name)
		w.value(b.Fields[i].Value)
	}
}

func (w *writer) value(v Value) {
	w.uint(uint64(v.Kind))
	switch v.Kind {
	case ValueBool, ValueInt:
		w.b = binary.AppendVarint(w.b, v.Int)
	case ValueFloat:
		w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(v.Float))
	case ValueString:
		w.str(v.Str)
	}
}

// reader takes an entry apart. The first thing wrong sticks, and zero values follow.
type reader struct {
	b   []byte
	err error
}

// openEntry checks the head of an entry and returns a reader of what follows it.
func openEntry(b []byte) (Header, reader, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, reader{}, err
	}
	if uint64(h.Size) > uint64(len(b)) {
		return h, reader{}, errShort
	}
	return h, reader{b: b[HeaderBytes:h.Size]}, nil
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.b = nil
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("entry: bad integer")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uintTo(limit uint64) uint64 {
	v := r.uint()
	if v > limit {
		r.fail("entry: %d is over its limit %d", v, limit)
		return 0
	}
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail("entry: string of %d bytes is cut short", n)
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) str() string { return string(r.bytes()) }

func (r *reader) bool() bool { return r.uintTo(1) == 1 }

func (r *reader) optUint() *uint64 {
	if !r.bool() {
		return nil
	}
	v := r.uint()
	return &v
}

func (r *reader) optUint32() *uint32 {
	if !r.bool() {
		return nil
	}
	v := uint32(r.uintTo(math.MaxUint32))
	return &v
}

func (r *reader) optStr() *string {
	if !r.bool() {
		return nil
	}
	v := r.str()
	return &v
}

func (r *reader) queueOptions() (o QueueOptions) {
	o.Durable = r.bool()
	o.Exclusive = r.bool()
	o.AutoDelete = r.bool()
	o.MessageTTL = r.optUint32()
	o.Expires = r.optUint32()
	o.MaxLength = r.optUint()
	o.MaxLengthBytes = r.optUint()
	o.Overflow = Overflow(r.uintTo(uint64(OverflowReject)))
	o.DeadLetter = r.optStr()
	o.DeadLetterKey = r.optStr()
	o.AlternateExchange = r.str()
	return o
}

func (r *reader) exchangeOptions() (o ExchangeOptions) {
	o.Type = ExchangeType(r.uintTo(uint64(Headers)))
	o.Durable = r.bool()
	o.AutoDelete = r.bool()
	o.Internal = r.bool()
	o.AlternateExchange = r.str()
	return o
}

func (r *reader) binding() (b Bind) {
	b.Exchange = r.str()
	b.ToExchange = r.bool()
	b.Target = r.str()
	b.Key = r.str()
	b.Match = Match(r.uintTo(uint64(MatchAnyX)))
	b.HasFields = r.bool()
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail("entry: %d binding arguments in %d bytes", n, len(r.b))
		return b
	}
	for range n {
		b.Fields = append(b.Fields, Field{Name: r.str(), Value: r.value()})
	}
	return b
}

func (r *reader) value() (v Value) {
	v.Kind = ValueKind(r.uintTo(uint64(ValueOther)))
	switch v.Kind {
	case ValueBool, ValueInt:
		n := 0
		if v.Int, n = binary.Varint(r.b); n <= 0 {
			r.fail("entry: bad integer")
			return v
		}
		r.b = r.b[n:]
	case ValueFloat:
		if len(r.b) < 8 {
			r.fail("entry: float is cut short")
			return v
		}
		v.Float = math.Float64frombits(binary.LittleEndian.Uint64(r.b))
		r.b = r.b[8:]
	case ValueString:
		v.Str = r.str()
	}
	return v
}
