package sim

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
)

func number(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, s, err)
	}
	return n
}

// TestSeeds runs many short lives of clusters, SEEDS=n of them from FIRST=n on. SEED=n replays one,
// with a trace.
func TestSeeds(t *testing.T) {
	if seed := number(t, "SEED", 0); seed != 0 {
		live(t, seed, true)
		return
	}
	first, count := number(t, "FIRST", 1), number(t, "SEEDS", 1000)
	if testing.Short() {
		count = min(count, 100)
	}
	const groups = 2
	for g := range uint64(groups) {
		t.Run(fmt.Sprintf("group %d", g), func(t *testing.T) {
			t.Parallel()
			for seed := first + g; seed < first+count; seed += groups {
				live(t, seed, false)
			}
		})
	}
}

// live is one short life.
func live(t *testing.T, seed uint64, trace bool) {
	size := []int{5, 3, 4, 3, 5, 2, 4, 5}[seed%8]
	w := newWorld(t, seed, size, trace)
	w.quorum = map[uint64]cluster.Quorum{
		4: {Expected: 5, WaitForAll: true, LastManStanding: true, Window: 100 * time.Millisecond},
		5: {Expected: 2, WaitForAll: true, TwoNode: true},
		6: {Expected: 4, TieBreaker: cluster.TieLowest},
		7: {Expected: 2, AllowDownscale: true, Tracking: true},
	}[seed%8]
	for i := range size {
		w.start(i)
		if w.net.Rand.IntN(2) == 0 {
			w.run(time.Duration(w.net.Rand.IntN(300)) * time.Millisecond)
		}
	}
	w.rest()
	for q := range queues {
		w.members[0].connect().declare(fmt.Sprintf("q%d", q))
	}
	w.run(50 * time.Millisecond)
	for range 35 {
		w.act()
		w.run(w.pause())
	}
	w.rest()
	w.finish()
}

// act does one thing to the cluster or lets a client do one.
func (w *world) act() {
	r := w.net.Rand
	m := w.members[r.IntN(len(w.members))]
	queue := fmt.Sprintf("q%d", r.IntN(queues))
	switch k := r.IntN(100); {
	case k < 3 && w.calm() && !w.quorum.TwoNode: // else both go on
		w.part()
	case k < 5:
		w.heal()
	case k < 12 && w.quorum.AllowDownscale && w.united() && m != nil && r.IntN(3) > 0:
		w.quit(m)
	case k < 7 && w.disks != nil:
		for _, x := range w.members {
			if x != nil {
				w.crash(x)
			}
		}
	case k < 9 && w.disks != nil && m != nil:
		w.crash(m) // whoever is left
	case k < 11 && w.calm() && m != nil:
		w.crash(m)
		if o := w.members[r.IntN(len(w.members))]; o != nil && !w.quorum.TwoNode && r.IntN(3) == 0 {
			w.crash(o) // one that is left knows of both
		}
	case k < 16:
		w.restart()
	case k < 20:
		w.weather()
	case m == nil || m.node.State() != cluster.Active:
		return
	case k < 35:
		m.publisher().wild()
	case k < 55:
		m.publisher().publish(queue, 1+r.IntN(8))
	case k < 70:
		m.connect().consume(queue)
	case k < 95:
		if len(m.clients) > 0 {
			m.clients[r.IntN(len(m.clients))].settle(false)
		}
	default:
		if len(m.clients) > 0 {
			c := m.clients[r.IntN(len(m.clients))]
			if r.IntN(2) == 0 {
				c.cancel()
			} else {
				c.close()
			}
		}
	}
}

// united tells whether one that leaves leaves two at the least, all of which have the state.
func (w *world) united() bool {
	up := 0
	for _, m := range w.members {
		if m != nil && m.node.State() != cluster.Active {
			return false
		}
		if m != nil {
			up++
		}
	}
	return up > 2 && w.whole()
}

// calm tells whether one more blow leaves somebody with the state: all are active and the
// network is whole.
func (w *world) calm() bool { return w.whole() && w.settled() }

func (w *world) restart() {
	for i, m := range w.members {
		if m == nil {
			w.logf("start %d", i+1)
			w.start(i)
			return
		}
	}
}

// weather changes how packets fare.
func (w *world) weather() {
	r := w.net.Rand
	w.net.Faults = ringtest.Quiet()
	if r.IntN(2) == 0 {
		w.net.Faults.Loss = float64(r.IntN(6)) / 100
		w.net.Faults.Duplicate = float64(r.IntN(5)) / 100
		w.net.Faults.Jitter = time.Duration(r.IntN(300)) * time.Microsecond
	}
}

// publisher is the member's connection that publishes.
func (m *member) publisher() *client {
	for _, c := range m.clients {
		if c.consumer == 0 {
			return c
		}
	}
	return m.connect()
}

// finish closes all clients and takes what is left with one consumer.
func (w *world) finish() {
	for _, m := range w.members {
		m.dropClients()
	}
	// What the mesh still carries, a slow one there and back, has to come to rest.
	w.run(400 * time.Millisecond)
	last := w.members[w.net.Rand.IntN(len(w.members))]
	got := map[string]bool{}
	for q := range queues {
		c := last.connect()
		c.consumer, c.credit = 1, 1<<40
		c.ask(func(r *broker.Requests) {
			r.Subscribe(&broker.Subscribe{Conn: c.id, Consumer: 1, Queue: fmt.Sprintf("q%d", q)})
			r.Credit(1, c.credit, false)
		})
		w.run(400 * time.Millisecond)
		for _, h := range c.held {
			got[h.body] = true
		}
		if depth, _ := last.node.Broker().Depth(fmt.Sprintf("q%d", q)); depth != len(c.held) {
			w.t.Fatalf("seed %d: %d messages in q%d, %d delivered: %s", w.seed, depth, q, len(c.held), last.node.Broker().Describe(fmt.Sprintf("q%d", q)))
		}
		if !slices.IsSorted(c.order) {
			w.t.Fatalf("seed %d: q%d is delivered out of order: %v", w.seed, q, c.order)
		}
		c.settle(true)
	}
	last.connect().ask(func(r *broker.Requests) {
		for i := range 3 {
			r.QueueDelete(&broker.QueueDelete{Name: fmt.Sprintf("x%d", i)})
		}
	})
	w.run(400 * time.Millisecond)
	w.check.final(got)
	for _, m := range w.members {
		if live := m.node.Status().Log.Live; live != 0 {
			w.t.Fatalf("seed %d: member %d: %d records are referred to and no queue has any", w.seed, m.slot+1, live)
		}
	}
}
