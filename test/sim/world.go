package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// world is a cluster, its network and its clients, under one seed.
type world struct {
	t         testing.TB
	seed      uint64
	net       *ringtest.Net
	mesh      *mesh
	check     *check
	members   []*member
	ringSeq   []uint64
	side      []int // of each slot, while the network is parted
	pid       uint32
	published int
	meshDelay time.Duration // longest
	quorum    cluster.Quorum
	tracked   []int          // what each slot has kept of what was expected
	large     bool           // some messages are of many packets
	limited   bool           // a queue refuses what is too much for it
	disks     []*faulty.Disk // of each slot, in a world that has them: then all may die at once
	trace     bool
}

// worldHost is the mesh's place on the network, from which it is woken.
const worldHost wire.NodeID = 1000

const queues = 2

func newWorld(t testing.TB, seed uint64, size int, trace bool) *world {
	w := &world{t: t, seed: seed, net: ringtest.New(seed), members: make([]*member, size),
		ringSeq: make([]uint64, size), tracked: make([]int, size), side: make([]int, size), trace: trace}
	w.mesh = &mesh{w: w}
	w.meshDelay = []time.Duration{400 * time.Microsecond, 5 * time.Millisecond, 60 * time.Millisecond}[w.net.Rand.IntN(3)]
	w.large = w.net.Rand.IntN(6) == 0
	w.limited = w.net.Rand.IntN(2) == 0
	w.check = &check{w: w, done: map[string]bool{}, fresh: map[string]bool{}, free: map[string]bool{}, consumers: map[string]int{}, last: map[string]int{}, refused: map[string]bool{}}
	w.net.Attach(worldHost, meshHost{w})
	if seed%3 == 0 {
		for range size {
			w.disks = append(w.disks, faulty.New(faulty.Options{Rand: w.net.Rand, Done: func(op *journal.Op) { op.Finish() }}))
		}
	}
	return w
}

// meshHost hears the clock for the mesh, and for nodes.
type meshHost struct{ w *world }

func (meshHost) Receive(time.Duration, wire.Packet) {}

func (h meshHost) Wake(now time.Duration) time.Duration {
	h.w.mesh.deliver(now)
	next := h.w.mesh.next()
	for _, m := range h.w.members {
		if m == nil {
			continue
		}
		if m.diskAt != 0 && m.diskAt <= now {
			m.diskAt = 0
			for range 1 + h.w.net.Rand.IntN(4) {
				w := h.w.disks[m.slot]
				w.Step()
			}
			m.touch()
		}
		if due := m.node.Next(); due != 0 && due <= now {
			m.touch()
		}
		if due := cluster.Soonest(m.node.Next(), m.diskAt); due != 0 && (next == 0 || due < next) {
			next = max(due, now+time.Microsecond)
		}
	}
	return next
}

// wake has a member's node ticked when it wants to be.
func (w *world) wake(_ *member, at time.Duration) { w.net.WakeAt(worldHost, at) }

func (w *world) logf(format string, args ...any) {
	if w.trace {
		fmt.Printf("%12v "+format+"\n", append([]any{w.net.Now()}, args...)...)
	}
}

func (w *world) member(id broker.MemberID) *member {
	for _, m := range w.members {
		if m != nil && m.id == id {
			return m
		}
	}
	return nil
}

func (w *world) reaches(a, b int) bool { return w.side[a] == w.side[b] }

func (w *world) whole() bool {
	for _, s := range w.side {
		if s != 0 {
			return false
		}
	}
	return true
}

// run lets time pass, looking at every step.
func (w *world) run(d time.Duration) {
	end := w.net.Now() + d
	w.net.RunUntil(d, func() bool {
		w.check.step()
		return w.net.Now() >= end
	})
}

// part splits the network in two or three; heal undoes it.
func (w *world) part() {
	sides := make([][]wire.NodeID, 2+w.net.Rand.IntN(2))
	for i := range w.side {
		w.side[i] = w.net.Rand.IntN(len(sides))
		sides[w.side[i]] = append(sides[w.side[i]], wire.NodeID(i+1))
	}
	w.logf("part %v", w.side)
	w.net.Partition(append([][]wire.NodeID{append(sides[0], worldHost)}, sides[1:]...)...)
}

func (w *world) heal() {
	w.logf("heal")
	clear(w.side)
	w.net.Heal()
}

// settled tells whether all members are active, in one view, at one index.
func (w *world) settled() bool {
	var first *member
	for _, m := range w.members {
		if m == nil {
			return false
		}
		if m.node.State() != cluster.Active || len(m.view) != len(w.members) {
			return false
		}
		if first == nil {
			first = m
			continue
		}
		i, _ := m.node.Position()
		if j, _ := first.node.Position(); i != j {
			return false
		}
	}
	return true
}

// rest heals everything, starts who is missing, and waits until all is well.
func (w *world) rest() {
	w.t.Helper()
	w.heal()
	w.net.Faults = ringtest.Quiet()
	for i, m := range w.members {
		if m == nil {
			w.start(i)
		}
	}
	for range 400 {
		w.run(50 * time.Millisecond)
		if w.settled() {
			return
		}
	}
	for i, m := range w.members {
		p, _ := m.node.Position()
		w.t.Logf("member %d: %v at %d, ring %s, view %x", i+1, m.node.State(), p, m.ring.Machine.State(), m.view)
	}
	w.t.Fatalf("seed %d: the cluster does not come to rest within 20 s", w.seed)
}

// pause is how long nothing is done: mostly less than a token's round trips under way take,
// at times longer than it takes to notice that members are gone.
func (w *world) pause() time.Duration {
	if w.net.Rand.IntN(100) < 8 || !w.whole() && w.net.Rand.IntN(100) < 30 {
		return time.Duration(w.net.Rand.IntN(900)) * time.Millisecond
	}
	return time.Duration(w.net.Rand.IntN(20000)) * time.Microsecond
}
