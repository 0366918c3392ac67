package totem

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Committing: the commit token goes round once and every member writes into its slot what it
// has of its old ring. In the second pass everybody sees all slots and goes to recovery.

// createCommit starts the token of a ring of all that are not failed.
func (m *Machine) createCommit() {
	c := &m.commit
	m.scratch = m.proc.minus(m.failed, m.scratch)
	*c = wire.Commit{
		Ring:      wire.RingID{Rep: m.self, Seq: m.highRing + 4},
		Members:   append(c.Members[:0], m.scratch...),
		Slots:     append(c.Slots[:0], make([]wire.Slot, len(m.scratch))...),
		Announced: c.Announced[:0],
	}
	m.enterCommit()
}

func (m *Machine) onCommit(p wire.Packet) {
	if m.commitRecv.Decode(p.Data) != nil {
		m.stats.Malformed++
		return
	}
	m.takeCommit(&m.commitRecv)
}

func (m *Machine) takeCommit(c *wire.Commit) {
	switch m.state {
	case Gather:
		if m.acceptable(c) {
			m.copyCommit(c)
			m.enterCommit()
		}
	case Commit:
		if c.Ring == m.ring && m.completes(c) {
			m.copyCommit(c)
			m.enterRecovery()
		}
	case Recovery:
		if c.Ring == m.ring && m.representative() && !m.recovery.started {
			m.recovery.started = true
			m.startToken()
		}
	}
}

// acceptable: a commit token is for the ring we have agreed on, is new, and its next empty
// slot is ours.
func (m *Machine) acceptable(c *wire.Commit) bool {
	m.scratch = m.proc.minus(m.failed, m.scratch)
	return m.scratch.equal(c.Members) && c.Ring.Seq > m.ring.Seq &&
		c.Index < len(c.Members) && c.Members[c.Index] == m.self
}

// completes: every slot is filled and ours is as we left it.
func (m *Machine) completes(c *wire.Commit) bool {
	if c.Index != len(c.Members) || !m.newMemb.equal(c.Members) {
		return false
	}
	i := slices.Index(c.Members, m.self)
	return i >= 0 && c.Slots[i].Ring == m.oldRing
}

func (m *Machine) copyCommit(c *wire.Commit) {
	if c == &m.commit {
		return
	}
	members := append(m.commit.Members[:0], c.Members...)
	slots := append(m.commit.Slots[:0], c.Slots...)
	announced := append(m.commit.Announced[:0], c.Announced...)
	m.commit = *c
	m.commit.Members, m.commit.Slots, m.commit.Announced = members, slots, announced
}

// enterCommit fills our slot and passes the token on. From here on the order counts for the
// new ring; that of the old one is saved until the new one is installed or has failed.
func (m *Machine) enterCommit() {
	if !m.saved {
		m.saved = true
		m.oldRing = m.ring
		m.oldAru, m.oldHigh = m.aru, m.high
	}
	c := &m.commit
	m.newMemb.set(c.Members)
	m.fillSlot(c)
	m.announce(c)
	m.ring = c.Ring
	m.highRing = max(m.highRing, m.ring.Seq)
	m.out.RingSeq, m.out.SaveRing = m.ring.Seq, true
	m.state = Commit
	m.flow.begin(&m.cfg)
	m.timers.stop(timerJoin)
	m.timers.stop(timerSendJoin)
	m.timers.stop(timerConsensus)
	m.restartTokenTimers()
	m.passCommit()
}

// fillSlot also takes the received flag from every slot of our old ring that has less than
// another one of it.
func (m *Machine) fillSlot(c *wire.Commit) {
	c.Slots[c.Index] = wire.Slot{
		Ring: m.oldRing, Aru: m.oldAru, Delivered: m.delivered,
		Received: m.oldAru == m.oldHigh,
	}
	filled := c.Slots[:c.Index+1]
	most := m.oldAru
	for _, s := range filled {
		if s.Ring == m.oldRing && most.Less(s.Aru) {
			most = s.Aru
		}
	}
	for i := range filled {
		if filled[i].Ring == m.oldRing && filled[i].Aru.Less(most) {
			filled[i].Received = false
		}
	}
	c.Index++
}

// passCommit sends the commit token to the member after us.
func (m *Machine) passCommit() {
	c := &m.commit
	c.TokenSeq++
	c.From = m.self
	c.Target = m.newMemb.after(m.self)
	if c.Target == m.self {
		m.resend = m.resend[:0]
		m.selfCommit = true
		return
	}
	data := m.out.end(c.Target, c.Append(m.out.begin(c.Bytes())))
	m.remember(c.Target, data)
}

// nothingToRecover reports whether no member that comes along from our ring lacks anything.
func (m *Machine) nothingToRecover() bool {
	for i, n := range m.commit.Members {
		if m.trans.has(n) && !m.commit.Slots[i].Received {
			return false
		}
	}
	return true
}

// lowestAru is what every member that comes along has.
func (m *Machine) lowestAru() wire.Seq {
	low := m.oldHigh
	for i, n := range m.commit.Members {
		if m.trans.has(n) {
			low = low.Min(m.commit.Slots[i].Aru)
		}
	}
	return low
}

// comingAlong are the members of our old ring whose slot names it too.
func (m *Machine) comingAlong() {
	m.trans = m.trans[:0]
	for i, n := range m.commit.Members {
		if m.commit.Slots[i].Ring == m.oldRing && m.memb.has(n) {
			m.trans.add(n)
		}
	}
}
