package broker

import "time"

// A shard applies the operations of its queues. What changes wiring is done by the Broker
// while no shard runs; between two such points the shards depend on nothing but their own
// operations, so they end in the same state in whatever order they run.

type opKind uint8

const (
	opEnqueue opKind = iota
	opDequeue
	opRelease
)

// op is one operation on one queue.
type op struct {
	q       *Queue
	index   Index // of the message
	ref     Ref
	ttl     uint32
	kind    opKind
	hasTTL  bool
	counted bool   // opRelease
	logged  bool   // opEnqueue: the message is on the disk
	decided bool   // opEnqueue: it is replayed, so that what became of it follows
	own     bool   // opEnqueue: this member has proposed it
	conn    ConnID // of this member's own publish: whom to tell if it is refused
	apart   uint32 // opEnqueue: of the record, what is not body
	number  uint64
}

// Delivery is an answer on its way to a connection of this member.
type Delivery struct {
	Conn   ConnID
	Answer Answer
}

// Refusal tells that a publish of this member was refused by a full queue. If it is in journals, these do
// not know of it, as what filled the queue may not be there: they have to be told that it was not taken.
type Refusal struct {
	Conn   ConnID
	Number uint64 // 0: nobody waits for an answer
	Of     Done
}

// MeshOut is a message to another member, outside the order.
type MeshOut struct {
	To   MemberID
	Data []byte
}

// Done names a message that is to be dequeued.
type Done struct {
	Queue  QueueID
	Index  Index
	Logged bool // it is on the disk
}

// outbox is what a shard has produced since it was last collected.
type outbox struct {
	deliveries []Delivery
	refusals   []Refusal
	done       []Done // to be proposed in one dequeue entry
	logged     []Done // likewise, of messages on the disk
	entries    []byte // other entries to be proposed
	mesh       []MeshOut
	drops      []Ref // references given up
}

func (o *outbox) reset() {
	clear(o.deliveries)
	clear(o.mesh)
	o.deliveries, o.refusals, o.done, o.logged = o.deliveries[:0], o.refusals[:0], o.done[:0], o.logged[:0]
	o.entries, o.mesh, o.drops = o.entries[:0], o.mesh[:0], o.drops[:0]
}

// dequeue proposes that m leave q for good.
func (o *outbox) dequeue(q *Queue, m *slot) {
	if m.logged {
		o.logged = append(o.logged, Done{Queue: q.id, Index: m.index, Logged: true})
		return
	}
	o.done = append(o.done, Done{Queue: q.id, Index: m.index})
}

type shard struct {
	b       *Broker
	ops     []op
	dirty   []*Queue // to be dispatched in this run
	timed   []*Queue // with messages that expire, or an x-expires
	chunks  chunks
	out     outbox
	handle  holder   // last one given to a consumer here
	again   bool     // budget ran out: run once more
	stalled []*Queue // what they would hand out next is not in memory
	crowded []*Queue // they have much to discard
}

// mark puts q on the list of queues to be dispatched.
func (s *shard) mark(q *Queue) {
	if !q.marked {
		q.marked = true
		s.dirty = append(s.dirty, q)
	}
}

// run applies what was routed here and hands out messages.
func (s *shard) run(now time.Duration) {
	if !s.b.Crowded {
		for _, q := range s.crowded {
			s.mark(q)
		}
		clear(s.crowded)
		s.crowded = s.crowded[:0]
	}
	for i := range s.ops {
		s.apply(now, &s.ops[i])
	}
	clear(s.ops)
	s.ops = s.ops[:0]
	s.again = false
	n := len(s.dirty)
	for i := 0; i < n; i++ {
		q := s.dirty[i]
		q.marked = false
		if !q.deleted {
			s.serve(now, q)
		}
	}
	s.dirty = append(s.dirty[:0], s.dirty[n:]...)
	s.again = len(s.dirty) > 0
}

func (s *shard) apply(now time.Duration, o *op) {
	q := o.q
	if q.deleted {
		if o.kind == opEnqueue {
			s.out.drops = append(s.out.drops, o.ref)
		}
		return
	}
	switch o.kind {
	case opEnqueue:
		s.enqueue(now, o)
	case opDequeue:
		if pos, ok := q.find(o.index); ok {
			s.take(q, pos)
		}
	case opRelease:
		if pos, ok := q.find(o.index); ok {
			s.release(q, pos, o.counted)
		}
	}
	s.mark(q)
}

func (s *shard) enqueue(now time.Duration, o *op) {
	q := o.q
	m := slot{index: o.index, ref: o.ref, logged: o.logged}
	if q.options.CountBodies {
		m.setApart(o.apart)
	}
	if !o.decided && q.full(m.counts()) {
		s.out.drops = append(s.out.drops, o.ref)
		if o.number != 0 || o.own && o.logged {
			s.out.refusals = append(s.out.refusals, Refusal{o.conn, o.number, Done{q.id, o.index, o.logged}})
		}
		return
	}
	ttl, has := uint64(o.ttl), o.hasTTL
	if q.options.MessageTTL != nil && (!has || *q.options.MessageTTL < ttl) {
		ttl, has = *q.options.MessageTTL, true
	}
	if has {
		m.deadline = now + time.Duration(ttl)*time.Millisecond + 1
		s.watch(q)
	}
	q.push(m)
	q.ready++
	q.readyBytes += m.counts()
}

// watch has q looked at by the clock.
func (s *shard) watch(q *Queue) {
	if !q.timed {
		q.timed = true
		s.timed = append(s.timed, q)
	}
}

// take removes the message at pos, whoever holds it.
func (s *shard) take(q *Queue, pos uint64) {
	m := q.at(pos)
	q.unhold(m)
	if m.state == slotReady {
		q.ready--
		q.readyBytes -= m.counts()
	}
	s.out.drops = append(s.out.drops, q.remove(pos))
}

// release puts the message at pos back to its place.
func (s *shard) release(q *Queue, pos uint64, counted bool) {
	m := q.own(pos)
	q.unhold(m)
	if counted && m.deliveries < ^uint16(0) {
		m.deliveries++
	}
	if m.state == slotHeld {
		m.state, m.holder, m.leaving = slotReady, holderNone, staying
		q.ready++
		q.readyBytes += m.counts()
	}
	q.cursor = min(q.cursor, pos)
}

// tick looks at the queues with a clock.
func (s *shard) tick(now time.Duration) {
	kept := s.timed[:0]
	for _, q := range s.timed {
		if q.deleted || q.options.Expires == nil && q.count == 0 {
			q.timed = false
			continue
		}
		kept = append(kept, q)
		if q.dispatcher == s.b.cfg.Self {
			s.clock(now, q)
		}
	}
	clear(s.timed[len(kept):])
	s.timed = kept
}

// clock does what is due in q.
func (s *shard) clock(now time.Duration, q *Queue) {
	if m := q.firstReady(); m != nil && m.deadline != 0 && m.deadline <= now {
		s.expire(now, q)
	}
	if q.options.Expires == nil || len(q.consumers) > 0 || len(q.locals) > 0 {
		return
	}
	if now >= q.usedAt+time.Duration(*q.options.Expires)*time.Millisecond {
		s.out.entries = appendExpireQueue(s.out.entries, q)
		q.usedAt = now // should it be lost, ask again an expiry later
	}
}

// expire proposes the removal of what has expired at the head of q.
func (s *shard) expire(now time.Duration, q *Queue) {
	if len(q.waiting) > 0 {
		return
	}
	s.discardSome(now, q, reasonExpired, func(m *slot) bool { return m.deadline != 0 && m.deadline <= now })
}
