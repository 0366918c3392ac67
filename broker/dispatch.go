package broker

import (
	"math"
	"slices"
	"time"
)

// holder tells, in a slot, who has the message: a consumer of this member (odd), another
// member to which its dispatcher assigned it (even), or the dispatcher itself, which has
// proposed to remove it.
type holder uint32

const (
	holderNone holder = 0
	holderOwn  holder = 2
	// firstPeer is where the even numbers of other members begin.
	firstPeer holder = 4
)

func (h holder) local() bool { return h&1 == 1 }

// dispatch is how a queue hands out its messages. One member, the dispatcher, decides who
// gets which; the others ask it for as many as their own consumers can take (Want), and it
// assigns (Assign). Who dispatches, since which index (epoch), and on whose report of what
// it holds a new one still waits, is the same on every member.
type dispatch struct {
	dispatcher MemberID
	epoch      Index
	waiting    []MemberID

	marked bool
	usedAt time.Duration

	asked []question // of the dispatcher, by clients of this member

	// On the dispatcher.
	purging    bool // drop what is ready up to purgeTo
	purgeTo    Index
	purged     uint64 // messages, so far
	questions  []question
	ready      int // messages that nobody holds (kept on all members, true on this one)
	readyBytes int64
	cursor     uint64 // nothing before it is ready
	peers      []peer
	next       int // whose turn it is among locals and peers

	// Where the consumers are.
	left        uint64 // ready at the dispatcher, when it assigned the last
	locals      []*local
	assigned    uint64  // by the dispatcher, this epoch
	wanted      uint64  // told to the dispatcher, this epoch
	drains      uint64  // drains asked for, this epoch
	assignments []Index // to be handed out in this run
	drained     uint64  // highest drain that the dispatcher answered
}

// peer is another member that consumes from a queue dispatched here.
type peer struct {
	member      MemberID
	handle      holder
	limit, sent uint64
	drain       uint64 // to be answered once nothing more is ready
	lastDrain   uint64 // highest one asked for
	batch       []Index
}

// Port is a connection as its member's broker sees it.
type Port struct {
	Conn    ConnID
	Blocked bool // it is not reading: hand it nothing more
	locals  []*local
	early   []Request // credit for consumers whose subscription is not applied yet
}

// local is a consumer of this member, or a get.
type local struct {
	q           *Queue
	port        *Port
	id          ConsumerID
	handle      holder
	limit, sent uint64
	held        int
	releasing   int    // of those, messages on their way back to their places
	drain       uint64 // number of its drain + 1, if it waits for one
	pos         uint64 // where a browser stands
	browse, settled,
	get, gone bool // gone: cancelled, but it may still hold messages
	again bool // get: to ask once more when what its connection gave back has come
}

// Limits of one run, so that a long queue does not keep others waiting.
const (
	serveMessages = 512     // handed out a queue and run
	remoteWindow  = 1024    // most that one consumer is assigned ahead from another member
	serveBytes    = 4 << 20 // of records handed out a queue and run
	// discardMessages are taken out a queue and run, when many are: purged, expired, of a queue that
	// was deleted.
	discardMessages = 4 << 10
)

func (l *local) room() uint64 {
	taken := l.sent + uint64(l.releasing)
	if l.gone || l.browse || l.port.Blocked || taken >= l.limit {
		return 0
	}
	return l.limit - taken
}

// firstReady is the first message that nobody holds.
func (q *Queue) firstReady() *slot {
	for ; q.cursor < q.tail; q.cursor++ {
		if m := q.at(q.cursor); m.state == slotReady {
			return m
		}
	}
	return nil
}

// hold marks the message at pos, which is ready, as held.
func (q *Queue) hold(pos uint64, h holder) {
	q.reached = max(q.reached, pos+1)
	m := q.at(pos)
	m.state, m.holder = slotHeld, h
	q.ready--
	q.readyBytes -= m.counts()
}

// unhold forgets a local consumer's hold on m.
func (q *Queue) unhold(m *slot) {
	if m.state != slotHeld || !m.holder.local() {
		return
	}
	for _, l := range q.locals {
		if l.handle == m.holder {
			l.held--
			if m.leaving == goingBack {
				l.releasing--
			}
			q.dropGone(l)
			return
		}
	}
}

