package broker

import (
	"encoding/binary"
	"slices"
)

func (b *Broker) subscribe(e *Entry, from Origin, r *Reader) *Result {
	id, name := ConsumerID(r.UintTo(1<<32-1)), r.str()
	exclusive, browse, settled := r.bool(), r.bool(), r.bool()
	if r.Err != nil {
		return nil
	}
	q := b.queues[name]
	if q == nil {
		return fail(NotFound, "no queue '%s'", name)
	}
	if res := q.locked(from); res != nil {
		return res
	}
	for i := range q.consumers {
		if exclusive || q.consumers[i].exclusive {
			return fail(InUse, "queue '%s' in exclusive use", name)
		}
	}
	q.consumers = append(q.consumers, consumer{origin: from, id: id, exclusive: exclusive, browse: browse})
	b.ties.add(from, q)
	q.hadConsumer = true
	q.lastUse, q.usedAt = e.Index, e.Now
	if p := b.ports[from.Conn]; from.Member == b.cfg.Self && p != nil {
		l := &local{port: p, id: id, browse: browse, settled: settled}
		q.addLocal(l)
		p.catchUp(l)
	}
	b.elect(q, e.Index)
	q.shard.mark(q)
	return q.result()
}

func (q *Queue) addLocal(l *local) {
	if q.shard.handle == 0 {
		q.shard.handle = 1
	}
	l.q, l.handle = q, q.shard.handle
	q.shard.handle += 2
	l.pos = q.head
	q.locals = append(q.locals, l)
	l.port.locals = append(l.port.locals, l)
}

func (b *Broker) cancel(e *Entry, from Origin, r *Reader) *Result {
	id := ConsumerID(r.UintTo(1<<32 - 1))
	if r.Err != nil {
		return nil
	}
	is := func(c *consumer) bool { return c.origin == from && c.id == id }
	// The first that was declared, as all members have to take the same, whatever order their ties are in.
	var of *Queue
	for _, q := range b.ties[from] {
		if (of == nil || q.id < of.id) && slices.ContainsFunc(q.consumers, func(c consumer) bool { return is(&c) }) {
			of = q
		}
	}
	if of != nil {
		b.removeConsumers(e, of, is)
	}
	return &Result{}
}

// removeConsumers takes consumers off q; an auto-delete queue goes with the last one.
func (b *Broker) removeConsumers(e *Entry, q *Queue, gone func(*consumer) bool) {
	kept := q.consumers[:0]
	for i := range q.consumers {
		c := q.consumers[i]
		if !gone(&q.consumers[i]) {
			kept = append(kept, c)
			continue
		}
		if l := q.localOf(c, b.cfg.Self); l != nil {
			l.gone = true
			q.dropGone(l)
		}
	}
	if len(kept) == len(q.consumers) {
		return
	}
	q.consumers = kept
	q.lastUse, q.usedAt = e.Index, e.Now
	if q.options.AutoDelete && q.hadConsumer && len(kept) == 0 && !q.draining {
		b.deleteQueue(e, q)
		return
	}
	b.elect(q, e.Index)
	q.shard.mark(q)
}

func (q *Queue) localOf(c consumer, self MemberID) *local {
	if c.origin.Member != self {
		return nil
	}
	for _, l := range q.locals {
		if l.port.Conn == c.origin.Conn && l.id == c.id && !l.get {
			return l
		}
	}
	return nil
}

// dropGone forgets a cancelled consumer that holds nothing; one that does stays until what
// it holds is settled.
func (q *Queue) dropGone(l *local) {
	if l.gone && l.held <= 0 {
		q.dropLocal(l)
		l.port.forget(l)
	}
}

// connClosed ends what a connection had: its exclusive queues and its consumers.
func (b *Broker) connClosed(e *Entry, from Origin) {
	b.dropOf(e, b.ties.take(from), func(o Origin) bool { return o == from })
}

func (b *Broker) dropOwned(e *Entry, gone func(Origin) bool) {
	b.ties.forget(gone)
	b.dropOf(e, slices.Clone(b.order), gone)
}

func (b *Broker) dropOf(e *Entry, queues []*Queue, gone func(Origin) bool) {
	for _, q := range queues {
		switch {
		case q.deleted || q.draining:
		case q.options.Exclusive && gone(q.owner):
			b.deleteQueue(e, q)
		default:
			b.removeConsumers(e, q, func(c *consumer) bool { return gone(c.origin) })
		}
	}
}

// Members tells who takes part from index i on. Whoever does not any more takes along its
// connections; queues that it dispatched get another dispatcher, and messages that it held
// go back to their places.
func (b *Broker) Members(e *Entry, members []MemberID) {
	b.Settle(e.Now)
	b.applied = e.Index
	old := b.members
	b.members = slices.Clone(members)
	slices.Sort(b.members)
	left := func(m MemberID) bool { return !slices.Contains(b.members, m) }
	if !slices.ContainsFunc(old, left) {
		return
	}
	for _, q := range b.order {
		q.doubt(e.Index, left)
	}
	b.dropOwned(e, func(o Origin) bool { return left(o.Member) })
	for _, q := range slices.Clone(b.order) {
		if q.deleted {
			continue
		}
		b.forgetMembers(e, q, left)
	}
}

