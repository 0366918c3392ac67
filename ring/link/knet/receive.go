package knet

import (
	"net/netip"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Receive takes a packet, with its reference, that came from an address. If that completes a
// ring packet for us, it is returned, with a reference.
func (m *Machine) Receive(now time.Duration, from netip.AddrPort, p wire.Packet) (wire.Packet, bool) {
	message, whole := m.take(now, from, p)
	if !whole || message.Block != p.Block {
		p.Release()
	}
	return message, whole
}

func (m *Machine) take(now time.Duration, from netip.AddrPort, p wire.Packet) (wire.Packet, bool) {
	b, err := m.cfg.Crypto.open(p.Data)
	if err != nil {
		m.stats.NotAuthentic++
		m.cause = NotAuthentic
		return wire.Packet{}, false
	}
	h, err := parse(b)
	if err != nil {
		m.stats.Malformed++
		m.cause = Malformed
		return wire.Packet{}, false
	}
	sender := m.known(h, from)
	if sender == nil {
		return wire.Packet{}, false
	}
	switch h.kind {
	case kindData:
		return m.data(now, sender, b, p.Block)
	case kindPing:
		m.pinged(sender, b)
	case kindPong:
		m.stats.Pongs++
		took := now - pongTime(b)
		if took > m.cfg.PingTimeout {
			m.stats.Late++
		}
		if sender.pong(&m.cfg, now, took) {
			m.changed(sender)
		}
	case kindProbe:
		m.control(sender.node, probeBytes, func(reply []byte) {
			copy(reply, b)
			putHeader(reply, kindProbeReply, m.cfg.Node)
		})
	case kindProbeReply:
		m.reaches(sender, probeSize(b))
	}
	return wire.Packet{}, false
}

// pinged answers, and sees whether the sender has begun its sequence anew.
func (m *Machine) pinged(p *peer, b []byte) {
	m.stats.Pings++
	seq, timed := pingSeq(b)
	switch {
	case !timed:
		p.filter.fresh(seq) // where its sequence is
	case seq == 0 && p.filter.last != 0:
		p.filter.reset()
		m.joins.forget(p.node)
	}
	m.control(p.node, pingBytes, func(pong []byte) {
		copy(pong, b[:pingBytes])
		putHeader(pong, kindPong, m.cfg.Node)
	})
}

// data takes a ring packet or a fragment of one.
func (m *Machine) data(now time.Duration, p *peer, b []byte, block *wire.Block) (wire.Packet, bool) {
	d, err := parseData(b)
	switch {
	case err != nil:
		m.stats.Malformed++
	case d.compressed:
		m.stats.Compressed++
		m.cause = Compressed
	case d.channel != 0:
		m.stats.OtherChannel++
	case !p.up:
		m.stats.PeerDown++
	case !p.filter.fresh(d.seq):
		m.stats.Duplicate++
	default:
		return m.message(now, p, &d, block)
	}
	return wire.Packet{}, false
}

func (m *Machine) message(now time.Duration, p *peer, d *data, block *wire.Block) (wire.Packet, bool) {
	message := wire.Packet{Data: d.part, Block: block}
	if d.fragments > 1 {
		var whole bool
		if message, whole = m.joins.add(now, p.node, d); !whole {
			return wire.Packet{}, false
		}
	}
	p.filter.mark(d.seq)
	if to := wire.Target(message.Data); to != 0 && to != m.cfg.Node {
		m.stats.OtherTarget++
		if d.fragments > 1 {
			message.Release()
		}
		return wire.Packet{}, false
	}
	return message, true
}
