package session

import (
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
)

// Limits of a session.
const (
	sessionWindow = 4096      // transfer frames a client may send before it hears from us
	outgoingLimit = 1<<31 - 1 // we hold back by the client's window, never by our own
	maxHandle     = 1023      // links of a session, less one
)

// session100 is one session (2.5). Handles and channels are the client's own, used both
// ways: this side begins nothing.
type session100 struct {
	p       *conn100
	channel uint16
	ending  bool // end was sent, the client's is next

	links []*link100 // by handle

	nextIncoming   amqp100.Seq // the transfer that the client sends next
	incomingWindow uint32      // how many more it may send
	nextOutgoing   amqp100.Seq // the transfer that is sent to it next
	remoteWindow   uint32      // how many more it takes
	nextDelivery   amqp100.Seq // the delivery-id used next

	held    unsettled100 // sent and unsettled
	run     run100       // outcomes to be told
	blocked []*link100   // links with deliveries that wait for the window
}

// onBegin opens a session (2.7.2).
func (p *conn100) onBegin(channel uint16, value []byte) error {
	var begin amqp100.Begin
	if err := begin.Decode(value); err != nil {
		return err
	}
	switch {
	case channel >= p.channelMax():
		p.fail(amqp100.ErrFraming, fmt.Sprintf("channel %d is over the channel-max of %d", channel, p.channelMax()-1))
		return nil
	case p.session(channel) != nil || begin.RemoteChannel.Set:
		p.fail(amqp100.ErrIllegalState, fmt.Sprintf("channel %d has a session, or this begin answers none", channel))
		return nil
	}
	for int(channel) >= len(p.sessions) {
		p.sessions = append(p.sessions, nil)
	}
	s := &session100{
		p: p, channel: channel,
		nextIncoming: begin.NextOutgoingID, incomingWindow: sessionWindow,
		remoteWindow: begin.IncomingWindow,
	}
	p.sessions[channel] = s
	answer := amqp100.Begin{
		RemoteChannel:  amqp100.Some(channel),
		NextOutgoingID: s.nextOutgoing,
		IncomingWindow: s.incomingWindow,
		OutgoingWindow: outgoingLimit,
		HandleMax:      maxHandle,
	}
	b, at := p.beginFrame(channel)
	p.endFrame(answer.Append(b), at)
	return nil
}

// onFrame takes a frame of this session. The error is that of bytes that make no sense.
func (s *session100) onFrame(code amqp100.Code, value, payload []byte) error {
	p := s.p
	if s.ending && code != amqp100.CodeEnd {
		return nil
	}
	switch code {
	case amqp100.CodeTransfer:
		if err := p.transfer.Decode(value); err != nil {
			return err
		}
		s.onTransfer(&p.transfer, payload)
	case amqp100.CodeDisposition:
		if err := p.disposition.Decode(value); err != nil {
			return err
		}
		s.onDisposition(&p.disposition)
	case amqp100.CodeFlow:
		if err := p.flow.Decode(value); err != nil {
			return err
		}
		s.onFlow(&p.flow)
	case amqp100.CodeAttach:
		return s.onAttach(value)
	case amqp100.CodeDetach:
		return s.onDetach(value)
	case amqp100.CodeEnd:
		s.onEnd()
	default:
		return &amqp100.DecodeError{Text: code.String() + " is no frame of a session"}
	}
	return nil
}

// link finds a link by its handle. Without one the session ends (2.8.17); a link that is
// on its way out is still there, and ignores what comes.
func (s *session100) link(h amqp100.Handle) *link100 {
	if int64(h) < int64(len(s.links)) && s.links[h] != nil {
		return s.links[h]
	}
	s.fail(amqp100.ErrUnattachedHandle, fmt.Sprintf("no link is attached to handle %d", h))
	return nil
}

// left tells whether a handle was in use and is not now. A flow for it is let pass:
// Azure's client sends its credit also after its detach.
func (s *session100) left(h amqp100.Handle) bool {
	return int64(h) < int64(len(s.links)) && s.links[h] == nil
}

