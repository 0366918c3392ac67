package cluster

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// order is a total order without a ring: one list of messages and views, which every member
// takes at its own pace, chosen by the seed.
type order struct {
	t     *testing.T
	rand  *rand.Rand
	now   time.Duration
	items []item
	nodes []*testNode
	mesh  []meshItem
	ring  uint64
	// carried counts the bytes that the mesh has carried.
	carried int
	// checkpointBytes is how seldom members write checkpoints, where the usual is too often.
	checkpointBytes int64
	// unix is the time of day when members start, less the time that has passed here.
	unix int64
	// memoryBytes is what messages may take; 0 is no limit.
	memoryBytes int64
}

type item struct {
	from broker.MemberID
	data []byte
	view *View
}

type meshItem struct {
	from, to broker.MemberID
	data     []byte
}

type testNode struct {
	*Node
	o      *order
	id     broker.MemberID
	at     int // next item
	number uint64
	dead   bool
	disk   *faulty.Disk
	events []Event
	// answers of all connections, in order
	got map[broker.ConnID][]broker.Answer
}

func (t *testNode) MulticastLazily(parts ...[]byte) error { return t.Multicast(parts...) }

func (t *testNode) Multicast(parts ...[]byte) error {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	t.o.items = append(t.o.items, item{from: t.id, data: b})
	return nil
}

func (t *testNode) Room() int { return 1 << 20 }

func newOrder(t *testing.T, seed uint64) *order {
	return &order{t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Second}
}

func (o *order) start(id broker.MemberID, size int) *testNode { return o.startWith(id, All(size)) }

func (o *order) startWith(id broker.MemberID, q Quorum) *testNode { return o.startOn(id, q, nil, 0) }

// startOn starts a member with a disk, or without one.
func (o *order) startOn(id broker.MemberID, q Quorum, d *faulty.Disk, store byte) *testNode {
	n := &testNode{o: o, id: id, disk: d, got: map[broker.ConnID][]broker.Answer{}}
	cfg := Config{Self: id, ClusterID: ID{byte(id)}, Quorum: q, FormDelay: 10 * time.Millisecond,
		Grace: time.Second, Memory: journal.Heap{}, MemoryBytes: o.memoryBytes, Broker: broker.Config{Shards: 2, Unix: o.unix}}
	if d != nil {
		cfg.Disk, cfg.Files, cfg.Store, cfg.SegmentBytes = d, d, journal.UUID{store}, journal.BlockBytes+2*journal.ExtentBytes
		cfg.CheckpointBytes = cmp.Or(o.checkpointBytes, 64<<10)
		cfg.PagingBytes = int64(store%2) << 20 // what can leave memory beyond that does
	}
	n.Node = New(cfg, n)
	if d != nil {
		if _, err := n.Recover(o.now); err != nil {
			o.t.Fatalf("member %d: %v", id, err)
		}
	}
	n.at = len(o.items)
	o.nodes = append(o.nodes, n)
	o.view(nil)
	return n
}

func (o *order) live() (list []*testNode) {
	for _, n := range o.nodes {
		if !n.dead {
			list = append(list, n)
		}
	}
	return list
}

// view orders a view of those that live; a joiner comes alone.
func (o *order) view(clean []broker.MemberID) {
	o.ring++
	v := &View{RingRep: 1, RingSeq: o.ring, LeftCleanly: clean}
	for _, n := range o.live() {
		v.Members = append(v.Members, n.id)
	}
	o.items = append(o.items, item{view: v})
}

func (o *order) kill(n *testNode) {
	n.dead = true
	o.mesh = slices.DeleteFunc(o.mesh, func(m meshItem) bool { return m.from == n.id })
	o.view(nil)
	for _, m := range o.live() {
		m.Dead(o.now, n.id)
	}
}

