package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// onMcast keeps a packet of our ring in its place.
func (m *Machine) onMcast(p wire.Packet) {
	mc, err := wire.ParseMcast(p.Data)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if mc.Ring != m.ring {
		m.foreignMcast(&mc)
		return
	}
	var q *queue
	switch {
	case m.state == Recovery && mc.Recovery:
		q = m.recovered
	case m.state == Operational && !mc.Recovery, m.state == Gather && !m.saved && !mc.Recovery:
		q = m.queue
	default:
		// In Commit the order is not ours yet; a recovery packet after recovery is a repeat.
		m.stats.Stale++
		return
	}
	if !q.put(mc.Seq, p) {
		if q.has(mc.Seq) || !q.base.Less(mc.Seq) {
			m.stats.Duplicates++
		} else {
			m.stats.OutOfRange++
		}
		return
	}
	if m.high.Less(mc.Seq) {
		m.high = mc.Seq
	}
	m.advanceAru(q)
	if m.state == Operational {
		m.deliver()
	}
}

func (m *Machine) advanceAru(q *queue) {
	for m.aru.Less(m.high) && q.has(m.aru+1) {
		m.aru++
	}
}

// foreignMcast is a packet of another ring: of one that we should merge with, or a late one.
func (m *Machine) foreignMcast(mc *wire.Mcast) {
	if mc.From == m.self || m.memb.has(mc.From) && mc.Ring.Seq < m.ring.Seq {
		m.stats.Stale++
		return
	}
	m.stats.Foreign++
	m.onForeign(mc.From)
}

// onForeign takes a node of another ring into the next one.
func (m *Machine) onForeign(n wire.NodeID) {
	switch m.state {
	case Operational:
		if m.damper.rests(m.now) {
			m.stats.Damped++
			return
		}
	case Gather:
		if m.proc.has(n) {
			return
		}
	default:
		return
	}
	if m.proc.add(n) {
		m.enterGather()
	}
}

// multicastQueued sends up to allowed new packets: in operation those the source packs, in
// recovery old ones, wrapped. It returns how many.
func (m *Machine) multicastQueued(t *wire.Token, allowed int) int {
	sent := 0
	for sent < allowed && m.multicastOne(t) {
		sent++
	}
	if sent > 0 {
		if m.high.Less(t.Seq) {
			m.high = t.Seq
		}
		m.advanceAru(m.activeQueue())
	}
	return sent
}

func (m *Machine) multicastOne(t *wire.Token) bool {
	recovering := m.state == Recovery
	q := m.activeQueue()
	if !q.inRange(t.Seq+1) || q.has(t.Seq+1) {
		m.stats.OutOfRange++ // a forged token or packet; nobody else can have this place
		return false
	}
	size := wire.McastBytes
	var buf []byte
	if recovering {
		old := m.nextOld()
		if old == nil {
			return false
		}
		buf = m.space(size + len(old))
		size += copy(buf[size:], old)
	} else {
		if m.source.Packets() == 0 {
			return false
		}
		most := size + m.PayloadBytes()
		buf = m.space(most)
		n := m.source.Pack(buf[size:most])
		if n == 0 {
			return false
		}
		m.stats.Packets++
		size += n
	}
	t.Seq++
	m.local++
	wire.PutMcast(buf, m.self, t.Seq, m.local, m.ring, recovering)
	m.used += size
	p := wire.Packet{Data: buf[:size], Block: m.block}
	q.put(t.Seq, p)
	m.out.Send = append(m.out.Send, wire.Datagram{Data: p.Data})
	return true
}

// space returns at least n free bytes of the send block, behind the last packet. Packets stay
// in the block until everybody has them; when the block is full a fresh one is begun.
func (m *Machine) space(n int) []byte {
	if m.block == nil || len(m.block.Data)-m.used < n {
		if m.block != nil {
			m.out.Retired = append(m.out.Retired, m.block)
		}
		m.block, m.used = m.pool.Get(), 0
		if n > len(m.block.Data) {
			panic("totem: packet larger than a send block")
		}
	}
	return m.block.Data[m.used:]
}
