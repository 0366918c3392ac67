package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// Retransmission: a member that misses packets writes their places on the token; whoever
// holds one when the token comes multicasts it and strikes it out.

// retransmit serves requests, at most allowed, and returns how many.
func (m *Machine) retransmit(t *wire.Token, allowed int) int {
	q := m.activeQueue()
	kept, sent := 0, 0
	requests := t.Requests()
	for _, r := range requests {
		if r.Ring == m.ring && sent < allowed && q.has(r.Seq) {
			m.out.Send = append(m.out.Send, wire.Datagram{Data: q.get(r.Seq).Data})
			sent++
			continue
		}
		requests[kept] = r
		kept++
	}
	t.Keep(kept)
	m.stats.Retransmitted += uint64(sent)
	return sent
}

// request asks for what we have missed at several visits, as packets may still be on their
// way, and returns how many requests it added.
func (m *Machine) request(t *wire.Token) int {
	q := m.activeQueue()
	added := 0
	for s := m.aru + 1; s.AtMost(t.Seq) && !t.Full() && q.inRange(s); s++ {
		if q.has(s) || q.miss(s) < m.cfg.MissCountConst || requested(t, m.ring, s) {
			continue
		}
		t.Add(wire.Request{Ring: m.ring, Seq: s})
		added++
	}
	m.stats.Requested += uint64(added)
	return added
}

func requested(t *wire.Token, ring wire.RingID, s wire.Seq) bool {
	for _, r := range t.Requests() {
		if r.Seq == s && r.Ring == ring {
			return true
		}
	}
	return false
}
