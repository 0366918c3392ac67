package broker

import (
	"cmp"
	"slices"
	"time"
)

// Connect makes a connection of this member known.
func (b *Broker) Connect(conn ConnID) *Port {
	p := &Port{Conn: conn}
	b.ports[conn] = p
	return p
}

// Disconnect ends a connection of this member: what its consumers hold goes back to its
// places, and an entry tells all members that it is gone.
func (b *Broker) Disconnect(conn ConnID) {
	p := b.ports[conn]
	if p == nil {
		return
	}
	delete(b.ports, conn)
	var done []Done
	for _, l := range p.locals {
		l.gone = true
		if l.held <= 0 {
			continue
		}
		l.q.eachHeld(func(s *slot) {
			if s.holder == l.handle && s.leaving == staying {
				s.leaving = goingAway
				done = append(done, Done{Queue: l.q.id, Index: s.index, Logged: s.logged})
			}
		})
	}
	slices.SortStableFunc(done, func(x, y Done) int { return cmp.Compare(x.Queue, y.Queue) })
	for _, l := range p.locals {
		if l.get {
			l.q.dropLocal(l)
		}
		l.q.shard.mark(l.q)
	}
	if len(done) > 0 {
		b.proposals = appendRelease(b.proposals, done, true)
	}
	w := BeginEntry(b.proposals, KindConnClosed, conn)
	b.proposals = w.End()
}

// Unblock lets a connection's consumers go on.
func (b *Broker) Unblock(p *Port) {
	p.Blocked = false
	for _, l := range p.locals {
		l.q.shard.mark(l.q)
	}
}

// Credit is a session's ReqCredit.
func (b *Broker) Credit(p *Port, r *Request) {
	l := p.find(r.Consumer)
	if l == nil {
		p.credit(r)
		return
	}
	l.credit(r.Limit, r.Drain)
}

func (l *local) credit(limit uint64, drain bool) {
	if l.get {
		return
	}
	l.limit = limit
	if drain && l.drain == 0 {
		l.drain = 1
	}
	l.q.shard.mark(l.q)
}

// maxEarlyCredit bounds the credit kept for consumers whose subscription is not applied yet.
const maxEarlyCredit = 4096

// credit keeps what was said of a consumer that is still to come.
func (p *Port) credit(r *Request) {
	for i := range p.early {
		if e := &p.early[i]; e.Consumer == r.Consumer {
			e.Limit, e.Drain = r.Limit, e.Drain || r.Drain
			return
		}
	}
	if len(p.early) < maxEarlyCredit {
		p.early = append(p.early, *r)
	}
}

// catchUp gives a new consumer the credit that came ahead of it.
func (p *Port) catchUp(l *local) {
	for i, e := range p.early {
		if e.Consumer == l.id {
			p.early = append(p.early[:i], p.early[i+1:]...)
			l.credit(e.Limit, e.Drain)
			return
		}
	}
}

// Get is a session's ReqGet. It returns nil if an answer will come, else how it ended.
func (b *Broker) Get(p *Port, now time.Duration, r *Request, queue string) *Result {
	q := b.queues[queue]
	if q == nil {
		return fail(NotFound, "no queue '%s'", queue)
	}
	if res := q.locked(Origin{Member: b.cfg.Self, Conn: p.Conn}); res != nil {
		return res
	}
	q.usedAt = now
	q.addLocal(&local{port: p, id: r.Consumer, get: true, settled: r.Settled, limit: 1, drain: 1})
	q.shard.mark(q)
	return nil
}

// SettleHold is a session's ReqSettle.
func (b *Broker) SettleHold(p *Port, now time.Duration, r *Request) {
	q := b.byID[r.Queue]
	l := p.find(r.Consumer)
	if q == nil || l == nil || l.q != q {
		return
	}
	pos, ok := q.find(r.Index)
	if !ok {
		return
	}
	m := q.at(pos)
	if m.state != slotHeld || m.holder != l.handle || m.leaving != staying {
		return
	}
	m.leaving = goingAway
	switch r.Outcome {
	case Accepted:
		q.shard.out.dequeue(q, m)
	case Released, Requeued:
		m.leaving = goingBack
		l.releasing++
		// Behind a report that it is held, which may be among the proposals.
		b.proposals = appendRelease(b.proposals, []Done{{Queue: q.id, Index: r.Index, Logged: m.logged}}, r.Outcome == Requeued)
	case Rejected:
		q.shard.proposeRemoval(now, q, m, reasonRejected)
	}
}

// Query tells what a name is.
func (b *Broker) Query(name string) *Result {
	res := &Result{}
	if x := b.exchanges[name]; x != nil && name != "" {
		res.IsExchange, res.ExchangeType, res.Durable = true, x.options.Type, x.options.Durable
	}
	if q := b.queues[name]; q != nil {
		res.IsQueue, res.Messages, res.Consumers, res.Durable = true, uint64(q.ready), q.consumerCount(), q.options.Durable
	}
	if !res.IsQueue && !res.IsExchange {
		res.Code, res.Text = NotFound, "no queue or exchange '"+name+"'"
	}
	return res
}
