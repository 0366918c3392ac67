package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Group orders messages among the members: the ring, or Alone.
type Group interface {
	// Multicast queues one message; it is copied.
	Multicast(parts ...[]byte) error
	// MulticastLazily does too, but nobody waits for the message: it may leave with the next.
	MulticastLazily(parts ...[]byte) error
	// Room is how many bytes Multicast takes now.
	Room() int
}

// Config is what a Node is made with.
type Config struct {
	Self broker.MemberID
	// ClusterID is what a cluster that this member founds is called.
	ClusterID ID
	Quorum    Quorum
	// FormDelay is how long members that find no cluster wait for one to show up.
	FormDelay time.Duration
	// Grace is how long clients are kept waiting when the quorum is lost.
	Grace time.Duration
	URL   string // where clients find this member
	Mesh  string // where members find it

	Memory journal.Memory
	// Disk and Files keep what is durable; Store is what the directory is called. Without them
	// nothing outlives the members.
	Disk  journal.Disk
	Files journal.Files
	Store journal.UUID
	Sync  Sync
	// SegmentBytes is how long the journal's files are, CheckpointBytes how much is written between
	// checkpoints; 0 is what they usually are.
	SegmentBytes, CheckpointBytes int64
	// PagingBytes is from where messages that are on the disk leave memory; 0 is never.
	PagingBytes int64
	// Marked: a person has said that the store's history is the one to go on with.
	Marked bool
	// Alone is a broker without a cluster: it waits for nobody.
	Alone bool
	// MemoryBytes is the most that messages may take; 0 is no limit. This member's publishers
	// are refused beyond: what is ordered already has to be taken, here as everywhere.
	MemoryBytes int64
	Broker      broker.Config
}

// Defaults of Config.
const (
	DefaultFormDelay = 500 * time.Millisecond
	DefaultGrace     = 2 * time.Second
)

// ID names a cluster.
type ID [16]byte