// Anew goes on with members after a time in which nothing was ordered for all of them: every
// connection has ended, every queue is handed over, and any message may have been delivered.
func (b *Broker) Anew(e *Entry, members []MemberID) {
	b.Settle(e.Now)
	b.applied = e.Index
	b.members = slices.Clone(members)
	slices.Sort(b.members)
	everybody := func(MemberID) bool { return true }
	for _, p := range b.ports {
		p.locals, p.early = nil, nil
	}
	for _, q := range b.order {
		q.doubt(e.Index, everybody)
		q.locals = nil
	}
	b.dropOwned(e, func(Origin) bool { return true })
	for _, q := range b.order {
		b.handOver(q, b.candidate(q), e.Index)
		q.shard.mark(q)
	}
}

// doubt notes that messages of q may have been delivered although nobody knows of it: what a
// dispatcher had handed out, and to whom, died with it; so did what a member's consumers held
// that had not reported it to a new one.
func (q *Queue) doubt(now Index, left func(MemberID) bool) {
	if left(q.dispatcher) || slices.ContainsFunc(q.waiting, left) {
		q.suspect = now
	}
	q.waiting = slices.DeleteFunc(q.waiting, left)
}

func (b *Broker) forgetMembers(e *Entry, q *Queue, left func(MemberID) bool) {
	if left(q.dispatcher) {
		b.elect(q, e.Index)
	} else if q.dispatcher == b.cfg.Self {
		b.releasePeers(q, left)
	}
	q.shard.mark(q)
}

// releasePeers proposes the release of what members that left held of q.
func (b *Broker) releasePeers(q *Queue, left func(MemberID) bool) {
	var gone []holder
	q.peers = slices.DeleteFunc(q.peers, func(p peer) bool {
		if left(p.member) {
			gone = append(gone, p.handle)
			return true
		}
		return false
	})
	if len(gone) == 0 {
		return
	}
	var done []Done
	q.eachHeld(func(s *slot) {
		if slices.Contains(gone, s.holder) {
			done = append(done, Done{Queue: q.id, Index: s.index, Logged: s.logged})
		}
	})
	if len(done) > 0 {
		b.proposals = appendRelease(b.proposals, done, true)
	}
}

// elect decides who dispatches q: the member with most of its consumers; who does so now
// among equals, then the lowest id.
func (b *Broker) elect(q *Queue, i Index) {
	if len(b.members) == 0 {
		return
	}
	if best := b.candidate(q); best != q.dispatcher {
		b.handOver(q, best, i)
	}
}

// candidate is the member that is to dispatch q.
func (b *Broker) candidate(q *Queue) MemberID {
	best, most := MemberID(0), -1
	for _, m := range b.members {
		n := 0
		for c := range q.consumers {
			if q.consumers[c].origin.Member == m && !q.consumers[c].browse {
				n++
			}
		}
		if n > most || n == most && m == q.dispatcher {
			best, most = m, n
		}
	}
	return best
}

// handOver makes m the dispatcher of q. Everybody says what its consumers hold before m
// starts, unless the queue is empty.
func (b *Broker) handOver(q *Queue, m MemberID, i Index) {
	q.dispatcher, q.epoch = m, i
	q.peers, q.assignments = nil, nil
	q.assigned, q.wanted, q.drains, q.drained = 0, 0, 0, 0
	for _, l := range q.locals {
		if l.drain != 0 {
			l.drain = 1
		}
	}
	q.waiting = nil
	q.cursor = q.head
	q.ready, q.readyBytes = q.count, q.bytes
	var held []Index
	q.eachHeld(func(s *slot) {
		if s.holder.local() && len(q.locals) > 0 {
			q.ready--
			q.readyBytes -= s.counts()
			if s.leaving == staying {
				held = append(held, s.index)
			}
			return
		}
		s.state, s.holder, s.leaving = slotReady, holderNone, staying
	})
	if q.count > 0 {
		q.waiting = slices.Clone(b.members)
		b.proposals = appendHeld(b.proposals, q, held)
	}
	b.askAgain(q)
}

func appendHeld(b []byte, q *Queue, held []Index) []byte {
	w := BeginEntry(b, KindHeld, 0)
	w.Uint(uint64(q.id))
	w.Uint(uint64(q.epoch))
	for _, i := range held {
		w.Bytes = binary.LittleEndian.AppendUint64(w.Bytes, uint64(i))
	}
	return w.End()
}

// held takes one member's report of what its consumers hold of a queue that changed hands.
func (b *Broker) held(e *Entry, r *Reader) {
	q, epoch := b.byID[QueueID(r.Uint())], Index(r.Uint())
	if r.Err != nil || q == nil || q.deleted || q.epoch != epoch {
		return
	}
	if q.dispatcher == b.cfg.Self && e.From != b.cfg.Self {
		p := q.peerOf(b, e.From)
		for list := r.Rest; len(list) >= 8; list = list[8:] {
			pos, ok := q.find(Index(binary.LittleEndian.Uint64(list)))
			if ok && q.at(pos).state == slotReady {
				q.hold(pos, p.handle)
			}
		}
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(m MemberID) bool { return m == e.From })
	q.shard.mark(q)
}
