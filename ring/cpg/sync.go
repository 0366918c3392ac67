package cpg

import (
	"maps"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Synchronisation after a change of the ring (section 6): every member says which services it
// has; then for each service that anybody has, in ascending order, everybody says what the
// service needs said, sends a barrier, and waits for all barriers. A ring that changes
// meanwhile starts over.

// round is one synchronisation.
type round struct {
	services []int32 // the union, ascending
	step     int     // the service being worked on; building while the union is not complete
	told     []bool  // by index into nodes: has sent its services, or its barrier of this step
	lists    []Member
	build    wire.ServiceBuild
}

const building = -1

// onTransitional: the old ring ends; some come along. What the old ring still brings until
// the new one begins belongs to the old one, its synchronisation included, so that members
// that go from ring to ring together have also completed the same rounds.
func (m *Machine) onTransitional(c *totem.Configuration) {
	m.along = c.Members
	m.together = slices.DeleteFunc(m.together, func(n wire.NodeID) bool {
		return !slices.Contains(c.Members, n)
	})
	for _, d := range c.Left {
		if d.Clean {
			m.goodbye = append(m.goodbye, d.Node)
		}
	}
}

// onRegular: a ring begins.
func (m *Machine) onRegular(c *totem.Configuration) {
	m.stats.Syncs++
	m.ring, m.nodes = c.Ring, c.Members
	if m.view == nil && m.together == nil {
		m.together = slices.Clone(m.nodes)
	}
	// Parts of messages are worth keeping only of those that came along: others may have been
	// in a ring that we were not, and gone on there.
	b := &m.ready.batch
	m.appIn.Keep(m.along, b)
	m.syncIn.Keep(m.along, b)
	m.app.Restart()
	m.sync.Clear()
	m.base, m.started = m.number, false
	maps.DeleteFunc(m.others, func(n wire.NodeID, _ string) bool { return !slices.Contains(m.nodes, n) })

	m.synced, m.stuckTime = false, 0
	m.round.services = m.round.services[:0]
	m.round.lists = m.round.lists[:0]
	m.round.step = building
	m.round.told = make([]bool, len(m.nodes))
	m.newest = m.cfg.ConfigVersion
	mine := []int32{wire.ServiceCPG}
	if m.cfg.ConfigVersion != 0 {
		mine = []int32{wire.ServiceCMAP, wire.ServiceCPG}
	}
	if m.cfg.Votes > 0 {
		mine = append(mine, wire.ServiceVotequorum)
	}
	m.say(wire.AppendServiceBuild(wire.AppendGroup(nil, wire.StreamSync), m.ring, mine))
}

// say queues a message of the synchronisation.
func (m *Machine) say(msg []byte) {
	if err := m.sync.Push(msg); err != nil {
		panic("cpg: queue of the synchronisation is too small: " + err.Error())
	}
}

func (m *Machine) onSync(from wire.NodeID, o wire.Order, id wire.Function, msg []byte) {
	i, found := slices.BinarySearch(m.nodes, from)
	if !found || m.synced {
		return
	}
	switch id {
	case wire.FuncServiceBuild:
		b := &m.round.build
		if b.Decode(o, msg) != nil {
			m.stats.Malformed++
			return
		}
		if b.Ring == m.ring && m.round.step == building {
			m.onServices(i, b.Services[:b.Count])
		}
	case wire.FuncBarrier:
		ring, err := wire.ParseBarrier(o, msg)
		if err != nil {
			m.stats.Malformed++
			return
		}
		if ring == m.ring && m.round.step != building {
			m.arrive(i)
		}
	default:
		m.stats.Unknown++
	}
}

func (m *Machine) onServices(i int, services []int32) {
	r := &m.round
	for _, s := range services {
		if at, found := slices.BinarySearch(r.services, s); !found && len(r.services) < wire.MaxServices {
			r.services = slices.Insert(r.services, at, s)
		}
	}
	m.arrive(i)
}

// arrive notes that a node has done its part of the step; the last one ends the step.
func (m *Machine) arrive(i int) {
	r := &m.round
	r.told[i] = true
	if slices.Contains(r.told, false) {
		return
	}
	if r.step != building {
		switch r.services[r.step] {
		case wire.ServiceCMAP:
			m.compareVersions()
		case wire.ServiceCPG:
			m.activateGroup()
		}
	}
	r.step++
	if r.step == len(r.services) {
		m.completeSync()
		return
	}
	clear(r.told)
	m.work(r.services[r.step])
	m.say(wire.AppendBarrier(wire.AppendGroup(nil, wire.StreamSync), m.ring))
}

// work says what a service needs said; for services we do not have, nothing.
func (m *Machine) work(service int32) {
	group := wire.AppendGroup(nil, wire.StreamService)
	switch {
	case service == wire.ServiceCMAP:
		m.say(wire.AppendConfigVersion(slices.Clone(group), m.cfg.ConfigVersion))
	case service == wire.ServiceCPG:
		m.say(wire.AppendDownList(slices.Clone(group), len(m.view), m.departed()))
		if m.joined {
			m.say(wire.AppendJoinList(slices.Clone(group), m.cfg.Group, m.self.PID))
		}
	case service == wire.ServiceVotequorum && m.cfg.Votes > 0:
		flags := uint32(0)
		if len(m.nodes) == 1 {
			flags = wire.NodeFirst
		}
		m.say(wire.AppendNodeInfo(slices.Clone(group), m.nodeInfo(flags)))
		m.say(wire.AppendNodeInfo(slices.Clone(group), wire.NodeInfo{})) // the quorum device
	}
}

func (m *Machine) nodeInfo(flags uint32) wire.NodeInfo {
	return wire.NodeInfo{Node: m.self.Node, Votes: m.cfg.Votes, Expected: m.cfg.ExpectedVotes, Flags: flags}
}

// departed are the nodes of the last view that did not come along.
func (m *Machine) departed() []wire.NodeID {
	var left []wire.NodeID
	for _, v := range m.view {
		if !slices.Contains(m.together, v.Node) && !slices.Contains(left, v.Node) {
			left = append(left, v.Node)
		}
	}
	return left[:min(len(left), wire.MaxMembers)]
}

// onJoinList notes the processes a node has in our group.
func (m *Machine) onJoinList(from wire.NodeID, o wire.Order, msg []byte) {
	n, err := wire.JoinListCount(msg)
	if err != nil || m.synced {
		m.stats.Malformed++
		return
	}
	for i := range n {
		e, err := wire.JoinListEntry(o, msg, i)
		if err != nil {
			m.stats.Malformed++
			return
		}
		if string(e.Group) == m.cfg.Group {
			insert(&m.round.lists, Member{Node: from, PID: e.PID})
		} else {
			m.others[from] = string(e.Group)
		}
	}
}

// activateGroup: every node has told its processes; what nobody told is gone.
func (m *Machine) activateGroup() {
	m.members = append(m.members[:0], m.round.lists...)
}

func (m *Machine) completeSync() {
	m.synced = true
	if m.joined {
		m.showView(nil)
	}
}

// stuckTimeouts is after how many consensus timeouts a ring that operates without having come to an
// agreement on its members' groups is given up.
const stuckTimeouts = 3

// tickStuck gathers the ring anew if its synchronisation does not end, or if this process does not come
// into its group. That takes some rotations; but who says nothing, for whatever reason, would keep all
// others waiting for ever.
func (m *Machine) tickStuck() {
	if m.totem.State() != totem.Operational || m.leaving || m.synced && m.joined {
		m.stuckTime = 0
		return
	}
	if m.stuckTime != 0 && m.now >= m.stuckTime {
		m.stuckTime = 0
		m.stats.Stuck++
		if !m.joined && m.app.Used() == 0 {
			// It has been sent, and has not come. There is room: nothing else is queued.
			_ = m.app.Push(m.procMessage(wire.FuncProcJoin, wire.ReasonJoin))
		}
		m.totem.Regather(m.now)
		m.settle()
		return
	}
	if m.stuckTime == 0 {
		m.stuckTime = m.now + stuckTimeouts*m.cfg.Totem.Consensus
	}
}
