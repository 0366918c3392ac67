package broker

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"
)

// Snapshot appends all that is replicated to b: what another member needs, besides the
// records themselves, to go on from the same index. Refs are this log's; Restore is told
// what they are over there.
func (b *Broker) Snapshot(buf []byte, now time.Duration) []byte {
	w := writer{b: buf}
	w.uint(uint64(b.applied))
	w.uint(uint64(len(b.members)))
	for _, m := range b.members {
		w.uint(uint64(m))
	}
	names := sortedNames(b.exchanges)
	w.uint(uint64(len(names)))
	for _, n := range names {
		w.str(n)
		w.exchangeOptions(&b.exchanges[n].options)
		w.bool(b.exchanges[n].predeclared)
	}
	w.uint(uint64(len(b.order)))
	for _, q := range b.order {
		w.queue(q, now)
	}
	for _, n := range names {
		x := b.exchanges[n]
		w.uint(uint64(len(x.bindings)))
		for _, t := range x.bindings {
			w.boundTo(x, t)
		}
	}
	return w.b
}

func (w *writer) boundTo(x *exchange, t *binding) {
	d := Bind{Exchange: x.name, Key: t.key, Match: t.match, Fields: t.fields, HasFields: t.hasArgs}
	if t.exchange != nil {
		d.ToExchange, d.Target = true, t.exchange.name
	} else {
		d.Target = t.queue.name
	}
	w.binding(&d)
}

func (w *writer) queue(q *Queue, now time.Duration) {
	w.str(q.name)
	w.uint(uint64(q.id))
	w.queueOptions(&q.options)
	w.uint(uint64(q.owner.Member))
	w.uint(uint64(q.owner.Conn))
	w.uint(uint64(q.lastUse))
	w.uint(uint64(q.suspect))
	w.bool(q.hadConsumer)
	w.bool(q.draining)
	w.uint(uint64(q.dispatcher))
	w.uint(uint64(q.epoch))
	w.uint(uint64(len(q.waiting)))
	for _, m := range q.waiting {
		w.uint(uint64(m))
	}
	w.uint(uint64(len(q.consumers)))
	for i := range q.consumers {
		c := &q.consumers[i]
		w.uint(uint64(c.origin.Member))
		w.uint(uint64(c.origin.Conn))
		w.uint(uint64(c.id))
		w.bool(c.exclusive)
		w.bool(c.browse)
	}
	w.uint(uint64(q.count))
	last := Index(0)
	q.each(func(_ uint64, s *slot) bool {
		w.uint(uint64(s.index - last))
		last = s.index
		w.uint(uint64(s.ref.Extent))
		w.uint(uint64(s.ref.Offset))
		w.uint(uint64(s.ref.Length))
		w.uint(uint64(s.deliveries))
		left := uint64(0)
		if s.deadline != 0 {
			left = uint64(max(s.deadline-now, 0)) + 1
		}
		w.uint(left)
		return true
	})
}

// Restore takes over what another member's Snapshot holds. place tells where a record of
// that member's log is in this one's.
func (b *Broker) Restore(data []byte, now time.Duration, place func(Ref) (Ref, bool)) error {
	b.Reset()
	r := reader{b: data}
	b.applied = Index(r.uint())
	for n := r.count(); n > 0; n-- {
		b.members = append(b.members, MemberID(r.uint()))
	}
	var names []string
	for n := r.count(); n > 0 && r.err == nil; n-- {
		x := newExchange(r.str(), r.exchangeOptions())
		x.predeclared = r.bool()
		b.exchanges[x.name] = x
		names = append(names, x.name)
	}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		b.restoreQueue(&r, now, place)
	}
	for _, name := range names {
		for n := r.count(); n > 0 && r.err == nil; n-- {
			b.restoreBinding(&r, b.exchanges[name])
		}
	}
	if r.err == nil && len(r.b) != 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return fmt.Errorf("snapshot: %w", r.err)
	}
	return nil
}

// count reads a number of items, each of which takes a byte at least.
func (r *reader) count() uint64 { return r.uintTo(uint64(len(r.b))) }

func (b *Broker) restoreBinding(r *reader, x *exchange) {
	d := r.binding()
	t := &binding{key: d.Key, match: d.Match, fields: d.Fields, hasArgs: d.HasFields}
	if d.ToExchange {
		t.exchange = b.exchanges[d.Target]
	} else {
		t.queue = b.queues[d.Target]
	}
	if t.exchange == nil && t.queue == nil {
		r.fail("binding of '%s' to '%s', which is not there", x.name, d.Target)
		return
	}
	x.bindings = append(x.bindings, t)
	x.index(t)
}

