package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// Marks (section 13.1): where all members understand them, the token says how far each member
// has everything, and who keeps it when nobody has anything to say. Then
//
//   - a packet is known to be everywhere after one rotation. The aru alone needs two, as a
//     member may have raised it to what it has itself before the others had a say;
//   - the token rests with the one that multicast last, who probably will again, after two
//     rotations. Without marks all must count idle rotations, alike, until it is certain that
//     all have noticed, and the representative keeps it.

// keepAfter: at the keeper's first quiet visit all have everything, and it knows; at its second
// all others know that too.
const keepAfter = 2

// features are what we announce.
func (m *Machine) features() wire.Features {
	if m.cfg.Plain {
		return 0
	}
	return wire.FeatureMarks
}

// announce adds us to those on the commit token that have announced themselves. A plain member
// takes them away, as corosync does.
func (m *Machine) announce(c *wire.Commit) {
	f := m.features()
	if f == 0 {
		c.Announced = c.Announced[:0]
		return
	}
	c.Announced = append(c.Announced, wire.Announcement{Node: m.self, Features: f})
}

// common is what all members of the new ring understand. It counts in the second pass of the
// commit token: only if nobody took anything away in the first one are all there, and then
// nobody does in the second.
func common(c *wire.Commit) wire.Features {
	if len(c.Announced) != len(c.Members) || len(c.Members) > wire.MaxMarked {
		return 0
	}
	f := ^wire.Features(0)
	for i, a := range c.Announced {
		if a.Node != c.Members[i] {
			return 0
		}
		f &= a.Features
	}
	return f
}

// marked reports whether the ring's token has marks.
func (m *Machine) marked() bool { return m.understood&wire.FeatureMarks != 0 }

// firstMarks are those of a ring's first token.
func (m *Machine) firstMarks(k *wire.Marks) {
	*k = wire.Marks{Received: k.Received[:0], Heard: k.Heard[:0]}
	if !m.marked() {
		return
	}
	k.Keeper = m.self
	for range m.active() {
		k.Received, k.Heard = append(k.Received, 0), append(k.Heard, 0)
	}
}

// intact reports whether a token has the marks that the ring's token must have.
func (m *Machine) intact(t *wire.Token) bool {
	if m.marked() {
		return len(t.Marks.Received) == len(m.active())
	}
	return len(t.Marks.Received) == 0
}

// mark writes how far we have everything.
func (m *Machine) mark(t *wire.Token) {
	if m.marked() {
		t.Marks.Received[m.active().index(m.self)] = m.aru
		m.markFrames(t)
	}
}

// everywhere is how far everybody has everything.
func everywhere(t *wire.Token) wire.Seq {
	low := t.Seq
	for _, s := range t.Marks.Received {
		low = low.Min(s)
	}
	return low
}

// releaseMarked gives up packets that everybody has and we have delivered.
func (m *Machine) releaseMarked() {
	if !m.marked() || m.state != Operational || !m.settled {
		return
	}
	m.release(everywhere(&m.token).Min(m.delivered))
}

// decideKeep keeps the token if we multicast last and everybody has had time to say something
// since. The others see on the token that it is about to be kept.
func (m *Machine) decideKeep(sent, repaired bool) {
	k := &m.token.Marks
	switch {
	case sent:
		k.Keeper, k.Quiet = m.self, 0
		m.busy()
	case repaired || m.state != Operational || everywhere(&m.token) != m.token.Seq:
		k.Quiet = 0
	case k.Keeper == m.self:
		k.Quiet++
	}
	ours := k.Keeper == m.self
	m.slow = m.state == Operational && k.Quiet == 0 && m.tired(0)
	m.holding = ours && (k.Quiet >= keepAfter || m.slow && m.tired(1)) && !m.wanted && m.source.Packets() == 0
	m.idle = !ours && (k.Quiet >= keepAfter-1 || m.slow)
	m.wanted = false
	m.timers.stop(timerWant)
	if m.holding {
		m.timers.start(timerHold, m.now+m.cfg.Hold)
	}
}

// adaptWindow: a request that is on the token, or was until we served it, is a loss. Where
// corosync takes part its buffers are not ours to try.
func (m *Machine) adaptWindow(t *wire.Token, sent int, repaired bool) {
	if m.marked() && m.cfg.MaxWindow > m.cfg.WindowSize {
		hungry := sent > 0 && m.source.Packets() > 0 && m.state == Operational
		least := max(smallestWindow*m.cfg.NetMTU/m.frames.mtu, fewestPackets)
		most := max(m.cfg.MaxWindow*m.cfg.NetMTU/m.frames.mtu, fewestPackets)
		m.flow.adapt(hungry, repaired || len(t.Requests()) > 0, least, most)
	}
}

// accelerateBytes is how much of a visit is enough for the token to overtake some: 32 packets of
// an ordinary Ethernet.
const accelerateBytes = 48 << 10

// accelerate lets the token, which was sent last, overtake most of a visit's packets, whose
// places it tells already: the next member works on its own while ours are still on their way
// (Babay and Amir, Fast Total Ordering for Modern Data Centers). What comes behind the token is
// not missed before MissCountConst visits, and marked at the next one.
func (m *Machine) accelerate(sent int) {
	if !m.marked() || m.state != Operational || sent*m.frames.mtu < accelerateBytes || m.selfToken {
		return
	}
	list := m.out.Send
	last := len(list) - 1
	at := last - sent*3/4
	token := list[last]
	copy(list[at+1:], list[at:last])
	list[at] = token
}

// onWanted: a member asks for the token that we keep, or are about to keep. It gets it at once,
// past those between us, who have nothing to say: no mark says more than its member wrote, so
// the marks do not mind. If we have let the token go for a while and are asked still, it may be
// lost.
func (m *Machine) onWanted(by wire.NodeID) {
	passed := m.timers[timerRetransmit] - m.cfg.TokenRetransmit
	switch {
	case m.holding:
		if !m.memb.has(by) {
			by = m.memb.after(m.self)
		}
		m.letGo(by)
	case m.token.Marks.Keeper == m.self && m.now-passed >= m.cfg.Join:
		m.repeatToken()
	default:
		m.wanted = true
	}
}
