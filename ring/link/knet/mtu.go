package knet

import "time"

// mtu is what packets to a peer are made to fit: what has been seen to reach it.
func (m *Machine) mtu(p *peer) int {
	switch {
	case m.cfg.PMTUDInterval == 0:
		return m.cfg.MTU
	case p.path.mtu == 0:
		return least(p.addr)
	}
	return p.path.mtu
}

// slice is how much of a message goes into a packet that fits an MTU.
func (m *Machine) slice(p *peer, mtu int) int {
	return m.cfg.Crypto.MessageBytes(mtu - overhead(p.addr))
}

// search probes the path to a peer, and returns when it is to go on.
func (m *Machine) search(p *peer, now time.Duration) time.Duration {
	s := &p.path
	if !s.probing {
		if now < s.begins {
			return s.begins
		}
		*s = path{mtu: s.mtu, probing: true, tries: probeTries, due: now, begins: now + m.cfg.PMTUDInterval}
	}
	if now < s.due {
		return s.due
	}
	if s.tries == 0 {
		s.probing, s.mtu = false, s.found // what has not been answered by now does not reach it
		return s.begins
	}
	m.probes(p)
	s.tries--
	s.due = now + m.cfg.PingTimeout/probeTries
	return s.due
}

// probes sends a packet of each size of which it is not known whether it reaches the peer. They
// ascend, so that no two leave as one buffer, which virtual networks carry whole where they would
// drop what it is cut into.
func (m *Machine) probes(p *peer) {
	longest := min(m.cfg.MTU, MaxMessageBytes-1)
	for _, size := range probeSizes {
		if size < longest && size >= least(p.addr) {
			m.probe(p, size)
		}
	}
	m.probe(p, longest)
}

func (m *Machine) probe(p *peer, size int) {
	if size <= p.path.found {
		return
	}
	n := m.cfg.Crypto.room(size - overhead(p.addr))
	m.control(p.node, n, func(b []byte) { putProbe(b, m.cfg.Node, size) })
}

// reaches takes the answer to a probe.
func (m *Machine) reaches(p *peer, size int) {
	if size < least(p.addr) || size > m.cfg.MTU || !p.path.probing {
		return
	}
	p.path.found = max(p.path.found, size)
	p.path.mtu = max(p.path.mtu, size)
}
