package broker

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// Snapshot is the state as it was at one moment: all wiring, which is written down at once, and
// the messages, which are read bit by bit while everything goes on. What is changed meanwhile is
// copied first, a chunk at a time.
type Snapshot struct {
	now    time.Duration
	logged bool // only messages that are on the disk
	queues []frozen
	pos    uint64 // in queues[0]
	last   Index
}

// frozen is a queue's messages as they were.
type frozen struct {
	memory           *chunks
	chunks           []chunk
	base, head, tail uint64
}

// Scope is which messages a snapshot holds.
type Scope bool

// Scopes.
const (
	All    Scope = false
	OnDisk Scope = true // those only
)

// Snapshot appends to buf all that is replicated but for the messages, which Next follows with:
// together with the records it is what another member needs to go on from the same index. Refs
// are this log's. Close ends it.
func (b *Broker) Snapshot(buf []byte, now time.Duration, of Scope) ([]byte, *Snapshot) {
	w := Writer{Bytes: buf}
	w.Uint(uint64(b.applied))
	w.Uint(uint64(len(b.members)))
	for _, m := range b.members {
		w.Uint(uint64(m))
	}
	names := sortedNames(b.exchanges)
	w.Uint(uint64(len(names)))
	for _, n := range names {
		w.Text(n)
		w.exchangeOptions(&b.exchanges[n].options)
		w.bool(b.exchanges[n].predeclared)
	}
	s := &Snapshot{now: now, logged: bool(of)}
	w.Uint(uint64(len(b.order)))
	for _, q := range b.order {
		w.queue(q, now)
		s.queues = append(s.queues, q.freeze())
	}
	for _, n := range names {
		x := b.exchanges[n]
		w.Uint(uint64(len(x.bindings)))
		for _, t := range x.bindings {
			w.boundTo(x, t)
		}
	}
	s.begin()
	return w.Bytes, s
}

func (q *Queue) freeze() frozen {
	users := make([]int, len(q.chunks))
	for i := range q.chunks {
		k := &q.chunks[i]
		if k.users == nil {
			users[i] = 1
			k.users = &users[i]
		}
		*k.users++
	}
	return frozen{memory: &q.shard.chunks, chunks: slices.Clone(q.chunks), base: q.base, head: q.head, tail: q.tail}
}

// begin begins with the queue that is the first now.
func (s *Snapshot) begin() {
	if len(s.queues) > 0 {
		s.pos, s.last = s.queues[0].head, 0
	}
}

// Done tells whether all messages have been read.
func (s *Snapshot) Done() bool { return len(s.queues) == 0 }

// Close gives up what is left of it.
func (s *Snapshot) Close() {
	for i := range s.queues {
		s.queues[i].memory.drop(s.queues[i].chunks)
	}
	s.queues = nil
}

// Next appends messages to buf until that is limit bytes long, more or less, or until it has looked at
// as many: those of one queue after the other, as in the wiring, each list up to an index of 0.
func (s *Snapshot) Next(buf []byte, limit int) []byte {
	w := Writer{Bytes: buf}
	looked := 0
	for len(s.queues) > 0 && len(w.Bytes) < limit && looked < limit {
		f := &s.queues[0]
		for ; s.pos < f.tail && len(w.Bytes) < limit && looked < limit; s.pos++ {
			looked++
			n := s.pos - f.base
			m := &f.chunks[n/chunkSlots].slots[n%chunkSlots]
			if m.state != slotGone && (m.logged || !s.logged) {
				w.message(m, s.last, s.now)
				s.last = m.index
			}
		}
		if s.pos < f.tail {
			break
		}
		w.Uint(0)
		f.memory.drop(f.chunks)
		s.queues = s.queues[1:]
		s.begin()
	}
	return w.Bytes
}

// apartShift is where, in what is told of a message's deliveries, slot.apart begins.
const apartShift = 17

// message appends a message, the one before which has the index last.
func (w *Writer) message(m *slot, last Index, now time.Duration) {
	w.Uint(uint64(m.index - last))
	w.Uint(uint64(m.ref.Extent))
	w.Uint(uint64(m.ref.Offset))
	w.Uint(uint64(m.ref.Length))
	deliveries := uint64(m.getApart())<<apartShift | uint64(m.deliveries)<<1
	if m.logged {
		deliveries |= 1
	}
	w.Uint(deliveries)
	left := uint64(0)
	if m.deadline != 0 {
		left = uint64(max(m.deadline-now, 0)) + 1
	}
	w.Uint(left)
}

func (w *Writer) boundTo(x *exchange, t *binding) {
	d := Bind{Exchange: x.name, Key: t.key, Match: t.match, Fields: t.fields, HasFields: t.hasArgs}
	if t.exchange != nil {
		d.ToExchange, d.Target = true, t.exchange.name
	} else {
		d.Target = t.queue.name
	}
	w.binding(&d)
}

