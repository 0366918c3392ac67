package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// Recovery: over the new ring, whose order is not delivered yet, members that come from the
// same old ring multicast to each other what they hold of it. When the token says that
// everybody has everything, the new ring is installed.

// recovery is what a member needs to know on the way.
type recovery struct {
	next     wire.Seq // old places up to here are sent or not ours to send
	left     int      // old packets still to send
	flagged  bool     // we set the token's flag
	clean    int      // visits in a row at which nobody had anything to send
	install  wire.Seq // the last place of recovery
	complete int      // visits in a row at which everybody had everything
	started  bool     // we, the representative, have started the token
}

// enterRecovery works out who comes along and what they lack.
func (m *Machine) enterRecovery() {
	m.comingAlong()
	m.understood = common(&m.commit)
	m.frames.reset(len(m.newMemb), &m.cfg)
	m.recovered.reset(m.out)
	m.state = Recovery
	m.discard = false
	m.recovery = recovery{next: m.oldHigh}
	if !m.nothingToRecover() {
		m.recovery.next = m.lowestAru()
		if m.recovery.next.Less(m.queue.base) {
			m.recovery.next = m.queue.base // what is released everybody has, whatever a slot says
		}
		for s := m.recovery.next; s.Less(m.oldHigh); s++ {
			if m.queue.has(s + 1) {
				m.recovery.left++
			}
		}
	}
	m.aru, m.high, m.lastAru, m.lastSeq, m.safe = 0, 0, 0, 0, 0
	m.aruStuck, m.unchanged = 0, 0
	m.holding, m.idle, m.slow, m.wanted = false, false, false, false
	first := wire.Seq(0)
	m.tokenSeq = first - 1
	m.restartTokenTimers()
	m.passCommit()
}

// startToken sends the first token of the ring; only its representative does, once.
func (m *Machine) startToken() {
	m.recovery.flagged = m.recovery.left > 0
	m.token = wire.Token{
		Aru: ^wire.Seq(0), AruAddr: m.self, Ring: m.ring, Retrans: m.recovery.flagged,
		Marks: m.token.Marks,
	}
	m.firstMarks(&m.token.Marks)
	m.passToken(m.active().after(m.self))
	m.restartTokenTimers()
}

// nextOld returns the next old packet we hold that others may lack, nil if there is none.
func (m *Machine) nextOld() []byte {
	for m.recovery.left > 0 {
		m.recovery.next++
		if !m.queue.has(m.recovery.next) {
			continue
		}
		m.recovery.left--
		old := m.queue.get(m.recovery.next).Data
		if wire.McastBytes+len(old) > m.cfg.MaxPacketBytes {
			continue // the link cannot carry it, and so no peer has sent it
		}
		m.stats.RecoveryPackets++
		return old
	}
	return nil
}

// recoveryVisit counts, after our part of a visit is done, how far everybody is. It reports
// whether the ring can be installed (section 9).
func (m *Machine) recoveryVisit(t *wire.Token) bool {
	r := &m.recovery
	switch {
	case r.left > 0 && !t.Retrans:
		t.Retrans, r.flagged = true, true
	case r.left == 0 && t.Retrans && r.flagged:
		t.Retrans, r.flagged = false, false
	}
	if t.Retrans {
		r.clean = 0
	} else {
		r.clean++
	}
	if r.clean == 2 {
		r.install = t.Seq
	}
	if r.clean >= 3 && r.install.AtMost(t.Aru) {
		r.complete++
	} else {
		r.complete = 0
	}
	return r.complete == 2
}

// unwrap moves old packets from the new ring's queue to the old one's.
func (m *Machine) unwrap() {
	for s := wire.Seq(1); m.high != 0 && s.AtMost(m.high); s++ {
		if !m.recovered.has(s) {
			continue
		}
		p := m.recovered.get(s)
		outer, err := wire.ParseMcast(p.Data)
		if err != nil || !outer.Recovery {
			continue
		}
		inner, err := wire.ParseMcast(outer.Payload)
		if err != nil || inner.Ring != m.oldRing || inner.Recovery {
			continue
		}
		if m.queue.put(inner.Seq, wire.Packet{Data: outer.Payload, Block: p.Block}) &&
			m.oldHigh.Less(inner.Seq) {
			m.oldHigh = inner.Seq
		}
	}
}

// abandonRecovery goes back to the order of the old ring, with what was recovered of it.
func (m *Machine) abandonRecovery() {
	m.unwrap()
	m.recovered.reset(m.out)
	m.aru, m.high = m.oldAru, m.oldHigh
	m.advanceAru(m.queue)
	m.oldAru = m.aru
}