// serve hands out what can be handed out.
func (s *shard) serve(now time.Duration, q *Queue) {
	s.browseAll(now, q)
	if q.dispatcher != s.b.cfg.Self {
		s.place(now, q)
		return
	}
	if len(q.waiting) > 0 {
		return
	}
	if q.purging && s.discardSome(now, q, reasonPurged, func(m *slot) bool { return m.index <= q.purgeTo }) {
		return
	}
	q.purging = false
	if q.draining {
		s.discardSome(now, q, reasonDeleted, func(*slot) bool { return true })
		return
	}
	// A limit is for what waits: what a consumer takes at once never did, however much of it came in
	// one run.
	if s.handOut(now, q) {
		for q.over() && q.firstReady() != nil {
			s.discard(now, q, q.at(q.cursor), reasonMaxLength)
		}
	}
	s.flushPeers(q)
	s.answerDrains(q)
	s.answerQuestions(q)
}

// handOut gives what is ready to whoever has room, and tells whether it came to an end: no message,
// or no taker, is left.
func (s *shard) handOut(now time.Duration, q *Queue) (done bool) {
	messages, bytes := serveMessages, serveBytes
	for q.ready > 0 {
		m := q.firstReady()
		if m == nil {
			break
		}
		if m.deadline != 0 && m.deadline <= now {
			s.discard(now, q, m, reasonExpired)
			continue
		}
		if messages == 0 || bytes <= 0 {
			s.mark(q)
			return false
		}
		l, p := q.taker()
		if l != nil && !s.here(q, q.cursor) {
			q.next--
			return false
		}
		switch {
		case l != nil:
			q.hold(q.cursor, l.handle)
			s.give(now, q, l, m)
		case p != nil:
			q.hold(q.cursor, p.handle)
			p.sent++
			p.batch = append(p.batch, m.index)
		default:
			return true
		}
		messages--
		bytes -= int(m.ref.Length)
	}
	return true
}

// How far ahead is looked for what has to be fetched as well.
const (
	aheadMessages = 8 << 10
	aheadExtents  = 3
)

// here tells whether the message at pos is in memory. If it is not, it is asked for, with some of
// what follows, and q is served again when it has come.
func (s *shard) here(q *Queue, pos uint64) bool {
	log := s.b.log
	if log.Resident(q.at(pos).ref) {
		return true
	}
	last := q.at(pos).ref
	log.Fetch(last)
	for more, end := aheadExtents, min(pos+aheadMessages, q.tail); pos < end && more > 0; pos++ {
		m := q.at(pos)
		if m.state != slotReady || m.ref.Extent == last.Extent {
			continue
		}
		last = m.ref
		more--
		if !log.Resident(last) {
			log.Fetch(last)
		}
	}
	if !slices.Contains(s.stalled, q) {
		s.stalled = append(s.stalled, q)
	}
	return false
}

// Arrived tells that messages that were asked for have come.
func (b *Broker) Arrived() {
	for _, s := range b.shards {
		for _, q := range s.stalled {
			s.mark(q)
		}
		clear(s.stalled)
		s.stalled = s.stalled[:0]
	}
}

// taker picks who is next among the consumers here and the members with consumers.
func (q *Queue) taker() (*local, *peer) {
	n := len(q.locals) + len(q.peers)
	for range n {
		if q.next >= n {
			q.next = 0
		}
		i := q.next
		q.next++
		if i < len(q.locals) {
			if q.locals[i].room() > 0 {
				return q.locals[i], nil
			}
			continue
		}
		if p := &q.peers[i-len(q.locals)]; p.sent < p.limit {
			return nil, p
		}
	}
	return nil, nil
}

// give delivers a held message to a consumer of this member.
func (s *shard) give(now time.Duration, q *Queue, l *local, m *slot) {
	l.held++
	s.deliver(now, q, l, m)
	if l.settled {
		m.leaving = goingAway
		s.out.dequeue(q, m)
	}
}

func (s *shard) deliver(now time.Duration, q *Queue, l *local, m *slot) {
	l.sent++
	a := Answer{
		Kind: AnsDeliver, Consumer: l.id, Deliveries: uint32(m.deliveries),
		Queue: q.id, Index: m.index, Ready: q.left,
		Record: s.b.log.Bytes(m.ref), Pin: s.b.log.Pin(m.ref),
	}
	if q.dispatcher == s.b.cfg.Self {
		a.Ready = uint64(max(q.ready, 0))
	}
	if m.index <= q.suspect {
		a.Deliveries++
	}
	if m.deadline != 0 {
		a.TTLLeft = uint32(min(max(m.deadline-now, 0)/time.Millisecond, math.MaxUint32))
	}
	if l.get {
		l.gone = true
	}
	s.out.deliveries = append(s.out.deliveries, Delivery{Conn: l.port.Conn, Answer: a})
}

