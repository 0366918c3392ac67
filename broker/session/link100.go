package session

import (
	"bytes"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// maxAttachBytes bounds an attach: it is kept until the link's node has been found.
const maxAttachBytes = 16 << 10

// linkState is where a link stands.
type linkState uint8

const (
	linkAttaching linkState = iota // its node is being found or made; attach is not answered
	linkAttached
	linkDetaching // detach was sent, the client's is next
	linkGone
)

// link100 is a link (2.6). An incoming one brings the client's messages, see sender100.go;
// an outgoing one takes messages to it, see receiver100.go.
//
// Attaching asks the member for one thing after the other: what the address is, where that
// is not plain; then what must be declared, bound and subscribed to. Then attach is answered.
type link100 struct {
	s        *session100
	state    linkState
	outgoing bool
	handle   amqp100.Handle
	name     string

	sndMode amqp100.SenderSettleMode
	rcvMode amqp100.ReceiverSettleMode

	attach *attach100 // while attaching
	node   node100
	delete string // a queue made for this link, to be deleted with it
	keep   bool   // but only when it is closed: a durable subscription
	in     incoming100
	out    outgoing100
}

// attach100 is what is needed only until attach is answered.
type attach100 struct {
	source    amqp100.Source
	target    amqp100.Target
	hasSource bool
	hasTarget bool
	address   address100
	found     found100
	topic     bool // the node is an exchange
	wiring    bool // names are known, the node is being made ready
	waiting   int  // requests without a result
	failure   *failure100
}

// onAttach opens a link (2.7.3).
func (s *session100) onAttach(value []byte) error {
	// What the attach holds must outlive the buffer it came in.
	if len(value) > maxAttachBytes {
		s.fail(amqp100.ErrResourceLimitExceeded,
			fmt.Sprintf("an attach of %d bytes, at most %d are taken", len(value), maxAttachBytes))
		return nil
	}
	var a amqp100.Attach
	if err := a.Decode(bytes.Clone(value)); err != nil {
		return err
	}
	if a.Handle > maxHandle {
		s.p.fail(amqp100.ErrFraming, fmt.Sprintf("handle %d is over the handle-max of %d", a.Handle, maxHandle))
		return nil
	}
	for int(a.Handle) >= len(s.links) {
		s.links = append(s.links, nil)
	}
	if s.links[a.Handle] != nil {
		s.fail(amqp100.ErrHandleInUse,
			fmt.Sprintf("handle %d is in use by link %q", a.Handle, s.links[a.Handle].name))
		return nil
	}
	l := &link100{
		s: s, handle: a.Handle, name: a.Name, outgoing: a.Role == amqp100.Receiver,
		sndMode: a.SndSettleMode, rcvMode: a.RcvSettleMode, attach: &attach100{},
		in:  incoming100{count: a.InitialDeliveryCount.Or(0)}, // its delivery-count, which credit is counted from
		out: outgoing100{maxMessage: a.MaxMessageSize},
	}
	s.links[a.Handle] = l
	s.p.links++
	if failure := l.open(&a); failure != nil {
		l.refuse(failure)
	}
	return nil
}

// open begins the search for the link's node.
func (l *link100) open(a *amqp100.Attach) *failure100 {
	if l.s.p.links > maxLinks100 {
		return &failure100{amqp100.ErrResourceLimitExceeded,
			fmt.Sprintf("a connection has at most %d links", maxLinks100)}
	}
	if failure := l.decodeTermini(a); failure != nil {
		return failure
	}
	if l.outgoing {
		return l.openSource()
	}
	return l.openTarget()
}

// decodeTermini reads source and target. The side that is not ours to give may be absent.
func (l *link100) decodeTermini(a *amqp100.Attach) *failure100 {
	l.attach.hasSource, l.attach.hasTarget = !a.Source.IsNull(), !a.Target.IsNull()
	if !a.Source.IsNull() {
		code, value, ok := a.Source.Described()
		if !ok || code != amqp100.CodeSource || l.attach.source.Decode(value) != nil {
			return &failure100{amqp100.ErrInvalidField, "the source of the attach is none"}
		}
	}
	if a.Target.IsNull() {
		if !l.outgoing {
			return &failure100{amqp100.ErrInvalidField, "a sender needs a target"}
		}
		return nil
	}
	code, value, ok := a.Target.Described()
	switch {
	case code == amqp100.CodeCoordinator:
		return &failure100{amqp100.ErrNotImplemented, "this broker has no transactions for AMQP 1.0"}
	case !ok || code != amqp100.CodeTarget || l.attach.target.Decode(value) != nil:
		return &failure100{amqp100.ErrInvalidField, "the target of the attach is none"}
	}
	return nil
}

// query asks what a name is.
func (l *link100) query(name string, step step100) {
	l.s.p.c.req.Query(name)
	l.s.p.submitted(l, step)
	l.attach.waiting++
}

// wire notes that the numbered request made last must go well for the link to attach.
func (l *link100) wire() {
	l.s.p.submitted(l, stepWire)
	l.attach.wiring = true
	l.attach.waiting++
}

// wired takes the result of a step.
func (l *link100) wired(step step100, r *broker.Result) {
	a := l.attach
	if a == nil || l.state != linkAttaching {
		return
	}
	a.waiting--
	if step == stepWire {
		if r.Code != broker.OK && a.failure == nil {
			a.failure = &failure100{condition100(r.Code), r.Text}
		}
	} else {
		a.found.note(step, r)
	}
	if a.waiting > 0 {
		return
	}
	failure := a.failure
	if failure == nil && !a.wiring {
		failure = l.resolve()
	}
	switch {
	case failure != nil:
		l.refuse(failure)
	case a.waiting == 0:
		l.answerAttach()
	}
}

// resolve goes on once it is known what the address names.
func (l *link100) resolve() *failure100 {
	if l.outgoing {
		return l.resolveSource()
	}
	return l.resolveTarget()
}

// answerAttach tells the client that the link is there, with what it is to know of the
// node: its name where we chose it, and the filters that are at work.
func (l *link100) answerAttach() {
	a := l.attach
	answer := amqp100.Attach{
		Name: l.name, Handle: l.handle, Role: amqp100.Role(!l.outgoing),
		SndSettleMode: l.sndMode, RcvSettleMode: l.rcvMode,
	}
	// A terminus that the client left out is left out in the answer (2.6.3 has a meaning
	// only for ours).
	if l.outgoing {
		a.source.Capabilities = a.offered(a.source.Capabilities)
	} else {
		a.target.Capabilities = a.offered(a.target.Capabilities)
	}
	if a.hasSource {
		answer.Source = a.source.Append(nil)
	}
	if a.hasTarget {
		answer.Target = a.target.Append(nil)
	}
	if l.outgoing {
		answer.InitialDeliveryCount = amqp100.Some(l.out.count)
	} else {
		answer.MaxMessageSize = l.s.p.maxMessageBytes()
	}
	b, at := l.s.p.beginFrame(l.s.channel)
	l.s.p.endFrame(answer.Append(b), at)
	l.attach, l.state = nil, linkAttached
	if l.outgoing {
		l.tell()
		return
	}
	l.replenish()
}

// offered are those capabilities, of what a client asks of its node, that it has. One that is left out is not to be
// had: a JMS client makes shared subscriptions where "shared" comes back.
func (a *attach100) offered(asked []string) (offered []string) {
	for _, c := range asked {
		has := false
		switch c {
		case "create-on-demand", "temporary-queue":
			has = true
		case "queue":
			has = !a.topic
		case "topic", "legacy-amqp-direct-binding", "legacy-amqp-topic-binding":
			has = a.topic
		case "durable":
			has = a.found.durable
		}
		if has {
			offered = append(offered, c)
		}
	}
	return offered
}

// refuse attaches without the terminus that could not be had, and detaches with the
// reason (2.6.3).
func (l *link100) refuse(f *failure100) {
	l.answerRefused()
	l.fail(f)
}

func (l *link100) answerRefused() {
	answer := amqp100.Attach{
		Name: l.name, Handle: l.handle, Role: amqp100.Role(!l.outgoing),
		SndSettleMode: l.sndMode, RcvSettleMode: l.rcvMode,
	}
	if l.outgoing {
		answer.InitialDeliveryCount = amqp100.Some(l.out.count)
	}
	b, at := l.s.p.beginFrame(l.s.channel)
	l.s.p.endFrame(answer.Append(b), at)
}

// fail detaches the link for an error, for good, and waits for the client's detach.
func (l *link100) fail(f *failure100) {
	if l.state == linkDetaching || l.state == linkGone {
		return
	}
	l.gone(false) // a durable subscription is only the client's to end
	l.state = linkDetaching
	l.sendDetach(true, f.encode())
}

func (l *link100) sendDetach(closed bool, e *amqp100.Error) {
	b, at := l.s.p.beginFrame(l.s.channel)
	l.s.p.endFrame((&amqp100.Detach{Handle: l.handle, Closed: closed, Error: e}).Append(b), at)
}

// onDetach takes the client's detach, and answers it if it was first. Links are not
// resumed: what is detached but not closed has let go of its deliveries all the same.
func (s *session100) onDetach(value []byte) error {
	var d amqp100.Detach
	if err := d.Decode(value); err != nil {
		return err
	}
	l := s.link(d.Handle)
	if l == nil {
		return nil
	}
	if l.state != linkDetaching {
		if l.state == linkAttaching {
			l.answerRefused()
		}
		if s.run.open {
			s.sendRun()
		}
		l.gone(d.Closed)
		l.sendDetach(d.Closed, nil)
	}
	l.state = linkGone
	if s.p.state == stateRunning && !s.ending {
		s.links[d.Handle] = nil
	}
	return nil
}

// gone lets go of all that a link has: its consumer, what it holds, its partial message and
// the queue that was made for it.
func (l *link100) gone(closed bool) {
	if l.state == linkGone || l.state == linkDetaching {
		return
	}
	l.state, l.attach = linkGone, nil
	l.s.p.links--
	if l.outgoing {
		l.unsubscribe()
	} else {
		l.dropPartial()
	}
	if l.delete != "" && (closed || !l.keep) {
		p := l.s.p
		p.c.req.QueueDelete(&broker.QueueDelete{Conn: p.c.id, Name: l.delete})
		p.submitted(nil, stepForgotten)
	}
}
