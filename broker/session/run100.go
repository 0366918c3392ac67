package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// States that are sent a great deal, encoded once.
var (
	acceptedState = amqp100.Raw((&amqp100.Accepted{}).Append(nil))
	releasedState = amqp100.Raw((&amqp100.Released{}).Append(nil))
)

// run100 is a range of deliveries with one outcome, which one disposition tells. A failure
// with a text of its own stands alone.
type run100 struct {
	open        bool
	settled     bool
	code        broker.Code
	condition   string // where the code does not say it
	text        string
	first, last amqp100.Seq
}

// outcome adds what became of a delivery to the run, or tells that and begins another.
func (s *session100) outcome(id amqp100.Seq, r run100) {
	if s.ending {
		return
	}
	old := &s.run
	if old.open && id == old.last+1 && r.code == old.code && r.settled == old.settled &&
		r.text == old.text && r.condition == old.condition {
		old.last = id
		return
	}
	if old.open {
		s.sendRun()
	}
	r.open, r.first, r.last = true, id, id
	s.run = r
}

// sendRun tells the run. Unless the receiver settles second we settle with it.
func (s *session100) sendRun() {
	r := &s.run
	r.open = false
	d := amqp100.Disposition{Role: amqp100.Receiver, First: r.first, Settled: r.settled, State: r.state()}
	if r.last != r.first {
		d.Last = amqp100.Some(r.last)
	}
	b, at := s.p.beginFrame(s.channel)
	s.p.endFrame(d.Append(b), at)
}

// state is the outcome that tells a code. A message that reached no queue is released, as
// RabbitMQ does it. All else is rejected with the reason, also what was not ordered for want
// of a quorum: some clients (go-amqp's Send) take a released message for a success.
func (r *run100) state() amqp100.Raw {
	switch {
	case r.condition != "":
	case r.code == broker.OK:
		return acceptedState
	case r.code == broker.NoRoute:
		return releasedState
	default:
		r.condition = condition100(r.code)
	}
	rejected := amqp100.Rejected{Error: &amqp100.Error{Condition: r.condition, Description: r.text}}
	return rejected.Append(nil)
}