func (b *Broker) restoreQueue(r *reader, now time.Duration, place func(Ref) (Ref, bool)) {
	q := &Queue{name: r.str(), id: QueueID(r.uint()), options: r.queueOptions()}
	q.shard = b.shardOf(q.name)
	q.owner = Origin{Member: MemberID(r.uint()), Conn: ConnID(r.uint())}
	q.lastUse, q.suspect = Index(r.uint()), Index(r.uint())
	q.hadConsumer, q.draining = r.bool(), r.bool()
	q.dispatcher, q.epoch = MemberID(r.uint()), Index(r.uint())
	q.usedAt = now
	for n := r.count(); n > 0; n-- {
		q.waiting = append(q.waiting, MemberID(r.uint()))
	}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		q.consumers = append(q.consumers, consumer{
			origin: Origin{Member: MemberID(r.uint()), Conn: ConnID(r.uint())},
			id:     ConsumerID(r.uint()), exclusive: r.bool(), browse: r.bool(),
		})
	}
	last := Index(0)
	for n := r.count(); n > 0 && r.err == nil; n-- {
		last += Index(r.uint())
		ref := Ref{Extent: uint32(r.uint()), Offset: uint32(r.uint()), Length: uint32(r.uint())}
		m := slot{index: last, deliveries: uint16(r.uint())}
		if left := r.uint(); left != 0 {
			m.deadline = now + time.Duration(left-1) + 1
			q.shard.watch(q)
		}
		there, ok := place(ref)
		if !ok {
			r.fail("queue '%s': message %d is not among the records", q.name, m.index)
			return
		}
		m.ref = there
		b.log.Retain(there, 1)
		q.push(m)
		q.ready++
		q.readyBytes += int64(there.Length)
	}
	if r.err != nil {
		return
	}
	b.byID[q.id] = q
	b.order = append(b.order, q)
	if !q.draining {
		b.queues[q.name] = q
	}
	if q.options.Expires != nil {
		q.shard.watch(q)
	}
}

// Hash sums up all that is replicated: members at the same index have the same.
func (b *Broker) Hash() uint64 {
	h := fnv.New64a()
	var w writer
	names := sortedNames(b.exchanges)
	for _, n := range names {
		w.str(n)
		w.exchangeOptions(&b.exchanges[n].options)
		for _, t := range b.exchanges[n].bindings {
			w.boundTo(b.exchanges[n], t)
		}
	}
	for _, q := range b.order {
		b.hashQueue(&w, q)
	}
	h.Write(w.b)
	return h.Sum64()
}

func (b *Broker) hashQueue(w *writer, q *Queue) {
	c := *q
	c.chunks, c.count = nil, 0
	c.head, c.tail = 0, 0
	w.queue(&c, 0)
	w.uint(uint64(q.count))
	q.each(func(_ uint64, s *slot) bool {
		w.uint(uint64(s.index))
		w.uint(uint64(s.deliveries))
		w.b = binary.LittleEndian.AppendUint32(w.b, s.ref.Length)
		return true
	})
}

// Depth is the number of messages in a queue, for those who report.
func (b *Broker) Depth(queue string) (messages int, ok bool) {
	q := b.queues[queue]
	if q == nil {
		return 0, false
	}
	return q.count, true
}

// Describe tells how a queue is doing, for a person who looks for a mistake.
func (b *Broker) Describe(queue string) string {
	q := b.queues[queue]
	if q == nil {
		return "no such queue"
	}
	s := fmt.Sprintf("queue %s: %d messages, %d ready, dispatcher %x since %d, waiting for %x, suspect %d, applied %d, consumers %v",
		q.name, q.count, q.ready, uint64(q.dispatcher), q.epoch, q.waiting, q.suspect, b.applied, q.consumers)
	q.each(func(_ uint64, m *slot) bool {
		if m.state == slotHeld {
			s += fmt.Sprintf("; %d held by %d", m.index, m.holder)
		}
		return true
	})
	for _, l := range q.locals {
		s += fmt.Sprintf("; local %d/%d (%d) limit %d sent %d held %d drain %d", l.port.Conn, l.id, l.handle, l.limit, l.sent, l.held, l.drain)
	}
	for _, p := range q.peers {
		s += fmt.Sprintf("; peer %x limit %d sent %d", uint64(p.member), p.limit, p.sent)
	}
	return s + fmt.Sprintf("; wanted %d assigned %d", q.wanted, q.assigned)
}
