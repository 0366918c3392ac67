package sim

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// member is one broker: a ring machine and a node, joined as the daemon joins them.
type member struct {
	w    *world
	slot int
	id   broker.MemberID
	ring *ringtest.Node
	node *cluster.Node
	safe uint64
	view []broker.MemberID

	clients  []*client
	lastConn broker.ConnID
	active   bool          // was active once
	diskAt   time.Duration // when its disk does something; 0: it has nothing to do
}

// start starts the member of a slot, with a process id of its own.
func (w *world) start(slot int) *member {
	w.pid++
	m := &member{w: w, slot: slot, id: broker.MemberID(slot+1)<<32 | broker.MemberID(w.pid)}
	w.members[slot] = m
	ring, err := ringtest.Start(w.net, cpg.Config{Group: "sim", PID: w.pid, Totem: totem.Config{
		Node: wire.NodeID(slot + 1), RingSeq: w.ringSeq[slot], MaxMessages: 16, WindowSize: 40, MaxWindow: 40 << (slot % 3), NetMTU: 500, MaxNetMTU: 500 << (slot % 3),
		Token: 200 * time.Millisecond, Join: 20 * time.Millisecond, Merge: 50 * time.Millisecond,
		Plain: w.net.Rand.IntN(5) == 0,
	}}, func(n *ringtest.Node, r *cpg.Ready) { m.take(r) })
	if err != nil {
		w.t.Fatal(err)
	}
	m.ring = ring
	var id cluster.ID
	id[0], id[1] = byte(slot+1), byte(w.pid)
	quorum := w.quorum
	quorum.Tracked = w.tracked[slot]
	cfg := cluster.Config{Self: m.id, ClusterID: id, Quorum: quorum, FormDelay: 150 * time.Millisecond,
		Grace: 300 * time.Millisecond, Memory: poison{}, Broker: broker.Config{Memory: poison{}, Shards: 1 + slot%3}}
	if w.disks != nil {
		d := w.disks[slot]
		cfg.Disk, cfg.Files, cfg.Store, cfg.SegmentBytes = d, d, journal.UUID{byte(slot + 1)}, journal.BlockBytes+journal.ExtentBytes
		cfg.CheckpointBytes = 16 << 10
		cfg.PagingBytes = int64(slot%2) << 20 // what can leave memory beyond that does
	}
	m.node = cluster.New(cfg, m)
	if w.disks != nil {
		if _, err := m.node.Recover(w.net.Now()); err != nil {
			w.t.Fatalf("seed %d: member %d: %v", w.seed, slot+1, err)
		}
		_, index, messages, _ := m.node.Recovered()
		w.logf("%d: recovered up to %d, %d messages", slot+1, index, messages)
	}
	ring.Do()
	return m
}

// Multicast and Room make a member its node's group.
func (m *member) Multicast(parts ...[]byte) error { return m.ring.Machine.Multicast(parts...) }

// MulticastLazily is of the group too.
func (m *member) MulticastLazily(parts ...[]byte) error {
	return m.ring.Machine.MulticastLazily(parts...)
}

// Room is what the ring's queue still takes.
func (m *member) Room() int { return m.ring.Machine.Room() }

// take hands what the ring delivers to the node.
func (m *member) take(r *cpg.Ready) {
	if m.node == nil {
		return
	}
	now := m.w.net.Now()
	for i := range r.Events {
		ev := &r.Events[i]
		if ev.Message {
			m.node.Message(now, ev.Number, cluster.MemberOf(ev.From), ev.Parts)
			continue
		}
		v := cluster.ViewOf(ev.View)
		m.view = v.Members
		m.w.mesh.members(m.id, m.view)
		m.node.View(now, v)
	}
	m.safe = r.Safe
	m.settle()
}

// settle is what the daemon's engine does after each round.
func (m *member) settle() {
	now := m.w.net.Now()
	if next := m.node.Next(); next != 0 && now >= next {
		m.node.Tick(now)
	}
	for m.node.Flush(now) {
	}
	m.node.Safe(m.safe)
	r := m.node.Ready()
	for _, a := range r.Answers {
		if c := m.client(a.Conn); c != nil {
			c.take(a.List)
			continue
		}
		broker.Unpin(a.List)
	}
	for _, x := range r.Mesh {
		m.w.mesh.send(m.id, x.To, x.Data)
	}
	for _, ev := range r.Events {
		m.w.logf("%d: event %d from %x %s", m.slot+1, ev.Kind, uint64(ev.Member), ev.Text)
		if ev.Kind == cluster.EventTracked {
			m.w.tracked[m.slot] = m.node.Tracked()
		}
		if ev.Kind == cluster.EventJoined {
			m.active = true
		}
		if ev.Kind == cluster.EventFatal {
			m.w.t.Fatalf("seed %d: member %d: %s", m.w.seed, m.slot+1, ev.Text)
		}
	}
	drop := r.Drop != ""
	m.node.Done()
	if drop {
		m.dropClients()
	}
	if next := m.node.Next(); next != 0 {
		m.w.wake(m, next)
	}
	if m.w.disks != nil && m.diskAt == 0 && m.w.disks[m.slot].Waiting() > 0 {
		m.diskAt = now + time.Duration(1+m.w.net.Rand.IntN(2000))*time.Microsecond
		m.w.wake(m, m.diskAt)
	}
}

// poison is memory that shows when it is used after it was given back.
type poison struct{ journal.Heap }

// Free spoils b.
func (poison) Free(b []byte) {
	for i := range b {
		b[i] = 0xA5
	}
}

// touch lets what was said to the node take effect, and what it multicasts leave.
func (m *member) touch() {
	m.settle()
	m.ring.Do()
}

func (m *member) client(id broker.ConnID) *client {
	for _, c := range m.clients {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (m *member) connect() *client {
	m.lastConn++
	c := &client{m: m, id: m.lastConn, held: map[place]hold{}, sent: map[uint64]string{}}
	m.clients = append(m.clients, c)
	m.node.Connect(c.id)
	return c
}

func (m *member) dropClients() {
	for _, c := range slices.Clone(m.clients) {
		c.close()
	}
}

// crash ends the member as kill -9 does. Those that can reach it see its mesh connection
// close.
func (w *world) crash(m *member) {
	w.logf("crash %d", m.slot+1)
	w.remove(m)
	for _, o := range w.members {
		if o != nil && w.reaches(o.slot, m.slot) {
			if w.net.Rand.IntN(8) > 0 {
				o.ring.Machine.Suspect(w.net.Now(), wire.NodeID(m.slot+1))
			}
			o.node.Dead(w.net.Now(), m.id)
			o.touch()
		}
	}
}

// quit has a member say goodbye, for which it has some time.
func (w *world) quit(m *member) {
	w.logf("quit %d", m.slot+1)
	m.ring.Machine.Leave(w.net.Now())
	m.ring.Do()
	w.run(w.pause())
	if w.members[m.slot] == m {
		w.remove(m)
	}
}

func (w *world) remove(m *member) {
	w.ringSeq[m.slot] = m.ring.Config.Totem.RingSeq
	m.ring.Crash()
	w.members[m.slot] = nil
	if w.disks != nil {
		w.disks[m.slot].Crash()
	}
	w.mesh.members(m.id, nil)
}