func (s *session100) onTransfer(t *amqp100.Transfer, payload []byte) {
	if s.incomingWindow == 0 {
		s.fail(amqp100.ErrWindowViolation, fmt.Sprintf("a transfer beyond the window of %d", sessionWindow))
		return
	}
	s.nextIncoming++
	s.incomingWindow--
	l := s.link(t.Handle)
	if l == nil {
		return
	}
	switch {
	case l.outgoing:
		s.fail(amqp100.ErrErrantLink, fmt.Sprintf("a transfer on handle %d, whose link sends to the client", t.Handle))
		return
	case l.state == linkAttached:
		l.transfer(t, payload)
	}
	if !s.ending && s.incomingWindow <= sessionWindow/2 {
		s.sendFlow(nil, false)
	}
}

// onFlow takes the client's windows, and what it says of a link (2.7.4).
func (s *session100) onFlow(f *amqp100.Flow) {
	// What is under way has not been seen by the client; the rest of its window is free.
	underWay := uint32(s.nextOutgoing - f.NextIncomingID.Value)
	s.remoteWindow = 0
	if underWay < f.IncomingWindow {
		s.remoteWindow = f.IncomingWindow - underWay
	}
	s.unblock()
	if !f.Handle.Set {
		if f.Echo {
			s.sendFlow(nil, false)
		}
		return
	}
	if s.left(f.Handle.Value) {
		return
	}
	l := s.link(f.Handle.Value)
	if l == nil || l.state == linkDetaching {
		return
	}
	if l.outgoing {
		l.onCredit(f)
		return
	}
	if f.Echo && l.state == linkAttached {
		l.sendCredit()
	}
}

// sendFlow tells the session's windows, and a link's credit where one is given.
func (s *session100) sendFlow(l *link100, drain bool) {
	s.incomingWindow = sessionWindow
	f := amqp100.Flow{
		NextIncomingID: amqp100.Some(s.nextIncoming),
		IncomingWindow: s.incomingWindow,
		NextOutgoingID: s.nextOutgoing,
		OutgoingWindow: outgoingLimit,
	}
	if l != nil {
		f.Handle = amqp100.Some(l.handle)
		if l.outgoing {
			f.DeliveryCount = amqp100.Some(l.out.count)
			f.LinkCredit = amqp100.Some(l.out.creditLeft())
			f.Available = amqp100.Some(uint32(l.out.queued()))
			f.Drain = drain
		} else {
			f.DeliveryCount = amqp100.Some(l.in.count)
			f.LinkCredit = amqp100.Some(l.in.credit)
		}
	}
	b, at := s.p.beginFrame(s.channel)
	s.p.endFrame(f.Append(b), at)
}

// unblock sends what waits for the window, the links taking turns.
func (s *session100) unblock() {
	for len(s.blocked) > 0 && s.remoteWindow > 0 {
		l := s.blocked[0]
		s.blocked = append(s.blocked[:0], s.blocked[1:]...)
		l.out.blocked = false
		if l.state == linkAttached {
			l.pump()
		}
	}
}

// onEnd takes the client's end, and answers it if it was first.
func (s *session100) onEnd() {
	if !s.ending {
		s.closeLinks()
		s.sendEnd(nil)
	}
	if s.p.sessions != nil {
		s.p.sessions[s.channel] = nil
	}
}

// fail ends the session for what the client did.
func (s *session100) fail(condition, text string) {
	if s.ending || s.p.state != stateRunning {
		return
	}
	s.closeLinks()
	s.sendEnd(&amqp100.Error{Condition: condition, Description: text})
	s.ending = true
}

func (s *session100) sendEnd(e *amqp100.Error) {
	if s.run.open {
		s.sendRun()
	}
	b, at := s.p.beginFrame(s.channel)
	s.p.endFrame((&amqp100.End{Error: e}).Append(b), at)
}

func (s *session100) closeLinks() {
	for _, l := range s.links {
		if l != nil {
			l.gone(false)
		}
	}
	s.links, s.blocked, s.held = nil, nil, unsettled100{}
}
