package cpg

import (
	"github.com/qpidd-cluster/qpidd-cluster/ring/pack"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// settle works off what the ring has produced, and packets to ourselves, until there is
// nothing left or a ring of one has had its share.
func (m *Machine) settle() {
	for range maxPump {
		m.consume()
		if !m.totem.Pending() {
			return
		}
		m.totem.Pump(m.now)
	}
	m.consume()
}

func (m *Machine) consume() {
	out := m.ready.out
	for i := range out.Events {
		e := &out.Events[i]
		switch e.Kind {
		case totem.EventPacket:
			m.onPacket(e)
		case totem.EventTransitional:
			m.onTransitional(e.Config)
		case totem.EventRegular:
			m.onRegular(e.Config)
		}
	}
	if len(out.Events) > 0 {
		clear(out.Events)
		out.Events = out.Events[:0]
		if m.totem.State() == totem.Operational && (*source)(m).Packets() > 0 {
			m.totem.Kick(m.now) // an event may have made something to send
		}
	}
}

// onPacket takes the messages out of a packet and notes the number reached at its place.
func (m *Machine) onPacket(e *totem.Event) {
	if !m.started {
		m.started, m.first = true, e.Seq
	}
	in := &m.appIn
	if !m.synced {
		in = &m.syncIn
	}
	b := &m.ready.batch
	b.Messages = b.Messages[:0]
	in.Unpack(e.From, e.Order, e.Payload, e.Block, b)
	for _, msg := range b.Messages {
		m.onMessage(e.From, e.Order, b.Parts[msg.First:msg.End:msg.End])
	}
	m.at[uint32(e.Seq)%numbered] = m.number
}

// longestHead is the most that headers in front of data take, of whichever stream.
const longestHead = wire.SyncGroupBytes + wire.CPGMcastBytes

func (m *Machine) onMessage(from wire.NodeID, o wire.Order, parts [][]byte) {
	head := parts[0]
	if len(head) < longestHead && len(parts) > 1 {
		head = m.gather(parts, longestHead)
	}
	stream, at, err := wire.ParseGroup(o, head)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if stream == wire.StreamUnknown {
		m.stats.Unknown++
		return
	}
	exec, err := wire.ParseExec(o, head[at:])
	if err != nil {
		m.stats.Malformed++
		return
	}
	if stream == wire.StreamSync {
		m.onSync(from, o, exec.ID, m.whole(parts)[at:])
		return
	}
	switch exec.ID {
	case wire.FuncMcast:
		m.onGroupMcast(from, o, head, at, parts)
	case wire.FuncProcJoin, wire.FuncProcLeave:
		m.onProc(from, o, exec.ID, m.whole(parts)[at:])
	case wire.FuncJoinList:
		m.onJoinList(from, o, m.whole(parts)[at:])
	case wire.FuncValues:
		m.onValues(o, m.whole(parts)[at:])
	case wire.FuncDownList:
		// Everybody works out by itself who went.
	default:
		m.stats.Unknown++
	}
}

// onGroupMcast delivers a message to the group.
func (m *Machine) onGroupMcast(from wire.NodeID, o wire.Order, head []byte, at int, parts [][]byte) {
	g, err := wire.ParseGroupMcast(o, head[at:])
	if err != nil {
		m.stats.Malformed++
		return
	}
	if string(g.Group) != m.cfg.Group {
		m.stats.OtherGroups++
		return
	}
	if !m.joined || !m.isMember(Member{Node: from, PID: g.PID}) {
		m.stats.NoMember++
		return
	}
	parts = skip(parts, at+wire.CPGMcastBytes)
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n != g.Bytes {
		m.stats.Malformed++
		return
	}
	m.number++
	m.stats.Messages++
	m.stats.Bytes += uint64(n)
	m.ready.Events = append(m.ready.Events, Event{
		Message: true, Number: m.number, From: Member{Node: from, PID: g.PID}, Parts: parts,
	})
}

// skip drops the first n bytes of a message, in place.
func skip(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 && len(parts) > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// gather copies the first n bytes of a message, or all it has, into one piece.
func (m *Machine) gather(parts [][]byte, n int) []byte {
	m.flat = m.flat[:0]
	for _, p := range parts {
		m.flat = append(m.flat, p[:min(len(p), n-len(m.flat))]...)
	}
	return m.flat
}

// whole returns a message in one piece.
func (m *Machine) whole(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	return m.gather(parts, pack.MaxMessageBytes)
}
