package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// A visit of the token (section 10): multicast again what others ask for, ask for what we
// lack, multicast what is queued, say how far we have everything, pass the token on, and only
// then deliver.

func (m *Machine) onToken(p wire.Packet) {
	if m.discard {
		return
	}
	if m.tokenRecv.Decode(p.Data) != nil {
		m.stats.Malformed++
		return
	}
	if m.tokenRecv.Ring != m.ring || m.state != Operational && m.state != Recovery {
		m.stats.Foreign++
		return
	}
	if m.tokenRecv.TokenSeq.AtMost(m.tokenSeq) {
		m.stats.Stale++
		return
	}
	if !m.intact(&m.tokenRecv) {
		m.stats.Malformed++
		return
	}
	m.token, m.tokenRecv = m.tokenRecv, m.token // each has memory of its own for its marks
	m.visit()
}

// takeToken is our own token in a ring of one.
func (m *Machine) takeToken() {
	if m.discard || m.state != Operational && m.state != Recovery {
		return
	}
	m.visit()
}

func (m *Machine) visit() {
	t := &m.token
	m.stats.Tokens++
	m.holding, m.idle = false, false
	m.countIdle(t)
	m.releaseCovered(t)
	lastAru := m.lastAru
	m.lastAru = t.Aru

	allowed := m.allowance(t)
	resent := m.retransmit(t, allowed)
	asked := m.request(t)
	sent := m.multicastQueued(t, m.withinQueue(t, allowed-resent))
	m.flow.update(t, resent+sent)
	m.adaptWindow(t, sent, resent+asked > 0)
	m.updateTokenAru(t)
	m.mark(t)
	if m.failedToReceive(t, lastAru) {
		m.quitRecovery()
		m.stats.Deaf++
		m.deaf = true
		m.failed.add(m.self)
		m.enterGather()
		return
	}
	m.tokenSeq = t.TokenSeq
	t.TokenSeq++
	if m.state == Recovery && m.recoveryVisit(t) {
		m.install()
	}
	m.restartTokenTimers()
	if m.marked() {
		m.decideKeep(sent > 0, resent+asked > 0)
	} else {
		m.decideHold(sent > 0, resent+asked > 0)
	}
	if m.holding {
		m.keepToken()
	} else {
		m.passToken(m.active().after(m.self))
		m.accelerate(sent)
	}
	if m.state == Operational {
		m.deliver()
		m.releaseMarked()
		m.probe()
	}
}

// passToken sends the token to a member, normally the one after us, and remembers it for
// repetition.
func (m *Machine) passToken(to wire.NodeID) {
	m.expectToken()
	t := &m.token
	t.From = m.self
	t.Target = to
	if t.Target == m.self {
		m.resend = m.resend[:0]
		m.selfToken = true
		return
	}
	m.remember(t.Target, m.out.end(t.Target, t.Append(m.out.begin(wire.MaxTokenBytes))))
}

// keepToken remembers the token of a hold as if it had been sent; it will be.
func (m *Machine) keepToken() {
	m.timers.stop(timerHeartbeat)
	t := &m.token
	t.From = m.self
	t.Target = m.active().after(m.self)
	m.resendTo = t.Target
	m.resend = t.Append(m.resend[:0])
}

func (m *Machine) remember(to wire.NodeID, data []byte) {
	m.resendTo = to
	m.resend = append(m.resend[:0], data...)
}

// repeatToken sends what we passed on last once more: it may have been lost.
func (m *Machine) repeatToken() {
	if m.state == Gather {
		return
	}
	m.timers.start(timerRetransmit, m.now+m.cfg.TokenRetransmit)
	if m.holding {
		m.onHoldTimer() // not a repetition: it has not been sent yet
		return
	}
	if len(m.resend) == 0 || m.resendTo == m.self {
		return
	}
	m.stats.TokenRepeats++
	m.out.end(m.resendTo, append(m.out.begin(len(m.resend)), m.resend...))
}

// expectToken starts the heartbeat, if there is one: the token is on its way, and whoever has it
// repeats it every TokenRetransmit. An idle ring's token comes by more often than that, too.
func (m *Machine) expectToken() {
	if m.heartbeat != 0 {
		m.timers.start(timerHeartbeat, m.now+m.heartbeat)
	}
}

func (m *Machine) onHeartbeat() {
	m.stats.Heartbeats++
	m.onTokenLoss()
}

func (m *Machine) restartTokenTimers() {
	m.timers.start(timerToken, m.now+m.cfg.Token)
	m.timers.start(timerRetransmit, m.now+m.cfg.TokenRetransmit)
}

// updateTokenAru lowers the token's aru to ours, or raises it if it was us, or nobody, who
// held it down.
func (m *Machine) updateTokenAru(t *wire.Token) {
	if m.aru.Less(t.Aru) || t.AruAddr == m.self || t.AruAddr == 0 {
		t.Aru = m.aru
		t.AruAddr = m.self
		if t.Aru == t.Seq {
			t.AruAddr = 0
		}
	}
}

// failedToReceive: for very many visits we alone have held the aru down. We seem not to hear
// multicasts and had better not hold up the others. A visit of a token that was kept meanwhile
// counts as many as it took to keep it; else a ring that rests would bear with us for half an hour.
func (m *Machine) failedToReceive(t *wire.Token, lastAru wire.Seq) bool {
	switch {
	case t.Aru != lastAru || t.AruAddr == 0:
		m.aruStuck = 0
	case m.slow:
		m.aruStuck += m.cfg.SeqnoUnchangedConst
	default:
		m.aruStuck++
	}
	return m.aruStuck > m.cfg.FailRecvConst && t.AruAddr == m.self
}

// LastToken is when the token was last here, in a ring of several in operation.
func (m *Machine) LastToken() (at time.Duration, ok bool) {
	if m.state != Operational || len(m.memb) < 2 || !m.timers.running(timerToken) {
		return 0, false
	}
	return m.timers[timerToken] - m.cfg.Token, true
}

// starvingVisits, times MissCountConst, is for how many visits a member has to hold the aru down to
// count as starving: for so many a packet is missed, and for three times as many it was multicast
// again at each.
const starvingVisits = 4

// Starving names a member to which packets do not come however often they are multicast again:
// multicasts do not reach it, or do not leave those that have them.
func (m *Machine) Starving() (node wire.NodeID, yes bool) {
	if m.state != Operational && m.state != Recovery || m.aruStuck < starvingVisits*m.cfg.MissCountConst {
		return 0, false
	}
	return m.token.AruAddr, true
}

// releaseCovered gives up packets that everybody has: those up to the lower one of two
// successive arus. One alone does not do: a member may have raised it to what it has itself,
// before the others had a say.
func (m *Machine) releaseCovered(t *wire.Token) {
	if m.state != Operational {
		return
	}
	m.settled = true
	if !m.marked() {
		m.release(t.Aru.Min(m.lastAru).Min(m.delivered))
	}
}

func (m *Machine) release(covered wire.Seq) {
	if m.safe.Less(covered) {
		m.safe = covered
	}
	if m.queue.base.Less(covered) {
		m.queue.release(covered, m.out)
	}
}

// active are the members of the ring that the token goes round in.
func (m *Machine) active() nodeSet {
	if m.state == Recovery {
		return m.newMemb
	}
	return m.memb
}

func (m *Machine) activeQueue() *queue {
	if m.state == Recovery {
		return m.recovered
	}
	return m.queue
}