// step lets one member, picked at random, take one thing.
func (o *order) step() (busy bool) {
	o.now += time.Millisecond
	live := o.live()
	n := live[o.rand.IntN(len(live))]
	switch {
	case n.at < len(o.items) && o.rand.IntN(3) > 0:
		o.deliver(n)
	case len(o.mesh) > 0:
		o.deliverMesh()
	}
	if n.disk != nil && o.rand.IntN(3) > 0 {
		n.disk.Step()
	}
	n.Tick(o.now)
	more := n.Flush(o.now)
	if wrote := n.take(); !more && !wrote {
		n.mustRest()
	}
	for _, n := range live {
		busy = busy || n.at < len(o.items) || n.disk != nil && (n.disk.Waiting() > 0 || n.log.Unsynced())
	}
	return busy || len(o.mesh) > 0
}

// mustRest sees that there is nothing to do when Flush has said so: nobody would call again.
func (n *testNode) mustRest() {
	n.o.t.Helper()
	said := len(n.o.items)
	n.Flush(n.o.now)
	if r := n.Ready(); len(r.Answers)+len(r.Mesh)+len(r.Events) > 0 || len(n.o.items) > said {
		n.o.t.Fatalf("member %d had more to do than it said: %d answers, %d mesh messages, %v, %d messages", n.id, len(r.Answers), len(r.Mesh), r.Events, len(n.o.items)-said)
	}
	n.Done()
}

func (o *order) deliver(n *testNode) {
	it := o.items[n.at]
	n.at++
	if it.view != nil {
		v := *it.view
		for _, m := range v.Members {
			if m == n.id || slices.Contains(n.view.members, m) && slices.Contains(n.view.members, n.id) {
				v.Came = append(v.Came, m)
			}
		}
		n.View(o.now, &v)
		return
	}
	n.number++
	cut := o.rand.IntN(len(it.data) + 1)
	n.Message(o.now, n.number, it.from, [][]byte{it.data[:cut], it.data[cut:]})
	n.Flush(o.now)
	n.Safe(n.number)
}

func (o *order) deliverMesh() {
	m := o.mesh[0]
	o.mesh = o.mesh[1:]
	o.carried += len(m.data)
	for _, n := range o.live() {
		if n.id == m.to {
			n.Mesh(o.now, m.from, m.data)
			n.Flush(o.now)
			n.take()
		}
	}
}

// take takes what there is, and tells whether it has told the member of something in turn: that a client
// has read.
func (n *testNode) take() (wrote bool) {
	r := n.Ready()
	for _, a := range r.Answers {
		n.got[a.Conn] = append(n.got[a.Conn], a.List...)
		var bytes, count int64
		for i := range a.List {
			if a.List[i].Pin != nil {
				a.List[i].Record = slices.Clone(a.List[i].Record)
				bytes += int64(len(a.List[i].Record))
				count++
			}
		}
		n.got[a.Conn] = slices.Concat(n.got[a.Conn][:len(n.got[a.Conn])-len(a.List)], a.List)
		broker.Unpin(a.List)
		n.Written(a.Conn, bytes, count)
		wrote = wrote || count > 0
	}
	for _, m := range r.Mesh {
		n.o.mesh = append(n.o.mesh, meshItem{n.id, m.To, m.Data})
	}
	n.events = append(n.events, r.Events...)
	n.Done()
	return wrote
}

func (o *order) settle() {
	o.t.Helper()
	for i := 0; i < 200000; i++ {
		if !o.step() && i > 200 {
			o.check()
			return
		}
	}
	o.t.Fatal("does not come to rest")
}

// check compares members at the same index.
func (o *order) check() {
	o.t.Helper()
	live := o.live()
	for _, n := range live {
		if n.State() != Active {
			o.t.Fatalf("member %d is %v: %v", n.id, n.State(), n.events)
		}
		i, c := n.Position()
		j, d := live[0].Position()
		if i != j || c != d || n.broker.Hash() != live[0].broker.Hash() {
			o.t.Fatalf("members %d and %d differ: index %d and %d, chain %x and %x, hash %x and %x",
				n.id, live[0].id, i, j, c, d, n.broker.Hash(), live[0].broker.Hash())
		}
		if n.Held() {
			o.t.Fatalf("member %d holds its publishers, and nothing is on its way to a disk", n.id)
		}
	}
}

func (n *testNode) ask(c broker.ConnID, f func(r *broker.Requests)) {
	var r broker.Requests
	f(&r)
	n.Requests(n.o.now, c, &r)
}
