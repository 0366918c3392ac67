package cpg

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/pack"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// numbered is how many places of the ring a message number is remembered for: as many as can
// be not yet safe.
const numbered = 16384

// Machine is one process in one group. It belongs to one goroutine.
type Machine struct {
	cfg   Config
	self  Member
	totem *totem.Machine
	now   time.Duration
	stats Stats

	ready *Ready // being filled
	shown *Ready // what Ready returned last

	// Sending. While members synchronise only sync is sent from.
	app, sync *pack.Queue
	header    []byte // group, executive and cpg header of our messages

	// Receiving.
	appIn, syncIn pack.Assembler
	flat          []byte // a message or its headers in one piece

	// The order.
	number  uint64           // of the last delivered message
	at      [numbered]uint64 // number after the packet at a place
	base    uint64           // number when the ring began
	first   wire.Seq         // place of the ring's first packet
	started bool             // first is set
	safe    uint64           // never goes back

	// The ring and the group.
	ring      wire.RingID
	nodes     []wire.NodeID
	along     []wire.NodeID // came along in the last change of the ring
	synced    bool
	round     round
	newest    uint64        // config_version that somebody of the ring has
	compared  bool          // ours, with those of others; it is done once
	outdated  uint64        // by which version ours is, if the caller has not asked yet
	together  []wire.NodeID // came along in all changes of the ring since the last view
	goodbye   []wire.NodeID // left the ring cleanly since the last view
	members   []Member
	view      []Member               // members in the last view
	others    map[wire.NodeID]string // a group that a node of the ring has a process of, not ours
	joined    bool
	leaving   bool
	leaveTime time.Duration
	lazy      bool          // messages are queued that nobody waits for
	lazyTime  time.Duration // when they leave at the latest; 0: Tick will say
	stuckTime time.Duration // by when the ring should be in order; 0: it is
}

// New starts a process: it looks for its ring and joins the group as soon as it is in one.
func New(cfg Config, now time.Duration) (*Machine, error) {
	cfg.Totem = cfg.Totem.WithDefaults()
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = defaultQueueBytes
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, self: Member{Node: cfg.Totem.Node, PID: cfg.PID}, now: now,
		ready: newReady(), shown: newReady(),
		app:  pack.NewQueue(cfg.QueueBytes + controlReserve),
		sync: pack.NewQueue(syncQueueBytes),
		flat: make([]byte, 0, 4<<10), others: map[wire.NodeID]string{},
	}
	m.header = wire.AppendGroup(nil, wire.StreamService)
	m.header = wire.AppendGroupMcast(m.header, cfg.Group, m.self.Node, m.self.PID)
	// The first message of our queue: only after it others take ours for a member's.
	if err := m.app.Push(m.procMessage(wire.FuncProcJoin, wire.ReasonJoin)); err != nil {
		return nil, err
	}
	t, err := totem.New(cfg.Totem, (*source)(m), m.ready.out, now)
	if err != nil {
		return nil, err
	}
	m.totem = t
	m.settle()
	return m, nil
}

// source is the machine as totem sees it: the stream that is being sent.
type source Machine

func (s *source) queue() *pack.Queue {
	if s.synced {
		return s.app
	}
	return s.sync
}

func (s *source) Packets() int        { return s.queue().Packets(s.totem.PayloadBytes()) }
func (s *source) Pack(dst []byte) int { return s.queue().Pack(dst) }

// Step takes one received datagram.
func (m *Machine) Step(now time.Duration, p wire.Packet) {
	m.now = max(m.now, now)
	m.totem.Step(m.now, p)
	m.settle()
}

// Tick does what is due and returns the time it wants to be called at next, 0 for never.
func (m *Machine) Tick(now time.Duration) (next time.Duration) {
	m.now = max(m.now, now)
	if m.leaveTime != 0 && m.leaveTime <= m.now {
		m.leaveRing()
	}
	m.tickLazy()
	m.totem.Tick(m.now)
	m.settle()
	m.tickStuck()
	return m.Next()
}

