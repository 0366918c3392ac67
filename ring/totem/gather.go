package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Gathering: everybody says whom it knows and whom it takes for dead, and takes over what
// others say, until all living say the same. Then the lowest starts a commit token.

// enterGather begins or begins again. proc and failed stay as they are: they are cleared by
// the next operational ring.
func (m *Machine) enterGather() {
	m.quitRecovery()
	m.stats.Gathers++
	m.discard = true
	m.holding, m.idle, m.slow, m.wanted = false, false, false, false
	m.selfCommit, m.selfToken = false, false
	m.recovery.started = false
	m.proc.add(m.self)
	m.state = Gather
	m.consensus = append(m.consensus[:0], m.self)
	m.timers = timers{timerSendJoin: m.timers[timerSendJoin]}
	m.sendJoin()
	m.timers.start(timerConsensus, m.now+m.cfg.Consensus)
}

// sendJoin tells our two lists: at once, or after a random time up to SendJoin, so that the joins
// of a large ring do not all come in the same moment. One that waits already tells what there is to
// tell when it leaves, so that whoever learns something again and again is heard all the same.
func (m *Machine) sendJoin() {
	switch {
	case m.state != Gather || m.timers.running(timerSendJoin):
	case m.cfg.SendJoin > 0:
		m.timers.start(timerSendJoin, m.now+m.dice.upTo(m.cfg.SendJoin))
	default:
		m.sendJoinNow()
	}
}

// sendJoinNow multicasts our two lists and has ourselves hear them too.
func (m *Machine) sendJoinNow() {
	if m.state != Gather {
		return
	}
	m.timers.start(timerJoin, m.now+m.cfg.Join)
	j := wire.Join{
		Node: m.self, From: m.self, RingSeq: m.ring.Seq, Proc: m.proc, Failed: m.failed,
	}
	m.out.end(0, j.Append(m.out.begin(j.Bytes())))
	m.selfJoin = true
}

func (m *Machine) onJoin(p wire.Packet) {
	if m.join.Decode(p.Data) != nil {
		m.stats.Malformed++
		return
	}
	j := &m.join
	if j.From == m.self {
		return // our own, looped by the network, or somebody with our node id
	}
	m.highRing = max(m.highRing, j.RingSeq)
	m.joinProc.set(j.Proc)
	m.joinFail.set(j.Failed)
	m.noteElsewhere(j)
	m.hear(j)
	switch m.state {
	case Operational:
		if m.staleJoin(j) {
			m.stats.Stale++
			return
		}
		if !j.Leave() && m.damper.rests(m.now) {
			m.stats.Damped++
			return
		}
		m.processJoin(j)
	case Gather:
		m.processJoin(j)
	case Commit, Recovery:
		if m.newMemb.has(j.From) && (j.RingSeq >= m.ring.Seq || m.state == Commit && m.knowsMore(j)) {
			m.quitRecovery()
			m.learnJoin(j)
			m.enterGather()
		}
	}
}

// quitRecovery gives up a ring that was agreed on but not installed. As after an installed
// one, what we thought of others before it does not count any more: members that have
// installed it know nothing of it, and would have to fail us for failing nodes they meet.
func (m *Machine) quitRecovery() {
	if m.state != Recovery {
		return
	}
	m.abandonRecovery()
	m.proc = append(m.proc[:0], m.newMemb...)
	m.failed = m.failed[:0]
	m.state = Gather
}

// knowsMore: a member of the ring we try to form has heard of nodes that we have not. It will
// not take our commit token, so we need not wait until the token is lost. (Corosync waits.)
func (m *Machine) knowsMore(j *wire.Join) bool {
	return !m.failed.has(j.From) && !(m.joinProc.subsetOf(m.proc) && m.joinFail.subsetOf(m.failed))
}

// staleJoin: who takes us for dead need not be answered, and a join from before our ring
// cannot be meant for it.
func (m *Machine) staleJoin(j *wire.Join) bool {
	return m.joinFail.has(m.self) || m.memb.has(j.From) && j.RingSeq < m.ring.Seq
}

// processJoin takes a join in the order of section 9.
func (m *Machine) processJoin(j *wire.Join) {
	switch {
	case m.joinProc.equal(m.proc) && m.joinFail.equal(m.failed):
		m.noteConsensus(j)
		if m.tryCommit() {
			return
		}
	case m.joinProc.subsetOf(m.proc) && m.joinFail.subsetOf(m.failed):
	case m.failed.has(j.From):
	default:
		// Corosync gathers anew even if the join tells nothing that we take over. Then each
		// join makes everybody else send one, and where failed lists differ for good, as only
		// members of our ring are believed, joins multiply without end.
		if m.learnJoin(j) {
			m.enterGather()
			if m.joinProc.equal(m.proc) && m.joinFail.equal(m.failed) && !j.Leave() {
				m.consensus.add(j.From) // it has said what we say now
			}
			return
		}
	}
	if m.state == Operational {
		m.enterGather()
	}
}

// noteConsensus: the sender has our lists. The one that forms the ring may have got them from
// us just now, and forgotten at that who agreed; it is told again at once, not at the next
// join interval.
func (m *Machine) noteConsensus(j *wire.Join) {
	if j.Leave() || m.consensus.has(j.From) {
		return
	}
	m.consensus.add(j.From)
	m.scratch = m.proc.minus(m.failed, m.scratch)
	if m.state == Gather && len(m.scratch) > 0 && m.scratch[0] == j.From {
		m.sendJoin()
	}
}

