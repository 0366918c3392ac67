package cpg

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// maxGroupMembers bounds the list of members: as many as can be on one ring with one process
// each, and some nodes with more.
const maxGroupMembers = 4 * wire.MaxMembers

func (m *Machine) isMember(who Member) bool {
	for i := range m.members {
		if m.members[i] == who {
			return true
		}
	}
	return false
}

func insert(list *[]Member, who Member) {
	i, found := slices.BinarySearchFunc(*list, who, Member.compare)
	if !found && len(*list) < maxGroupMembers {
		*list = slices.Insert(*list, i, who)
	}
}

// onProc is a process that joins or leaves its group at this point of the order.
func (m *Machine) onProc(from wire.NodeID, o wire.Order, id wire.Function, msg []byte) {
	p, err := wire.ParseProc(o, msg)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if string(p.Group) != m.cfg.Group {
		m.stats.OtherGroups++
		m.others[from] = string(p.Group)
		return
	}
	who := Member{Node: from, PID: p.PID}
	known := m.isMember(who)
	switch {
	case id == wire.FuncProcJoin && !known:
		insert(&m.members, who)
		if who == m.self {
			m.joined = true
		}
		m.showView(nil)
	case id == wire.FuncProcLeave && known:
		i, _ := slices.BinarySearchFunc(m.members, who, Member.compare)
		m.members = slices.Delete(m.members, i, i+1)
		reason := wire.ReasonProcDown
		if p.Reason == wire.ReasonLeave {
			reason = wire.ReasonLeave
		}
		m.showView(&Left{Member: who, Reason: reason})
		if who == m.self {
			m.joined = false
			m.leaveRing()
		}
	}
}

// showView gives the view that holds from here on. gone is a member that left the group but
// not the ring.
func (m *Machine) showView(gone *Left) {
	if !m.joined || !m.synced {
		return
	}
	v := &View{Ring: m.ring, Members: slices.Clone(m.members), Nodes: slices.Clone(m.nodes)}
	for _, who := range m.members {
		if slices.Contains(m.view, who) && slices.Contains(m.together, who.Node) {
			v.Transitional = append(v.Transitional, who)
		} else {
			v.Joined = append(v.Joined, who)
		}
	}
	for _, who := range m.view {
		if !slices.Contains(v.Transitional, who) {
			v.Left = append(v.Left, Left{Member: who, Reason: m.whyLeft(who, gone)})
		}
	}
	m.view = v.Members
	m.together = slices.Clone(m.nodes)
	m.goodbye = m.goodbye[:0]
	m.stats.Views++
	m.ready.Events = append(m.ready.Events, Event{View: v})
}

func (m *Machine) whyLeft(who Member, gone *Left) wire.Reason {
	switch {
	case gone != nil && gone.Member == who:
		return gone.Reason
	case slices.Contains(m.goodbye, who.Node):
		return wire.ReasonLeave
	case slices.Contains(m.together, who.Node):
		return wire.ReasonProcDown
	}
	return wire.ReasonNodeDown
}

// Stranger is a node of the ring that has no process in our group.
type Stranger struct {
	Node  wire.NodeID
	Group string // one that it has a process of, as far as known; else empty
}

// Strangers are the nodes of the ring without a process in our group, ascending: corosync nodes
// with other purposes, members of another cluster that has come to our multicast address, and, for
// a moment, who has just joined the ring.
func (m *Machine) Strangers() (list []Stranger) {
	if !m.joined || !m.synced {
		return nil
	}
	for _, n := range m.nodes {
		if !slices.ContainsFunc(m.members, func(x Member) bool { return x.Node == n }) {
			list = append(list, Stranger{Node: n, Group: m.others[n]})
		}
	}
	return list
}