func (id ID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// State is how far a member is.
type State uint8

// States.
const (
	Joining    State = iota // has no state of the cluster yet
	CatchingUp              // has it, and applies what was ordered meanwhile
	Active
	Frozen // has it, but no quorum: nothing is applied
	Left
)

func (s State) String() string {
	return [...]string{"joining", "catching up", "active", "no quorum", "left"}[s]
}

// Node is one member's side of the cluster: entries in their order, who takes part, and
// what clients of this member ask for.
type Node struct {
	cfg    Config
	group  Group
	log    *journal.Log
	broker *broker.Broker
	now    time.Duration

	state      State
	id         ID
	active     []broker.MemberID                // who has the state, sorted
	electorate []broker.MemberID                // who took part in the last quorate view, and left not cleanly
	expected   int                              // votes, if Config.Quorum asks for any
	remain     int                              // of these, when somebody left cleanly; 0: that is done
	tracked    int                              // the most that was ever expected
	stores     map[broker.MemberID]journal.UUID // of the electorate
	epoch      broker.Index                     // index at which the electorate last changed
	eras       []era
	base       *base // what this member knew when it began to join
	revived    bool  // its state is from its store
	joins      ID    // the cluster, with stores, that this member is about to join
	disk       disks
	pace       pace
	index      broker.Index
	chain      uint64 // over all entries: equal histories have equal chains

	view       view
	formAt     time.Duration
	frozenAt   time.Duration
	expectAt   time.Duration // the last man's window is over
	voided     bool          // what was ordered since it froze is given up
	ticked     time.Duration
	corpses    []broker.MemberID // members whose process is known to be dead
	join       joiner
	early      []earlyPiece
	fading     []*broker.Broker // given up
	checkpoint *broker.Snapshot // that is being written
	donate     []*donor
	streams    map[broker.MemberID]*stream

	conns     map[broker.ConnID]*conn
	dirty     []*conn
	awaiting  []awaited
	inquiries map[broker.Index]inquiry // by the index of the request's entry
	out       []byte                   // entries of this member; up to sent they have been multicast
	urgent    bool                     // somebody waits for one of them
	settled   bool                     // a client has, and that is still to be collected
	sent      int
	cut       int // bytes at sent that end an entry sent in part
	asides    [][]byte
	ready     Ready
}

// Ready is what has to be done, and what is to be told, since it was last taken.
type Ready struct {
	Answers []ConnAnswers
	Mesh    []broker.MeshOut
	Events  []Event
	// Drop, if not empty, is what clients are told while they are all disconnected.
	Drop string
}

// ConnAnswers are the answers to one connection.
type ConnAnswers struct {
	Conn      broker.ConnID
	Completed uint64 // numbered requests done, for back-pressure
	List      []broker.Answer
}

// New returns a member that has not joined anything yet.
func New(cfg Config, group Group) *Node {
	n := &Node{
		cfg: cfg, group: group,
		log: journal.New(journal.Config{Memory: cfg.Memory, Disk: cfg.Disk, Files: cfg.Files, Store: cfg.Store,
			MemoryBytes: cfg.PagingBytes, SegmentBytes: cfg.SegmentBytes, CheckpointBytes: cfg.CheckpointBytes}),
		conns:     map[broker.ConnID]*conn{},
		inquiries: map[broker.Index]inquiry{},
		streams:   map[broker.MemberID]*stream{},
	}
	n.tracked = cfg.Quorum.Tracked
	n.expected = n.least()
	n.broker = n.newBroker()
	return n
}

// least is how many votes are expected of a cluster that is not known.
func (n *Node) least() int {
	if n.cfg.Quorum.Tracking {
		return max(n.cfg.Quorum.Expected, n.tracked)
	}
	return n.cfg.Quorum.Expected
}

func (n *Node) newBroker() *broker.Broker {
	b := n.cfg.Broker
	b.Self, b.Log = n.cfg.Self, (*records)(n)
	return broker.New(b)
}

// State tells how far this member is.
func (n *Node) State() State { return n.state }

// Status is what a person wants to know of the cluster.
type Status struct {
	ID      ID
	State   State
	Index   broker.Index
	Members []MemberStatus
	Log     journal.Stats
}

// MemberStatus is one member as this one sees it.
type MemberStatus struct {
	ID    broker.MemberID
	URL   string
	Mesh  string
	State State
}

// ID is the cluster's.
func (n *Node) ID() ID { return n.id }

// Status describes the cluster.
func (n *Node) Status() Status {
	s := Status{ID: n.id, State: n.state, Index: n.index, Log: n.log.Stats()}
	for _, m := range n.view.members {
		h := n.view.hello(m)
		ms := MemberStatus{ID: m, State: Joining}
		if h != nil {
			ms.URL, ms.Mesh = h.url, h.mesh
		}
		if slices.Contains(n.active, m) {
			ms.State = n.state
		}
		s.Members = append(s.Members, ms)
	}
	return s
}

// Awaits tells what this member waits for before it takes part; "" if it does.
func (n *Node) Awaits() string {
	var silent []string
	for _, m := range n.view.members {
		if h := n.view.hello(m); h == nil || h.view != n.view.id {
			silent = append(silent, fmt.Sprintf("%d/%d", m>>32, uint32(m)))
		}
	}
	switch {
	case n.state == Active || n.state == Left:
		return ""
	case len(n.view.members) == 0:
		return "for the ring"
	case len(silent) > 0:
		return "for what members " + strings.Join(silent, ", ") + " know"
	case n.join.receiving:
		return "for the state, which member " + n.describe(n.join.donor) + " sends"
	case n.join.replaying:
		return "to apply what happened since it received the state"
	case n.formAt != 0:
		return "a moment for others"
	}
	return "for a member that has the cluster's state, or for more members"
}

// Broker gives tests and management a look at the state.
func (n *Node) Broker() *broker.Broker { return n.broker }

// Position tells how far the history goes: members at the same index have the same chain.
func (n *Node) Position() (broker.Index, uint64) { return n.index, n.chain }

// clockPeriod is how often queues with a clock are looked at. What has expired is never
// handed out in between.
const clockPeriod = 10 * time.Millisecond

// Next is when Tick is wanted; 0 is never.
func (n *Node) Next() (next time.Duration) {
	if n.state == Active && n.broker.Timed() {
		next = n.ticked + clockPeriod
	}
	next = Soonest(next, n.formAt)
	next = Soonest(next, n.expectAt)
	if n.state == Frozen && n.frozenAt != 0 {
		next = Soonest(next, n.frozenAt+n.cfg.Grace)
	}
	return Soonest(next, n.nextDisk())
}

// Tick does what is due.
func (n *Node) Tick(now time.Duration) {
	n.now = now
	n.log.Prepare(now)
	if n.state == Active && now >= n.ticked+clockPeriod {
		n.ticked = now
		n.broker.Tick(now)
	}
	if n.formAt != 0 && now >= n.formAt {
		n.formAt = 0
		n.form()
	}
	if n.expectAt != 0 && now >= n.expectAt {
		n.expectFewer()
	}
	if n.state == Frozen && n.frozenAt != 0 && now >= n.frozenAt+n.cfg.Grace {
		n.frozenAt = 0
		n.dropClients("no quorum: this member is cut off from the majority of the cluster; connect to another member")
	}
}

// Self is this member.
func (n *Node) Self() broker.MemberID { return n.cfg.Self }

// Soonest is the earlier of two times at which something is wanted; 0 is never.
func Soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// maxRounds bounds how often the shards are run in one Flush; what is left follows in the
// next, so that the ring is never kept waiting.
const maxRounds = 4

// Flush lets what was taken in take effect: the shards run, proposals are multicast, answers
// are complete. It returns whether it wants to be called again at once.
func (n *Node) Flush(now time.Duration) (more bool) {
	n.now = now
	if n.log.Arrived() {
		n.broker.Arrived()
	}
	more = n.takeIn()
	more = n.goOnReplaying() || more
	if n.state == Active || n.state == CatchingUp {
		more = n.run(now) || more
	}
	n.send()
	more = n.feedDonors() || more
	more = n.goOnFading() || more
	more = n.sync() || more
	if len(n.asides) > 0 {
		n.send() // what the disk gave cause to say
	}
	return more
}

// crowdedBytes of proposals that wait for the ring are enough: what can wait, should.
const crowdedBytes = 64 << 10

// carryTurn is how many messages a turn of the engine looks at to see whether their records are worth
// carrying forward.
const carryTurn = 16 << 10

// run runs the shards, and takes what they have made.
func (n *Node) run(now time.Duration) (more bool) {
	for round := 0; round < maxRounds; round++ {
		n.broker.Crowded = len(n.out)-n.sent > crowdedBytes
		more = n.broker.Run(now)
		n.collect()
		if !more {
			break
		}
	}
	if !n.log.Fragmented() && !n.broker.Carrying() {
		return more
	}
	again, err := n.broker.Carry(carryTurn)
	if err != nil {
		panic("cluster: no memory to carry messages forward: " + err.Error())
	}
	return more || again
}

// collect takes what the broker has made.
func (n *Node) collect() {
	n.broker.Collect((*sink)(n))
	n.settled = false
}

// Ready hands over what there is to do. It is valid until the next call of any method.
func (n *Node) Ready() *Ready {
	n.ready.Answers = n.ready.Answers[:0]
	for _, c := range n.dirty {
		c.dirty = false
		if c.completed != c.told {
			c.told = c.completed
			c.answers = append(c.answers, broker.Answer{Kind: broker.AnsCompleted, Number: c.completed})
		}
		n.ready.Answers = append(n.ready.Answers, ConnAnswers{Conn: c.port.Conn, Completed: c.completed, List: c.answers})
		c.answers, c.spare = c.spare[:0], c.answers
	}
	n.dirty = n.dirty[:0]
	return &n.ready
}

// Done tells that what Ready returned was taken care of.
func (n *Node) Done() {
	clear(n.ready.Mesh)
	clear(n.ready.Events)
	n.ready.Mesh, n.ready.Events, n.ready.Drop = n.ready.Mesh[:0], n.ready.Events[:0], ""
}

func (n *Node) dropClients(text string) {
	if len(n.conns) > 0 {
		n.ready.Drop = text
	}
}

// anyStore tells whether anybody has a journal.
func (n *Node) anyStore() bool {
	for _, m := range n.electorate {
		if n.stores[m] != (journal.UUID{}) {
			return true
		}
	}
	return false
}