// noteElsewhere: a join that knows of its sender alone, from after our ring, is that of a member
// which is in our ring no more: it has started anew, or gone on by itself. Those whom it fails from
// then on it does not know from our ring: it may take them for dead because they do so of who was
// there before it. Believed by all of our ring, that would fail the living one by one.
func (m *Machine) noteElsewhere(j *wire.Join) {
	if len(m.joinProc) == 1 && m.joinProc[0] == j.From && m.memb.has(j.From) && j.RingSeq > m.oldRing.Seq {
		m.elsewhere.add(j.From)
	}
}

// shuns: the sender was not in our ring, and takes us for dead, as it may have heard of one that
// had our node id before. Were it dead to us for that, we would differ from others of which it
// thinks better, and all would end up alone, again and again. We do not hear it; when its ring, or
// ours, is there, it has forgotten. (Corosync fails it.)
func (m *Machine) shuns(j *wire.Join) bool {
	return m.joinFail.has(m.self) && !m.memb.has(j.From)
}

// learnJoin takes over what a join says. Only somebody of our own ring can tell us who of it
// is dead; who takes us for dead is dead to us. It reports whether that changed anything.
func (m *Machine) learnJoin(j *wire.Join) bool {
	if m.failed.has(j.From) || m.shuns(j) {
		return false
	}
	before := len(m.proc) + len(m.failed)
	if j.Leave() {
		m.leaving.add(j.From)
	}
	m.proc.union(m.joinProc)
	switch {
	case m.joinFail.has(m.self):
		m.failed.add(j.From)
	case m.memb.has(j.From) && !m.elsewhere.has(j.From):
		m.failed.union(m.joinFail)
	}
	return len(m.proc)+len(m.failed) > before
}

// onOwnJoin is our last join coming back to us.
func (m *Machine) onOwnJoin() {
	if m.state != Gather {
		return
	}
	m.consensus.add(m.self)
	m.tryCommit()
}

// agreed reports whether all that are not failed have our lists.
func (m *Machine) agreed() bool {
	for _, n := range m.proc {
		if !m.failed.has(n) && !m.consensus.has(n) {
			return false
		}
	}
	return true
}

// tryCommit forms the ring if all agree and that is ours to do.
func (m *Machine) tryCommit() bool {
	if !m.agreed() {
		return false
	}
	if m.deaf {
		// All agree that we are out: we go on alone.
		m.deaf = false
		m.proc = append(m.proc[:0], m.self)
		m.failed = m.failed[:0]
		m.createCommit()
		return true
	}
	m.scratch = m.proc.minus(m.failed, m.scratch)
	if len(m.scratch) == 0 || m.scratch[0] != m.self {
		return false
	}
	m.createCommit()
	return true
}

// onConsensusTimer gives up on those that did not agree in time. If all did, the one that
// forms the ring has the time of a token to do so.
func (m *Machine) onConsensusTimer() {
	if m.state != Gather {
		return
	}
	if m.agreed() {
		m.consensus = append(m.consensus[:0], m.self)
		m.timers.start(timerToken, m.now+m.cfg.Token)
		return
	}
	m.giveUp()
	m.enterGather()
}

func (m *Machine) onTokenLoss() {
	m.stats.TokenLosses++
	if m.state == Gather && !m.agreed() {
		m.giveUp()
	}
	m.enterGather()
}

// hear notes when somebody sent a join.
func (m *Machine) hear(j *wire.Join) {
	if m.heard == nil {
		m.heard = map[wire.NodeID]time.Duration{}
	}
	if _, known := m.heard[j.From]; known || len(m.heard) < wire.MaxMembers {
		m.heard[j.From] = m.now
	}
}

// giveUp takes for dead who did not agree: first those who said nothing in the last half of the time that they
// had for it, and only if there are none those who said something else. Who starts now cannot agree while
// somebody dead is among us: it believes only members of its own ring as to who that is. It gives up on the
// dead when we do, and agrees then; were it dead to us, and we to it, we would all end up alone, and be led
// to the dead again by each other's joins. (Corosync gives up on all at once.)
func (m *Machine) giveUp() {
	m.scratch = m.proc.minus(m.consensus, m.scratch)
	any := false
	for _, n := range m.scratch {
		at, spoke := m.heard[n]
		if !m.failed.has(n) && (!spoke || m.now-at > m.cfg.Consensus/2) {
			any = m.failed.add(n) || any
		}
	}
	if !any {
		m.failed.union(m.scratch)
	}
}

// Suspect takes evidence that a node is dead: the next ring is formed without it and without
// waiting for timeouts. If the evidence was wrong, the rings merge again.
func (m *Machine) Suspect(now time.Duration, n wire.NodeID) {
	m.now = max(m.now, now)
	known := m.proc.has(n) || m.memb.has(n) || m.forming() && m.newMemb.has(n)
	if m.state == Left || n == m.self || m.failed.has(n) || !known {
		return
	}
	m.quitRecovery()
	m.proc.add(n)
	m.failed.add(n)
	m.enterGather()
}

// Regather gives up a ring that operates, and forms one anew.
func (m *Machine) Regather(now time.Duration) {
	m.now = max(m.now, now)
	if m.state == Operational {
		m.enterGather()
	}
}

// Leave says goodbye and ends all part in the ring.
func (m *Machine) Leave(now time.Duration) {
	m.now = max(m.now, now)
	if m.state == Left {
		return
	}
	j := wire.Join{From: m.self, RingSeq: m.ring.Seq}
	j.Proc = m.proc.minus(nodeSet{m.self}, nil)
	j.Failed = append(m.failed.minus(nodeSet{m.self}, nil), m.self)
	m.out.end(0, j.Append(m.out.begin(j.Bytes())))
	m.state = Left
	m.timers = timers{}
	m.holding, m.idle = false, false
	m.selfJoin, m.selfCommit, m.selfToken = false, false, false
}
