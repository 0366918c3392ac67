package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// onDisposition takes the client's (2.7.6). As a receiver it ends holds; as a sender it
// only confirms what we have told it, of which nothing is kept.
func (s *session100) onDisposition(d *amqp100.Disposition) {
	if d.Role == amqp100.Sender {
		return
	}
	outcome, ok := outcome100(d.State)
	if !ok {
		s.fail(amqp100.ErrInvalidField, "the state of a disposition is none that is known")
		return
	}
	if !d.Settled && outcome == 0 {
		return // progress of a transfer, or nothing
	}
	last := d.Last.Or(d.First)
	if last.Before(d.First) {
		s.fail(amqp100.ErrInvalidField, "a disposition whose last is before its first")
		return
	}
	u := &s.held
	for i := u.from(d.First); i < len(u.list) && !last.Before(u.list[i].id); i++ {
		if l := u.list[i].link; l != nil {
			s.settle(i, outcome)
			l.over()
		}
	}
	u.trim()
	if !d.Settled {
		s.confirm(d, last)
	}
}

// settle ends the hold of one delivery. Without an outcome that of the source applies.
func (s *session100) settle(i int, outcome broker.Outcome) {
	h := &s.held.list[i]
	o := &h.link.out
	if outcome == 0 {
		outcome = o.defaultOutcome
	}
	if !o.browse {
		s.p.c.req.Settle(o.consumer, h.queue, h.index, outcome)
	}
	s.held.settle(i)
}

// confirm settles what the client has given an outcome and left unsettled, as it does
// where the receiver settles second.
func (s *session100) confirm(d *amqp100.Disposition, last amqp100.Seq) {
	answer := amqp100.Disposition{Role: amqp100.Sender, First: d.First, Settled: true, State: d.State}
	if last != d.First {
		answer.Last = amqp100.Some(last)
	}
	b, at := s.p.beginFrame(s.channel)
	s.p.endFrame(answer.Append(b), at)
}

// outcome100 is what a delivery state means to the broker: 0 for none and for received,
// which is no end. A message that is undeliverable here must not come here again; as the
// broker keeps no list of who is refused what, it is rejected (so do qpidd and RabbitMQ).
func outcome100(state amqp100.Raw) (o broker.Outcome, ok bool) {
	if state.IsNull() {
		return 0, true
	}
	code, value, ok := state.Described()
	if !ok {
		return 0, false
	}
	switch code {
	case amqp100.CodeAccepted:
		return broker.Accepted, true
	case amqp100.CodeRejected:
		return broker.Rejected, true
	case amqp100.CodeReleased:
		return broker.Released, true
	case amqp100.CodeReceived:
		return 0, true
	case amqp100.CodeModified:
		var m amqp100.Modified
		if m.Decode(value) != nil {
			return 0, false
		}
		switch {
		case m.UndeliverableHere:
			return broker.Rejected, true
		case m.DeliveryFailed:
			return broker.Requeued, true
		}
		return broker.Released, true
	}
	return 0, false
}
