package xdp

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/neigh"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Add implements link.Path.
func (p *Path) Add(to netip.AddrPort, datagrams []wire.Datagram) bool {
	d := p.table.Device()
	t := p.template(to, d)
	if t == nil || t.Length()-frame.EthernetBytes+len(datagrams[0].Data) > d.MTU || t.Length()+len(datagrams[0].Data) > p.sockets[0].longest() {
		p.stats.Left += uint64(len(datagrams))
		return false
	}
	for i := range datagrams {
		p.put(t, datagrams[i].Data)
	}
	return true
}

// put writes a packet into a frame, or into several.
func (p *Path) put(t *frame.Template, data []byte) {
	s := p.sockets[0]
	need := (t.Length() + len(data) + s.frame - 1) / s.frame
	if !p.enough(s, need) {
		p.stats.SendErrors++
		return
	}
	b, at, _ := s.frameToSend()
	n := t.Put(b, len(data))
	t.Finish(b[:n], data)
	p.stats.Sent++
	p.stats.SentBytes += uint64(len(data))
	for {
		k := copy(b[n:], data)
		data = data[k:]
		s.queueToSend(at, n+k, len(data) > 0)
		if len(data) == 0 {
			return
		}
		b, at, _ = s.frameToSend()
		n = 0
	}
}

// enough sees to it that so many frames are free. Where there are not, those that are queued are sent first.
func (p *Path) enough(s *socket, frames int) bool {
	for try := 0; len(s.free) < frames; try++ {
		if try == wakeups {
			return false
		}
		p.Flush()
		if s.reap(); len(s.free) < frames {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, 1)
		}
	}
	return true
}

// template is how to get to an address; nil: by the sockets.
func (p *Path) template(to netip.AddrPort, d neigh.Device) *frame.Template {
	switch {
	case !d.Up || len(p.sockets) == 0:
		return nil
	case p.ways.Group(to):
		return p.ways.To(to, d.MAC, p.mac)
	}
	mac, known := p.table.Way(to.Addr(), time.Now())
	if !known {
		return nil
	}
	return p.ways.To(to, d.MAC, mac)
}

// Flush implements link.Path.
func (p *Path) Flush() {
	if len(p.sockets) == 0 {
		return // the interface is gone
	}
	s := p.sockets[0]
	if s.tx.cached == *s.tx.producer {
		return // nothing was put since
	}
	calls, err := s.send()
	p.stats.SendCalls += uint64(calls)
	if err != nil {
		p.stats.SendErrors++
	}
	s.reap()
}
