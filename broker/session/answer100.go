package session

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

func (p *conn100) answer(now time.Duration, list []broker.Answer) {
	p.now = now
	for i := range list {
		if p.state != stateRunning {
			list[i].Unpin()
			continue
		}
		p.answerOne(&list[i])
	}
	p.flush()
}

func (p *conn100) answerOne(a *broker.Answer) {
	switch a.Kind {
	case broker.AnsCompleted:
		p.completed(a.Number)
	case broker.AnsResult:
		p.result(a)
	case broker.AnsDeliver:
		p.deliver(a)
	case broker.AnsDrained:
		if l := p.consumer(a.Consumer); l != nil {
			l.drained()
		}
	case broker.AnsCancelled:
		if l := p.consumer(a.Consumer); l != nil {
			l.cancelled()
		}
	default:
		a.Unpin()
	}
}

// completed ends the publishes up to number n. Whatever else is among them has had its
// result.
func (p *conn100) completed(n uint64) {
	for {
		r, ok := p.pending.pop(n)
		if !ok {
			return
		}
		if r.step == stepPublish {
			r.link.published(&r)
		}
	}
}

// result notes how a publish failed, and lets a link go on that waited for its wiring.
func (p *conn100) result(a *broker.Answer) {
	r := p.pending.at(a.Number)
	switch {
	case r == nil || a.Result == nil:
	case r.step == stepPublish:
		r.code, r.text = a.Result.Code, a.Result.Text
		if r.code == broker.NoRoute && r.retry {
			p.retry(r, a.Record)
		}
	default:
		l, step := r.link, r.step
		r.step = stepForgotten
		if l != nil {
			l.wired(step, a.Result)
		}
	}
	a.Unpin()
}

// flush sends the dispositions that answers have added up to.
func (p *conn100) flush() {
	for _, s := range p.sessions {
		if s != nil && s.run.open {
			s.sendRun()
		}
	}
}
