package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Frames longer than NetMTU, where the path between all members carries them. That is not
// taken from anybody's configuration: after a ring is installed each member multicasts a probe,
// a merge detect of this very ring that is padded, which the protocol ignores. The marks say how
// long a probe each member has heard from every other; what all have heard, all may send.

// maxProbes: a probe may be lost like any packet. After so many the path does not carry them.
const maxProbes = 4

// frames is what is known of the path of the current ring.
type frames struct {
	heard  []uint16 // the longest probe of each member, by its place
	probes int      // sent
	next   time.Duration
	mtu    int // the longest packet, as in NetMTU
}

// reset is for a ring that begins.
func (f *frames) reset(members int, c *Config) {
	f.heard = append(f.heard[:0], make([]uint16, members)...)
	f.probes, f.next, f.mtu = 0, 0, c.NetMTU
}

// largeFrames reports whether it is worth looking for them.
func (m *Machine) largeFrames() bool {
	return m.marked() && m.cfg.MaxNetMTU > m.cfg.NetMTU && len(m.active()) > 1
}

// probe multicasts a probe now and then, until frames are large or do not pass.
func (m *Machine) probe() {
	f := &m.frames
	if !m.largeFrames() || m.state != Operational || f.mtu > m.cfg.NetMTU || f.probes == maxProbes || m.now < f.next {
		return
	}
	f.probes++
	f.next = m.now + m.cfg.Merge
	size := m.cfg.MaxNetMTU - wire.McastBytes
	d := wire.MergeDetect{Node: m.self, From: m.self, Ring: m.ring}
	b := d.Append(m.out.begin(size))
	for n := size - d.Bytes(); n > 0; n-- {
		b = append(b, 0)
	}
	m.out.end(0, b)
}

// onProbe notes how long a merge detect of our own ring is.
func (m *Machine) onProbe(d *wire.MergeDetect, size int) {
	if i, found := m.active().find(d.From); found && m.state != Commit && i < len(m.frames.heard) {
		m.frames.heard[i] = max(m.frames.heard[i], uint16(min(size, wire.MaxPacketBytes)))
	}
}

// markFrames says how long a probe we have heard from everybody, and takes up what passes.
func (m *Machine) markFrames(t *wire.Token) {
	heard := m.heardFromAll()
	t.Marks.Heard[m.active().index(m.self)] = heard
	if !m.largeFrames() || m.state != Operational {
		return
	}
	passes := heard
	for _, h := range t.Marks.Heard {
		passes = min(passes, h)
	}
	if mtu := int(passes) + wire.McastBytes; mtu > m.frames.mtu {
		m.flow.reframe(m.frames.mtu, mtu)
		m.frames.mtu = mtu
	}
}

// heardFromAll is the longest probe that we heard from everybody, at most what we would send.
func (m *Machine) heardFromAll() uint16 {
	heard := uint16(min(m.cfg.MaxNetMTU-wire.McastBytes, wire.MaxPacketBytes))
	me := m.active().index(m.self)
	for i, h := range m.frames.heard {
		if i != me {
			heard = min(heard, h)
		}
	}
	return heard
}

// PayloadBytes is the room for messages in one packet, for now.
func (m *Machine) PayloadBytes() int { return m.frames.mtu - 2*wire.McastBytes }
