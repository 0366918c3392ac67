package xdp

import (
	"net/netip"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Begin implements link.Path.
func (p *Path) Begin() {
	p.table.Read()
	p.at, p.done = 0, false
}

// Next implements link.Path.
func (p *Path) Next() (q wire.Packet, from netip.AddrPort, multicast, ok bool) {
	p.letGo()
	for !p.done {
		if p.at == len(p.sockets) {
			p.done = true
			break
		}
		s := p.sockets[p.at]
		b, any := p.take(s)
		if !any {
			s.rest()
			p.at++
			continue
		}
		parsed, cause := frame.Parse(b, frame.Begun)
		if cause != frame.Taken || len(parsed.Payload) == 0 {
			p.stats.Malformed++
			p.letGo()
			continue
		}
		p.stats.Received++
		multicast = p.ways.Group(parsed.To)
		if !multicast && len(p.sockets) > 1 && len(p.held) < maxHeld {
			p.held = append(p.held, unicast{append([]byte(nil), parsed.Payload...), parsed.From})
			p.letGo()
			continue
		}
		return wire.Packet{Data: parsed.Payload}, parsed.From, multicast, true
	}
	return p.nextHeld()
}

// take takes a frame of a socket. One in several pieces is put together, and they go back at once.
func (p *Path) take(s *socket) ([]byte, bool) {
	b, at, more, any := s.next()
	if !any {
		return nil, false
	}
	p.pending, p.frame = s, at
	if !more {
		return b, true
	}
	p.pieces = append(p.pieces[:0], b...)
	p.letGo()
	for more {
		if b, at, more, any = s.next(); !any {
			break // the kernel shows all pieces at once; Parse sees that it is shorter than its headers say
		}
		p.pieces = append(p.pieces, b...)
		s.giveBack(at)
	}
	return p.pieces, true
}

// letGo gives the frame back that was handed out.
func (p *Path) letGo() {
	if p.pending != nil {
		p.pending.giveBack(p.frame)
		p.pending = nil
	}
}

// nextHeld hands out the unicasts that waited until all queues were empty.
func (p *Path) nextHeld() (q wire.Packet, from netip.AddrPort, multicast, ok bool) {
	if p.heldAt == len(p.held) {
		p.held, p.heldAt = p.held[:0], 0
		return q, from, false, false
	}
	x := &p.held[p.heldAt]
	p.heldAt++
	data := x.data
	x.data = nil
	return wire.Packet{Data: data}, x.from, false, true
}
