package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Somebody else may pass the token on in our place, as a program in the kernel does where it comes in,
// while a visit of ours would change nothing but what is known beforehand: our mark, our share of the
// aru, and to whom it goes. It tells us later. That is so while
//
//   - we have nothing to multicast, and had nothing at our last visit, so that the sums of section 11
//     stay as they are;
//   - nothing is asked for on the token, and if the ring is about to fall idle (quiet is not 0), everybody has
//     everything, so that there is nothing to decide but by its keeper, who is another.
//
// While we have not heard of it we may take the token for kept when it goes round, and ask for it in vain; or the
// other way round, which ends as soon as we hear.
//
// What is written for us is how far we had everything when we said so. That may be less than we have
// by then, which a member that is slow says too, and is never more.

// Standing is what a visit of ours would come to.
type Standing struct {
	Ring       wire.RingID
	Self, Next wire.NodeID
	Place      int // of our mark
	Members    int
	Aru        wire.Seq
	Heard      uint16
	TokenSeq   wire.Seq // of our last visit: only later tokens count
}

// Standing tells what a visit would come to, if that is known beforehand.
func (m *Machine) Standing() (s Standing, ok bool) {
	switch {
	case m.state != Operational || !m.marked() || !m.settled || m.discard || m.holding:
		return s, false
	case m.token.Marks.Keeper == m.self || m.selfToken || m.Pending():
		return s, false
	case m.flow.sent != 0 || m.flow.backlog != 0 || m.source.Packets() != 0:
		return s, false
	case m.largeFrames() && m.frames.mtu <= m.cfg.NetMTU && m.frames.probes < maxProbes:
		return s, false // a probe is due at a visit
	}
	return Standing{
		Ring: m.ring, Self: m.self, Next: m.memb.after(m.self),
		Place: m.memb.index(m.self), Members: len(m.memb),
		Aru: m.aru, Heard: m.heardFromAll(), TokenSeq: m.tokenSeq,
	}, true
}

// Passed takes a token that was passed on for us, as it was, and the time when. It is that of a visit.
func (m *Machine) Passed(at time.Duration, token []byte) {
	m.now = max(m.now, at)
	if m.state != Operational || m.tokenRecv.Decode(token) != nil {
		return
	}
	t := &m.tokenRecv
	if t.Ring != m.ring || t.From != m.self || (t.TokenSeq - 1).AtMost(m.tokenSeq) || !m.intact(t) {
		return
	}
	m.token, m.tokenRecv = m.tokenRecv, m.token
	m.stats.Tokens++
	m.stats.Passed++
	k := &m.token.Marks
	m.holding, m.wanted = false, false
	m.countIdle(&m.token)
	m.slow = k.Quiet == 0 && m.tired(0)
	m.idle = k.Keeper != m.self && (k.Quiet >= keepAfter-1 || m.slow)
	m.lastAru = m.token.Aru
	m.tokenSeq = m.token.TokenSeq - 1
	m.timers.stop(timerWant)
	m.restartTokenTimers()
	m.expectToken()
	m.remember(m.memb.after(m.self), token)
	m.releaseMarked()
	if m.idle && m.source.Packets() > 0 {
		m.idle = false // what there is came before we heard
		m.askForToken()
	}
}

// Held is the ring that we are in, in operation, and the place up to which we have everything: plain packets
// of it with such a place are thrown away here, whoever multicasts them again. It is not ok in other states, in
// which places are of another ring.
func (m *Machine) Held() (ring wire.RingID, aru wire.Seq, ok bool) {
	return m.ring, m.aru, m.state == Operational
}
