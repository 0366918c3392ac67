package totem

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// install ends the old ring and begins the new one (extended virtual synchrony): the old
// packets in order up to the first that nobody has; then the transitional configuration,
// those that come along; then the old packets behind the gap, but only of those that come
// along, as others may have said something in the gap that these depend on; then the new
// configuration.
func (m *Machine) install() {
	m.unwrap()
	aru, high := m.aru, m.high
	m.high = m.oldHigh
	m.deliver()
	m.out.Events = append(m.out.Events, Event{Kind: EventTransitional, Config: m.transitional()})
	m.deliverBehindGaps()
	m.out.Events = append(m.out.Events, Event{Kind: EventRegular, Config: &Configuration{
		Ring:    m.ring,
		Members: slices.Clone(m.newMemb),
		Joined:  m.newMemb.minus(m.trans, nil),
	}})

	m.queue.reset(m.out)
	m.queue, m.recovered = m.recovered, m.queue
	m.aru, m.high = aru, high
	m.delivered = m.highestHeld()
	m.queue.release(m.delivered, m.out)
	m.lastAru, m.safe = 0, 0

	m.memb = append(m.memb[:0], m.newMemb...)
	m.proc = append(m.proc[:0], m.newMemb...)
	// Without this a late join could complete a commit with a dead member.
	m.failed, m.consensus, m.leaving = m.failed[:0], m.consensus[:0], m.leaving[:0]
	m.elsewhere = m.elsewhere[:0]
	clear(m.heard)
	m.oldRing = m.ring
	m.saved, m.settled = false, false
	m.deaf = false
	m.recovery = recovery{}
	m.state = Operational
	m.stats.Rings++
	m.damper.installed(m.now, m.cfg.Join)
}

func (m *Machine) transitional() *Configuration {
	c := &Configuration{Ring: m.ring, Members: slices.Clone(m.trans)}
	for _, n := range m.memb.minus(m.trans, nil) {
		c.Left = append(c.Left, Departure{Node: n, Clean: m.leaving.has(n)})
	}
	return c
}

// highestHeld is the last place of recovery: what came over the new ring so far was of the
// old one.
func (m *Machine) highestHeld() wire.Seq {
	s := m.high
	for s != 0 && !m.queue.has(s) {
		s--
	}
	return s
}

// deliver hands up what is in order.
func (m *Machine) deliver() {
	for m.delivered.Less(m.high) {
		s := m.delivered + 1
		if !m.queue.has(s) {
			return
		}
		m.delivered = s
		m.emit(s)
	}
}

// deliverBehindGaps hands up the rest of the old ring.
func (m *Machine) deliverBehindGaps() {
	for m.delivered.Less(m.oldHigh) {
		m.delivered++
		if !m.queue.has(m.delivered) {
			continue
		}
		mc, err := wire.ParseMcast(m.queue.get(m.delivered).Data)
		if err != nil || !m.trans.has(mc.From) {
			m.stats.Skipped++
			continue
		}
		m.emit(m.delivered)
	}
}

func (m *Machine) emit(s wire.Seq) {
	p := m.queue.get(s)
	mc, err := wire.ParseMcast(p.Data)
	if err != nil {
		panic("totem: a packet changed while it was in the queue")
	}
	m.stats.Delivered++
	m.out.Events = append(m.out.Events, Event{
		Kind: EventPacket, Seq: s, From: mc.Node, Order: mc.Order,
		Payload: mc.Payload, Block: p.Block,
	})
}