// Next is when Tick is wanted. Step, Multicast and the others can bring it forward.
func (m *Machine) Next() time.Duration {
	next := m.totem.Next()
	if m.lazy && (next == 0 || m.lazyTime < next) {
		next = max(m.lazyTime, 1)
	}
	for _, at := range [...]time.Duration{m.leaveTime, m.stuckTime} {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

// Multicast queues one message to the group, given in parts that are copied. It is delivered
// to ourselves too.
func (m *Machine) Multicast(parts ...[]byte) error {
	if err := m.enqueue(parts); err != nil {
		return err
	}
	if m.synced {
		m.totem.Kick(m.now)
		m.settle()
	}
	return nil
}

// lazyPatience is how long a message waits that nobody waits for.
const lazyPatience = 10 * time.Millisecond

// MulticastLazily queues a message for which the token is not asked at once: it leaves when the
// token comes by, or before long.
func (m *Machine) MulticastLazily(parts ...[]byte) error {
	if err := m.enqueue(parts); err != nil {
		return err
	}
	m.lazy = true
	return nil
}

// tickLazy lets lazy messages wait no longer than they may. Their time runs from the first Tick
// after they were queued, as only that tells the time.
func (m *Machine) tickLazy() {
	switch {
	case !m.lazy:
	case m.app.Used() == 0: // the token came by
		m.lazy, m.lazyTime = false, 0
	case m.lazyTime == 0:
		m.lazyTime = m.now + lazyPatience
	case m.lazyTime <= m.now:
		m.lazy, m.lazyTime = false, 0
		m.totem.Kick(m.now)
	}
}

func (m *Machine) enqueue(parts [][]byte) error {
	if m.leaving {
		return ErrLeft
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > MaxMessage {
		return ErrTooLong
	}
	if n > m.Room() {
		return ErrFull
	}
	wire.SetGroupMcastBytes(m.header[wire.ServiceGroupBytes:], n)
	return m.app.Push(m.header, parts...)
}

// Room is the length of the longest message that Multicast would take now.
func (m *Machine) Room() int {
	return max(0, min(m.app.Room()-controlReserve-headerBytes, MaxMessage))
}

// Queued is the number of bytes that wait to be sent.
func (m *Machine) Queued() int { return m.app.Used() }

// Suspect takes evidence that a node is dead: the others form a ring without it at once.
func (m *Machine) Suspect(now time.Duration, node wire.NodeID) {
	m.now = max(m.now, now)
	m.totem.Suspect(m.now, node)
	m.settle()
}

// Standing tells what a visit of the token would come to, if that is known beforehand.
func (m *Machine) Standing() (totem.Standing, bool) { return m.totem.Standing() }

// Held tells which packets of which ring this member has: those up to aru.
func (m *Machine) Held() (ring wire.RingID, aru wire.Seq, ok bool) { return m.totem.Held() }

// Passed takes a token that was passed on in our place, and when.
func (m *Machine) Passed(at time.Duration, token []byte) {
	m.totem.Passed(at, token)
	m.settle()
}

// LastToken is when the ring's token was last here, in a ring of several in operation.
func (m *Machine) LastToken() (at time.Duration, ok bool) { return m.totem.LastToken() }

// Starving names a member of the ring that lacks packets which were multicast again and again.
func (m *Machine) Starving() (node wire.NodeID, yes bool) { return m.totem.Starving() }

// Leave leaves the group and then the ring. What was multicast before is still delivered.
// State is "left" when it is done.
func (m *Machine) Leave(now time.Duration) {
	m.now = max(m.now, now)
	if m.leaving {
		return
	}
	m.leaving = true
	if !m.joined || !m.synced || m.totem.State() != totem.Operational || m.sayGoodbye() != nil {
		m.leaveRing()
		return
	}
	m.leaveTime = m.now + m.cfg.leavePatience()
	m.totem.Kick(m.now)
	m.settle()
}

// sayGoodbye queues the last we have to say: that of the group, at which we leave, at the end.
func (m *Machine) sayGoodbye() error {
	if m.cfg.AllowDownscale && m.cfg.Votes > 0 {
		info := wire.AppendNodeInfo(wire.AppendGroup(nil, wire.StreamService), m.nodeInfo(wire.NodeLeaving))
		if err := m.app.Push(info); err != nil {
			return err
		}
	}
	return m.app.Push(m.procMessage(wire.FuncProcLeave, wire.ReasonLeave))
}

// Expect changes the votes that are announced as expected.
func (m *Machine) Expect(votes uint32) { m.cfg.ExpectedVotes = votes }

// Quit leaves the ring at once, and the group with it.
func (m *Machine) Quit(now time.Duration) {
	m.now = max(m.now, now)
	m.leaving = true
	m.leaveRing()
}

func (m *Machine) leaveRing() {
	m.leaveTime = 0
	m.totem.Leave(m.now)
}

// Ready returns what has happened since it was called last. It stays valid until it is
// called again.
func (m *Machine) Ready() *Ready {
	r := m.ready
	r.Send = r.out.Send
	r.RingSeq, r.SaveRingSeq = r.out.RingSeq, r.out.SaveRing
	r.Safe = m.Safe()
	m.shown.reset()
	m.ready, m.shown = m.shown, r
	m.totem.SetOutput(m.ready.out)
	return r
}

// Safe is the number up to which messages are safe. It rests while members synchronise: what
// those have that are left says nothing about members of the last view that are not.
func (m *Machine) Safe() uint64 {
	if !m.synced || !m.totem.Settled() {
		return m.safe
	}
	n := m.base
	if s := m.totem.Safe(); m.started && !s.Less(m.first) {
		n = m.at[uint32(s)%numbered]
	}
	m.safe = max(m.safe, n)
	return m.safe
}

// State tells where the process is, for people: gather, commit, recovery, sync, joining,
// operational, leaving or left.
func (m *Machine) State() string {
	s := m.totem.State()
	switch {
	case s != totem.Operational:
		return s.String()
	case m.leaving:
		return "leaving"
	case !m.synced:
		return "sync"
	case !m.joined:
		return "joining"
	}
	return s.String()
}

// Left reports whether Leave is done.
func (m *Machine) Left() bool { return m.totem.State() == totem.Left }

// Ring is the current ring; RingMembers are the nodes in it.
func (m *Machine) Ring() wire.RingID { return m.ring }

// RingMembers are the nodes of the current ring, ascending. Not to be modified.
func (m *Machine) RingMembers() []wire.NodeID { return m.nodes }

// Members are the members of the group, ascending.
func (m *Machine) Members() []Member { return slices.Clone(m.members) }

// Self is this process.
func (m *Machine) Self() Member { return m.self }

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	s.Totem = m.totem.Stats()
	s.Application, s.Sync = m.appIn.Counters, m.syncIn.Counters
	return s
}

func (m *Machine) procMessage(id wire.Function, why wire.Reason) []byte {
	return wire.AppendProc(wire.AppendGroup(nil, wire.StreamService), id, m.cfg.Group, m.self.PID, why)
}