// discardSome discards ready messages from the first on while they are meant. If there are so many that
// it takes several runs, it tells so, and q is served again: what others propose is not to wait
// behind all of it.
func (s *shard) discardSome(now time.Duration, q *Queue, why reason, meant func(m *slot) bool) (more bool) {
	for budget := discardMessages; ; budget-- {
		m := q.firstReady()
		switch {
		case m == nil || !meant(m):
			return false
		case s.b.Crowded:
			if !slices.Contains(s.crowded, q) {
				s.crowded = append(s.crowded, q)
			}
			return true
		case budget == 0:
			s.mark(q)
			return true
		}
		s.discard(now, q, m, why)
	}
}

// discard proposes that the first ready message, m, be removed.
func (s *shard) discard(now time.Duration, q *Queue, m *slot, why reason) {
	if q.hold(q.cursor, holderOwn); why == reasonPurged {
		q.purged++
	}
	s.proposeRemoval(now, q, m, why)
}

// answerDrains tells those that asked that there is nothing more.
func (s *shard) answerDrains(q *Queue) {
	for i := 0; i < len(q.locals); i++ {
		l := q.locals[i]
		if l.drain == 0 || l.browse || q.ready > 0 && l.room() > 0 || q.returns(l) {
			continue
		}
		if s.endDrain(q, l) {
			i--
		}
	}
	for i := range q.peers {
		if p := &q.peers[i]; p.drain != 0 && (q.ready == 0 || p.sent >= p.limit) {
			s.out.mesh = append(s.out.mesh, MeshOut{To: p.member, Data: meshDrain(q, p.drain)})
			p.drain = 0
		}
	}
}

// returns tells whether l is a get that found nothing yet, while something that its connection gave
// back is on its way to the queue.
func (q *Queue) returns(l *local) bool {
	return l.get && l.sent == 0 && slices.ContainsFunc(q.locals, func(m *local) bool {
		return m.port == l.port && m.releasing > 0
	})
}

// endDrain answers one consumer's drain: a get that found nothing ends with it, and true
// tells that it is no longer among q's locals.
func (s *shard) endDrain(q *Queue, l *local) (dropped bool) {
	l.drain = 0
	a := Answer{Kind: AnsDrained, Consumer: l.id, Number: l.sent}
	if l.get {
		if l.sent > 0 {
			return false
		}
		a = Answer{Kind: AnsEmpty, Consumer: l.id, Result: &Result{}}
		l.gone = true
		q.dropLocal(l)
		l.port.forget(l)
	}
	s.out.deliveries = append(s.out.deliveries, Delivery{Conn: l.port.Conn, Answer: a})
	return l.get
}

func (q *Queue) dropLocal(l *local) {
	for i, m := range q.locals {
		if m == l {
			q.locals = append(q.locals[:i:i], q.locals[i+1:]...)
			return
		}
	}
}

func (p *Port) forget(l *local) {
	for i, m := range p.locals {
		if m == l {
			p.locals = append(p.locals[:i], p.locals[i+1:]...)
			return
		}
	}
}

func (p *Port) find(id ConsumerID) *local {
	for _, l := range p.locals {
		if l.id == id {
			return l
		}
	}
	return nil
}

// browseAll shows browsers what is in the queue; nobody's hold changes.
func (s *shard) browseAll(now time.Duration, q *Queue) {
	for _, l := range q.locals {
		if !l.browse || l.gone {
			continue
		}
		l.pos = max(l.pos, q.head)
		for budget := serveMessages; l.pos < q.tail && l.sent < l.limit && !l.port.Blocked; l.pos++ {
			if budget--; budget < 0 {
				s.mark(q)
				break
			}
			if m := q.at(l.pos); m.state != slotGone && (m.deadline == 0 || m.deadline > now) {
				if !s.here(q, l.pos) {
					break
				}
				s.deliver(now, q, l, m)
			}
		}
		if l.drain != 0 && (l.pos >= q.tail || l.sent >= l.limit) {
			s.endDrain(q, l)
		}
	}
}
