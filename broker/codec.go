package broker

import (
	"encoding/binary"
	"math"
)

// Requests that order wiring entries, each numbered like Publish.

// QueueDeclare submits d.
func (r *Requests) QueueDeclare(d *QueueDeclare) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindQueueDeclare, d.Conn)
	w.bool(d.Passive)
	w.Text(d.Name)
	w.queueOptions(&d.Options)
	r.Bytes = w.End()
	r.submit(from)
}

// QueueDelete submits d.
func (r *Requests) QueueDelete(d *QueueDelete) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindQueueDelete, d.Conn)
	w.Text(d.Name)
	w.bool(d.IfUnused)
	w.bool(d.IfEmpty)
	r.Bytes = w.End()
	r.submit(from)
}

// QueuePurge submits d.
func (r *Requests) QueuePurge(d *QueuePurge) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindQueuePurge, d.Conn)
	w.Text(d.Name)
	r.Bytes = w.End()
	r.submit(from)
}

// ExchangeDeclare submits d.
func (r *Requests) ExchangeDeclare(d *ExchangeDeclare) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindExchangeDeclare, d.Conn)
	w.bool(d.Passive)
	w.Text(d.Name)
	w.exchangeOptions(&d.Options)
	r.Bytes = w.End()
	r.submit(from)
}

// ExchangeDelete submits d.
func (r *Requests) ExchangeDelete(d *ExchangeDelete) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindExchangeDelete, d.Conn)
	w.Text(d.Name)
	w.bool(d.IfUnused)
	r.Bytes = w.End()
	r.submit(from)
}

// Bind submits b.
func (r *Requests) Bind(b *Bind) { r.bind(KindBind, b) }

// Unbind submits the removal of b.
func (r *Requests) Unbind(b *Bind) { r.bind(KindUnbind, b) }

func (r *Requests) bind(k Kind, b *Bind) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, k, b.Conn)
	w.binding(b)
	r.Bytes = w.End()
	r.submit(from)
}

// Subscribe submits s.
func (r *Requests) Subscribe(s *Subscribe) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindSubscribe, s.Conn)
	w.Uint(uint64(s.Consumer))
	w.Text(s.Queue)
	w.bool(s.Exclusive)
	w.bool(s.Browse)
	w.bool(s.Settled)
	r.Bytes = w.End()
	r.submit(from)
}

// Cancel submits c.
func (r *Requests) Cancel(c *Cancel) {
	from := len(r.Bytes)
	w := BeginEntry(r.Bytes, KindCancel, c.Conn)
	w.Uint(uint64(c.Consumer))
	r.Bytes = w.End()
	r.submit(from)
}

func (w *Writer) bool(v bool) {
	if v {
		w.Bytes = append(w.Bytes, 1)
		return
	}
	w.Bytes = append(w.Bytes, 0)
}

func (w *Writer) optUint(v *uint64) {
	w.bool(v != nil)
	if v != nil {
		w.Uint(*v)
	}
}

func (w *Writer) optStr(v *string) {
	w.bool(v != nil)
	if v != nil {
		w.Text(*v)
	}
}

// overflowBodies, with the overflow of a queue's options, is CountBodies.
const overflowBodies = 2

func (w *Writer) queueOptions(o *QueueOptions) {
	w.bool(o.Durable)
	w.bool(o.Exclusive)
	w.bool(o.AutoDelete)
	w.optUint(o.MessageTTL)
	w.optUint(o.Expires)
	w.optUint(o.MaxLength)
	w.optUint(o.MaxLengthBytes)
	overflow := uint64(o.Overflow)
	if o.CountBodies {
		overflow |= overflowBodies
	}
	w.Uint(overflow)
	w.optStr(o.DeadLetter)
	w.optStr(o.DeadLetterKey)
	w.Text(o.AlternateExchange)
}

func (w *Writer) exchangeOptions(o *ExchangeOptions) {
	w.Uint(uint64(o.Type))
	w.bool(o.Durable)
	w.bool(o.AutoDelete)
	w.bool(o.Internal)
	w.Text(o.AlternateExchange)
}