func (w *Writer) queue(q *Queue, now time.Duration) {
	w.Text(q.name)
	w.Uint(uint64(q.id))
	w.queueOptions(&q.options)
	w.Uint(uint64(q.owner.Member))
	w.Uint(uint64(q.owner.Conn))
	w.Uint(uint64(q.lastUse))
	w.Uint(uint64(q.suspect))
	w.bool(q.hadConsumer)
	w.bool(q.draining)
	w.Uint(uint64(q.dispatcher))
	w.Uint(uint64(q.epoch))
	w.Uint(uint64(len(q.waiting)))
	for _, m := range q.waiting {
		w.Uint(uint64(m))
	}
	w.Uint(uint64(len(q.consumers)))
	for i := range q.consumers {
		c := &q.consumers[i]
		w.Uint(uint64(c.origin.Member))
		w.Uint(uint64(c.origin.Conn))
		w.Uint(uint64(c.id))
		w.bool(c.exclusive)
		w.bool(c.browse)
	}
}

// Place tells where a record is in this log that a snapshot names as ref, that of the message with
// an index in a queue; false if it is still to come.
type Place func(ref Ref, q QueueID, i Index, logged bool) (Ref, bool)

// Same is a place where the log is the same.
func Same(r Ref, _ QueueID, _ Index, _ bool) (Ref, bool) { return r, true }

// Restoration is a snapshot on its way into a Broker, which does nothing else meanwhile.
type Restoration struct {
	b      *Broker
	now    time.Duration
	queues []*Queue // messages of the first are next
	last   Index
	Rest   []byte            // what followed the wiring
	coming map[uint32][]spot // by the extent that their records are in over there
}

// spot is a message whose record is still to come.
type spot struct {
	q   *Queue
	pos uint64
}

// Restore begins to take over what another member's Snapshot has: head is what that wrote at once.
func (b *Broker) Restore(head []byte, now time.Duration) (*Restoration, error) {
	b.Reset()
	x := &Restoration{b: b, now: now, coming: map[uint32][]spot{}}
	r := Reader{Rest: head}
	b.applied = Index(r.Uint())
	for n := r.count(); n > 0; n-- {
		b.members = append(b.members, MemberID(r.Uint()))
	}
	var names []string
	for n := r.count(); n > 0 && r.Err == nil; n-- {
		x := newExchange(r.str(), r.exchangeOptions())
		x.predeclared = r.bool()
		b.exchanges[x.name] = x
		names = append(names, x.name)
	}
	for n := r.count(); n > 0 && r.Err == nil; n-- {
		x.queues = append(x.queues, b.restoreQueue(&r, now))
	}
	for _, name := range names {
		for n := r.count(); n > 0 && r.Err == nil; n-- {
			b.restoreBinding(&r, b.exchanges[name])
		}
	}
	if r.Err != nil {
		b.Reset()
		return nil, fmt.Errorf("snapshot: %w", r.Err)
	}
	x.Rest = r.Rest
	return x, nil
}

// RestoreWhole takes over a snapshot that is in one piece, and all of whose records are there.
func (b *Broker) RestoreWhole(data []byte, now time.Duration, place Place) error {
	x, err := b.Restore(data, now)
	if err != nil {
		return err
	}
	err = x.Messages(x.Rest, place)
	if err == nil && !(x.Full() && len(x.coming) == 0) {
		err = fmt.Errorf("snapshot: messages are missing")
	}
	if err != nil {
		b.Forsake(now)
	}
	return err
}

// Messages takes over a piece of what Next has made. The snapshot is complete when Full says so.
func (x *Restoration) Messages(data []byte, place Place) error {
	r := Reader{Rest: data}
	for len(r.Rest) > 0 && r.Err == nil {
		if len(x.queues) == 0 {
			r.Fail("%d bytes too many", len(r.Rest))
			break
		}
		step := r.Uint()
		if step == 0 {
			x.queues, x.last = x.queues[1:], 0
			continue
		}
		x.message(&r, step, place)
	}
	if r.Err != nil {
		return fmt.Errorf("snapshot: %w", r.Err)
	}
	return nil
}

func (x *Restoration) message(r *Reader, step uint64, place Place) {
	q := x.queues[0]
	m := slot{index: x.last + Index(step), ref: Ref{Extent: uint32(r.Uint()), Offset: uint32(r.Uint()), Length: uint32(r.Uint())}}
	deliveries := r.UintTo(maxApart<<apartShift | 1<<apartShift - 1)
	m.deliveries, m.logged = uint16(deliveries>>1), deliveries&1 != 0
	m.setApart(uint32(deliveries >> apartShift))
	left := r.Uint()
	if m.getApart() > m.ref.Length {
		r.Fail("a message of %d bytes, of which %d are not body", m.ref.Length, m.getApart())
	}
	if r.Err != nil {
		return
	}
	x.last = m.index
	if left != 0 {
		m.deadline = x.now + time.Duration(left-1) + 1
		q.shard.watch(q)
	}
	if there, ok := place(m.ref, q.id, m.index, m.logged); ok {
		m.ref = there
		x.b.log.Retain(there, 1)
	} else {
		m.state = slotComing
		x.coming[m.ref.Extent] = append(x.coming[m.ref.Extent], spot{q, q.tail})
	}
	q.push(m)
	q.ready++
	q.readyBytes += m.counts()
}

