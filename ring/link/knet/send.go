package knet

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// untimedEvery is how many data packets go between pings that tell all peers where the
// sequence is, as those that get none of them would take it for an old one after a full turn.
const untimedEvery = 65535 / 8

// Send makes packets of ring packets, of as many as there is room for, and returns how many
// those were. What is for a peer that is down is dropped, as is what is for all if all are.
func (m *Machine) Send(now time.Duration, datagrams []wire.Datagram) (taken int) {
	for i, d := range datagrams {
		if len(m.out) > 0 && cap(m.arena)-len(m.arena) < most {
			return i
		}
		if d.To != 0 {
			if p := m.peer(d.To); p == nil || !p.up {
				m.stats.NoPeer++
				continue
			}
		} else if len(m.up) == 0 {
			m.stats.NoPeer++
			continue
		}
		m.send(d)
		if m.seq%untimedEvery == 0 {
			for _, p := range m.peers {
				m.ping(p, now, false)
			}
		}
	}
	return len(datagrams)
}

// send cuts a ring packet into fragments that reach everybody.
func (m *Machine) send(d wire.Datagram) {
	slice := 0
	for _, n := range m.up {
		p := m.peer(n)
		if s := m.slice(p, m.mtu(p)); slice == 0 || s < slice {
			slice = s
		}
	}
	fragments := max((len(d.Data)+slice-1)/slice, 1)
	if fragments > maxFragments || len(d.Data) > MaxMessageBytes {
		m.stats.TooLong++
		return
	}
	if m.seq++; m.seq == 0 {
		m.seq = 1
	}
	at := m.cfg.Crypto.front()
	rest := d.Data
	for i := range fragments {
		n := min(slice, len(rest))
		b := m.space(dataBytes + n + Overhead)
		putData(b[at:], m.cfg.Node, m.seq, d.To == 0, fragments, i+1)
		copy(b[at+dataBytes:], rest[:n])
		m.emit(d.To, b, dataBytes+n)
		rest = rest[n:]
	}
}