func (w *Writer) binding(b *Bind) {
	w.Text(b.Exchange)
	w.bool(b.ToExchange)
	w.Text(b.Target)
	w.Text(b.Key)
	w.Uint(uint64(b.Match))
	w.bool(b.HasFields)
	w.Uint(uint64(len(b.Fields)))
	for i := range b.Fields {
		w.Text(b.Fields[i].Name)
		w.value(b.Fields[i].Value)
	}
}

func (w *Writer) value(v Value) {
	w.Uint(uint64(v.Kind))
	switch v.Kind {
	case ValueBool, ValueInt:
		w.Bytes = binary.AppendVarint(w.Bytes, v.Int)
	case ValueFloat:
		w.Bytes = binary.LittleEndian.AppendUint64(w.Bytes, math.Float64bits(v.Float))
	case ValueString:
		w.Text(v.Str)
	}
}

// openEntry checks the head of an entry and returns a reader of what follows it.
func openEntry(b []byte) (Header, Reader, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, Reader{}, err
	}
	if uint64(h.Size) > uint64(len(b)) {
		return h, Reader{}, errShort
	}
	return h, Reader{Rest: b[HeaderBytes:h.Size]}, nil
}

func (r *Reader) str() string { return string(r.TextTo(MaxEntryBytes)) }

func (r *Reader) bool() bool { return r.UintTo(1) == 1 }

func (r *Reader) optUintTo(limit uint64) *uint64 {
	if !r.bool() {
		return nil
	}
	v := r.UintTo(limit)
	return &v
}

func (r *Reader) optStr() *string {
	if !r.bool() {
		return nil
	}
	v := r.str()
	return &v
}

func (r *Reader) queueOptions() (o QueueOptions) {
	o.Durable = r.bool()
	o.Exclusive = r.bool()
	o.AutoDelete = r.bool()
	o.MessageTTL = r.optUintTo(MaxTTL)
	o.Expires = r.optUintTo(MaxTTL)
	o.MaxLength = r.optUintTo(math.MaxUint64)
	o.MaxLengthBytes = r.optUintTo(math.MaxUint64)
	overflow := r.UintTo(uint64(OverflowReject) | overflowBodies)
	o.Overflow, o.CountBodies = Overflow(overflow&^overflowBodies), overflow&overflowBodies != 0
	o.DeadLetter = r.optStr()
	o.DeadLetterKey = r.optStr()
	o.AlternateExchange = r.str()
	return o
}

func (r *Reader) exchangeOptions() (o ExchangeOptions) {
	o.Type = ExchangeType(r.UintTo(uint64(Headers)))
	o.Durable = r.bool()
	o.AutoDelete = r.bool()
	o.Internal = r.bool()
	o.AlternateExchange = r.str()
	return o
}

func (r *Reader) binding() (b Bind) {
	b.Exchange = r.str()
	b.ToExchange = r.bool()
	b.Target = r.str()
	b.Key = r.str()
	b.Match = Match(r.UintTo(uint64(MatchAnyX)))
	b.HasFields = r.bool()
	n := r.Uint()
	if n > uint64(len(r.Rest)) {
		r.Fail("entry: %d binding arguments in %d bytes", n, len(r.Rest))
		return b
	}
	for range n {
		b.Fields = append(b.Fields, Field{Name: r.str(), Value: r.value()})
	}
	return b
}

func (r *Reader) value() (v Value) {
	v.Kind = ValueKind(r.UintTo(uint64(ValueOther)))
	switch v.Kind {
	case ValueBool, ValueInt:
		n := 0
		if v.Int, n = binary.Varint(r.Rest); n <= 0 {
			r.Fail("entry: bad integer")
			return v
		}
		r.Rest = r.Rest[n:]
	case ValueFloat:
		if b := r.Octets(8, "float"); b != nil {
			v.Float = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	case ValueString:
		v.Str = r.str()
	}
	return v
}