// Full tells whether all messages are there, though not their records.
func (x *Restoration) Full() bool { return len(x.queues) == 0 }

// Lacking lists the extents, over there, of records that are still to come.
func (x *Restoration) Lacking() []uint32 { return slices.Sorted(maps.Keys(x.coming)) }

// Extent tells where the records of an extent are in this log.
func (x *Restoration) Extent(id uint32, place func(ref Ref, logged bool) (Ref, error)) error {
	for _, c := range x.coming[id] {
		m := c.q.at(c.pos)
		there, err := place(m.ref, m.logged)
		if err != nil {
			return err
		}
		m.ref, m.state = there, slotReady
		x.b.log.Retain(there, 1)
	}
	delete(x.coming, id)
	return nil
}

// count reads a number of items, each of which takes a byte at least.
func (r *Reader) count() uint64 { return r.UintTo(uint64(len(r.Rest))) }

func (b *Broker) restoreBinding(r *Reader, x *exchange) {
	d := r.binding()
	t := &binding{key: d.Key, match: d.Match, fields: d.Fields, hasArgs: d.HasFields}
	if d.ToExchange {
		t.exchange = b.exchanges[d.Target]
	} else {
		t.queue = b.queues[d.Target]
	}
	if t.exchange == nil && t.queue == nil {
		r.Fail("binding of '%s' to '%s', which is not there", x.name, d.Target)
		return
	}
	x.bindings = append(x.bindings, t)
	x.index(t)
}

// restoreQueue reads what Writer.queue wrote.
func (b *Broker) restoreQueue(r *Reader, now time.Duration) *Queue {
	q := &Queue{name: r.str(), id: QueueID(r.Uint()), options: r.queueOptions()}
	q.shard = b.shardOf(q.name)
	q.owner = Origin{Member: MemberID(r.Uint()), Conn: ConnID(r.Uint())}
	q.lastUse, q.suspect = Index(r.Uint()), Index(r.Uint())
	q.hadConsumer, q.draining = r.bool(), r.bool()
	q.dispatcher, q.epoch = MemberID(r.Uint()), Index(r.Uint())
	q.usedAt = now
	for n := r.count(); n > 0; n-- {
		q.waiting = append(q.waiting, MemberID(r.Uint()))
	}
	for n := r.count(); n > 0 && r.Err == nil; n-- {
		q.consumers = append(q.consumers, consumer{
			origin: Origin{Member: MemberID(r.Uint()), Conn: ConnID(r.Uint())},
			id:     ConsumerID(r.Uint()), exclusive: r.bool(), browse: r.bool(),
		})
	}
	if q.options.Exclusive {
		b.ties.add(q.owner, q)
	}
	for i := range q.consumers {
		b.ties.add(q.consumers[i].origin, q)
	}
	b.byID[q.id] = q
	b.order = append(b.order, q)
	if !q.draining {
		b.queues[q.name] = q
	}
	if q.options.Expires != nil {
		q.shard.watch(q)
	}
	return q
}

// Hash sums up all that is replicated: members at the same index have the same.
func (b *Broker) Hash() uint64 {
	h := fnv.New64a()
	var w Writer
	names := sortedNames(b.exchanges)
	for _, n := range names {
		w.Text(n)
		w.exchangeOptions(&b.exchanges[n].options)
		for _, t := range b.exchanges[n].bindings {
			w.boundTo(b.exchanges[n], t)
		}
	}
	for _, q := range b.order {
		b.hashQueue(&w, q)
	}
	h.Write(w.Bytes)
	return h.Sum64()
}

func (b *Broker) hashQueue(w *Writer, q *Queue) {
	c := *q
	c.chunks, c.count = nil, 0
	c.head, c.tail = 0, 0
	w.queue(&c, 0)
	w.Uint(uint64(q.count))
	q.each(func(_ uint64, s *slot) bool {
		w.Uint(uint64(s.index))
		w.Uint(uint64(s.deliveries))
		w.Bytes = binary.LittleEndian.AppendUint32(w.Bytes, s.ref.Length)
		w.Uint(uint64(s.getApart()))
		return true
	})
}

// Totals are how many queues there are, and messages in them, for those who report.
func (b *Broker) Totals() (queues, messages int) {
	for _, q := range b.order {
		messages += q.count
	}
	return len(b.order), messages
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
