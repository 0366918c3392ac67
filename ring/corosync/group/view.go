package group

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Configuration takes a new membership of the group, and who left.
func (m *Machine) Configuration(now time.Duration, members []cpg.Member, left []cpg.Left) {
	m.now = now
	if slices.Contains(m.present, m.self) && !slices.Contains(members, m.self) {
		m.removed(left)
		return
	}
	m.noteJoined(members)
	m.present = slices.Clone(members[:min(len(members), maxMembers)])
	slices.SortFunc(m.present, compareMembers)
	for _, l := range left {
		m.noteLeft(l)
		m.expelled = slices.DeleteFunc(m.expelled, func(e cpg.Member) bool { return e == l.Member })
	}
	m.change()
}

// noteJoined keeps what tells two states apart that look alike: who joined last, and how many
// configurations came since. All who are present know both, also who joined last; and what was
// before a change of the ring no longer matters, since all on it saw that.
func (m *Machine) noteJoined(members []cpg.Member) {
	var joined []cpg.Member
	for _, who := range members {
		if !slices.Contains(m.present, who) {
			joined = append(joined, who)
		}
	}
	switch {
	case slices.Contains(joined, m.self):
		m.joined, m.turns = []cpg.Member{m.self}, 0
	case len(joined) > 0:
		m.joined, m.turns = joined, 0
	default:
		m.turns++
	}
}

// removed: we are no longer in the group, as we asked for or not.
func (m *Machine) removed(left []cpg.Left) {
	m.gone = true
	if !slices.ContainsFunc(left, func(l cpg.Left) bool { return l.Member == m.self && l.Clean() }) {
		m.err = ErrRemoved
	}
}

// noteLeft remembers why a member of the view left it first.
func (m *Machine) noteLeft(l cpg.Left) {
	if m.peer(l.Member) == nil || slices.ContainsFunc(m.left, func(o cpg.Left) bool { return o.Member == l.Member }) {
		return
	}
	m.left = append(m.left, l)
}

// Totem takes a new configuration of the ring.
func (m *Machine) Totem(now time.Duration, ring wire.RingID, nodes []wire.NodeID) {
	m.now = now
	if ring != m.ring && m.ring.Rep != 0 {
		m.ringMoved = true
		m.joined, m.turns = nil, 0
	}
	m.ring, m.nodes = ring, slices.Clone(nodes)
	slices.Sort(m.nodes)
	m.change()
}

// change begins to agree on a view, anew if need be. What was held until here was delivered in
// one and the same way to all who come from the last view, and belongs to it.
func (m *Machine) change() {
	m.release()
	m.agreeing, m.said = true, false
	m.flushes = m.flushes[:0]
	m.watch = watch{}
	m.reporting = false
	sum := mix(mix(0, uint64(m.ring.Rep)), m.ring.Seq)
	for _, p := range m.present {
		sum = mix(mix(sum, uint64(p.Node)), uint64(p.PID))
	}
	sum = mix(sum, uint64(len(m.joined)))
	for _, p := range m.joined {
		sum = mix(mix(sum, uint64(p.Node)), uint64(p.PID))
	}
	m.state = mix(sum, m.turns)
}

// awaited are the members of the next view.
func (m *Machine) awaited() []cpg.Member {
	return slices.DeleteFunc(slices.Clone(m.present), func(p cpg.Member) bool { return slices.Contains(m.expelled, p) })
}

// onFlush takes what a member says of itself. Only flushes of the very state that corosync told
// us last count, and that is the same for all.
func (m *Machine) onFlush(from cpg.Member, f *frame) {
	if !m.agreeing || f.state != m.state {
		return
	}
	if !slices.Equal(f.expelled, m.expelled) {
		m.adopt(f.expelled)
		return
	}
	m.flushes = slices.DeleteFunc(m.flushes, func(o flush) bool { return o.from == from })
	m.flushes = append(m.flushes, flush{from, f.view, f.have, f.sum})
	members := m.awaited()
	if len(m.flushes) == len(members) {
		slices.SortFunc(m.flushes, func(a, b flush) int { return compareMembers(a.from, b.from) })
		m.begin(members)
	}
}

// adopt learns of members that were expelled before we came, or on the other side of a partition.
func (m *Machine) adopt(list []cpg.Member) {
	grown := false
	for _, e := range list {
		if e == m.self {
			m.err = ErrExpelled
			return
		}
		if slices.Contains(m.present, e) && !slices.Contains(m.expelled, e) {
			m.expelled = append(m.expelled, e)
			grown = true
		}
	}
	if grown {
		slices.SortFunc(m.expelled, compareMembers)
		m.change()
	}
}

// begin begins the view that all flushes agree upon.
func (m *Machine) begin(members []cpg.Member) {
	own := m.flushes[slices.IndexFunc(m.flushes, func(f flush) bool { return f.from == m.self })]
	v := &cpg.View{Ring: m.ring, Members: members, Nodes: slices.Clone(m.nodes)}
	id := m.state
	peers := make([]peer, 0, len(members))
	for _, f := range m.flushes {
		id = mix(mix(mix(id, f.view), f.have), f.sum)
		p := peer{Member: f.from}
		old := m.peer(f.from)
		if own.view != 0 && old != nil && f.view == own.view && f.have == own.have && f.sum == own.sum {
			v.Transitional = append(v.Transitional, f.from)
			p.next, p.broken = old.next, old.broken
		} else {
			v.Joined = append(v.Joined, f.from)
		}
		peers = append(peers, p)
	}
	for i := range m.members {
		if who := m.members[i].Member; !slices.Contains(v.Transitional, who) {
			v.Left = append(v.Left, cpg.Left{Member: who, Reason: m.whyLeft(who)})
		}
	}
	m.view, m.members = max(id, 1), peers
	m.base, m.have, m.foreign, m.told, m.sum = m.number, 0, 0, 0, 0
	m.safe = m.number // who came along has all of it
	m.agreeing, m.ringMoved = false, false
	m.flushes, m.left = m.flushes[:0], m.left[:0]
	m.watch, m.reporting, m.lazyAt = watch{}, false, 0
	m.stats.Views++
	m.ready.Events = append(m.ready.Events, cpg.Event{View: v})
	m.release()
}

// whyLeft is the reason that corosync gave. That a process has ended is only believed of one
// that was on our ring until then: elsewhere it may have gone on for a while.
func (m *Machine) whyLeft(who cpg.Member) wire.Reason {
	i := slices.IndexFunc(m.left, func(l cpg.Left) bool { return l.Member == who })
	switch {
	case i < 0:
		return wire.ReasonNodeDown // expelled, or not of the same mind
	case m.left[i].Reason == wire.ReasonProcDown && m.ringMoved:
		return wire.ReasonNodeDown
	}
	return m.left[i].Reason
}
