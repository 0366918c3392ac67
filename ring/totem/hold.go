package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Holding: when nothing has been sent for a number of rotations the representative keeps the
// token and lets it go round only now and then, so that an idle ring costs next to nothing.
// Who wants to send asks for it.

// countIdle counts visits without a new packet and looks for other rings meanwhile.
func (m *Machine) countIdle(t *wire.Token) {
	if t.Seq != m.lastSeq {
		m.lastSeq = t.Seq
		m.busy()
		return
	}
	m.unchanged++
	if !m.timers.running(timerMerge) {
		m.timers.start(timerMerge, m.now+m.cfg.Merge)
	}
}

func (m *Machine) busy() {
	m.unchanged = 0
	m.timers.stop(timerMerge)
	m.timers.stop(timerHold)
}

// decideHold keeps the token if we are the representative of an idle ring; the others know by
// their own count that it will be kept. All members must count alike, so only new packets,
// which all see, set the count back.
func (m *Machine) decideHold(sent, repaired bool) {
	if sent {
		m.busy()
	}
	m.timers.stop(timerWant)
	if m.representative() {
		lacking := repaired || m.token.Aru != m.token.Seq
		quiet := m.state == Operational && !sent && (!lacking || m.tired(1))
		m.slow = quiet && lacking
		m.holding = quiet && m.unchanged > m.idleVisits() && m.source.Packets() == 0
		if m.holding {
			m.timers.start(timerHold, m.now+m.cfg.Hold)
		}
		return
	}
	m.idle = m.unchanged >= m.cfg.SeqnoUnchangedConst
	m.slow = m.state == Operational && m.tired(0) && m.token.Aru != m.token.Seq
	if m.idle && m.source.Packets() > 0 {
		m.timers.start(timerWant, m.now+m.cfg.Join)
	}
}

// tired: packets were asked for in vain, and nothing else has happened, for so long that the ring
// rests all the same. Who keeps the token is one visit behind those that take it for kept.
func (m *Machine) tired(behind int) bool {
	return !m.cfg.CancelTokenHoldOnRetransmit && m.unchanged >= m.cfg.SeqnoUnchangedConst+behind
}

// idleVisits: a ring of one needs no more visits than make its packets safe.
func (m *Machine) idleVisits() int {
	if len(m.memb) == 1 {
		return min(soloIdleVisits, m.cfg.SeqnoUnchangedConst)
	}
	return m.cfg.SeqnoUnchangedConst
}

// soloIdleVisits: one to see one's own aru, one to see it twice.
const soloIdleVisits = 2

// Kick is called when the source has something new. If the token is held, it is used or
// asked for at once; otherwise it is on its way.
func (m *Machine) Kick(now time.Duration) {
	m.now = max(m.now, now)
	if m.state != Operational || !m.holding && !m.idle {
		return
	}
	if m.holding {
		m.useHeld()
		return
	}
	m.idle = false
	m.askForToken()
}

// useHeld multicasts from the token we hold, as nobody has seen it since our visit, and lets
// it go.
func (m *Machine) useHeld() {
	t := &m.token
	sent := m.multicastQueued(t, m.withinQueue(t, m.allowance(t)))
	m.flow.update(t, sent)
	m.updateTokenAru(t)
	m.mark(t)
	if sent > 0 {
		t.Marks.Quiet = 0
	}
	m.letGo(m.memb.after(m.self))
	m.deliver()
	m.releaseMarked()
}

// letGo passes a held token on.
func (m *Machine) letGo(to wire.NodeID) {
	m.holding = false
	m.busy()
	m.restartTokenTimers()
	m.passToken(to)
}

// onHoldTimer lets the token go round once; it is held again when it returns.
func (m *Machine) onHoldTimer() {
	if m.state != Operational || !m.holding {
		return
	}
	m.holding = false
	m.passToken(m.memb.after(m.self))
}

// askForToken asks who keeps the token to let go of it, and again until it comes: the
// request may be lost.
func (m *Machine) askForToken() {
	if m.state != Operational || m.representative() && !m.marked() {
		return
	}
	to := wire.NodeID(0)
	if m.marked() {
		to = m.token.Marks.Keeper
	}
	m.unchanged = 0
	m.timers.start(timerWant, m.now+m.cfg.Join)
	c := wire.HoldCancel{Node: m.self, Ring: m.ring}
	m.out.end(to, c.Append(m.out.begin(wire.HeaderBytes+16)))
}

func (m *Machine) onHoldCancel(p wire.Packet) {
	c, err := wire.ParseHoldCancel(p.Data)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if c.Ring != m.ring || c.Node == m.self || m.state != Operational {
		return
	}
	if m.marked() {
		m.onWanted(c.Node)
		return
	}
	m.unchanged = 0
	m.idle = false
	switch {
	case !m.representative():
	case m.holding:
		m.letGo(m.memb.after(m.self))
	default:
		m.repeatToken()
	}
}

// sendMergeDetect looks for other rings; only the representative of an idle ring does. Two
// busy rings find each other by their packets.
func (m *Machine) sendMergeDetect() {
	if m.state != Operational || !m.representative() {
		return
	}
	d := wire.MergeDetect{Node: m.self, From: m.self, Ring: m.ring}
	m.out.end(0, d.Append(m.out.begin(wire.HeaderBytes+16)))
}

func (m *Machine) onMergeDetect(p wire.Packet) {
	d, err := wire.ParseMergeDetect(p.Data)
	if err != nil {
		m.stats.Malformed++
		return
	}
	switch {
	case d.From == m.self:
	case d.Ring == m.ring:
		m.onProbe(&d, len(p.Data))
	default:
		m.onForeign(d.From)
	}
}
