package cluster

import (
	"fmt"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestNothingSticksWhileFrozen kills the half with the lowest ids of a cluster, so that the
// others have no quorum until they know that those are dead. What one of them says to another
// meanwhile is not lost: all that is in the queue comes to the consumers that are left.
func TestNothingSticksWhileFrozen(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newFrozenWork(t, seed)
			w.publish(w.o.rand.IntN(20))
			w.mourn()
			w.publish(0)
			w.o.settle()
			w.check()
		})
	}
}

// TestNothingSticksThoughVoid is the same with a newcomer while there is no quorum. What was
// ordered before it came is void, among it the ends of holds, and the clients are told to go:
// what they held comes to those that connect afterwards.
func TestNothingSticksThoughVoid(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newFrozenWork(t, seed)
			w.accept()
			w.publish(w.o.rand.IntN(20))
			w.o.start(5, 0)
			for range 100 {
				w.o.step()
			}
			w.mourn()
			w.o.settle()
			depth, _ := w.left[0].broker.Depth("q")
			w.published = depth
			w.consume()
			w.o.settle()
			w.check()
		})
	}
}

// frozenWork is two members with publishers and consumers, and two that they have lost.
type frozenWork struct {
	t          *testing.T
	o          *order
	left, dead []*testNode
	published  int
	conn       broker.ConnID // of the consumers
}

func newFrozenWork(t *testing.T, seed uint64) *frozenWork {
	o := newOrder(t, seed)
	for id := range broker.MemberID(4) {
		o.start(id+1, 0)
	}
	o.settle()
	w := &frozenWork{t: t, o: o, dead: o.live()[:2], left: o.live()[2:], conn: 2}
	w.left[0].Connect(1)
	w.left[0].ask(1, func(r *broker.Requests) { r.QueueDeclare(&broker.QueueDeclare{Name: "q"}) })
	o.settle()
	w.left[1].Connect(1)
	w.consume()
	for range 5 {
		w.publish(o.rand.IntN(60))
	}
	for _, n := range w.dead {
		n.dead = true
	}
	o.view(nil)
	return w
}

// consume connects a consumer to each that is left, in the place of the one before.
func (w *frozenWork) consume() {
	for _, n := range w.left {
		n.Disconnect(w.o.now, w.conn)
	}
	w.conn++
	for _, n := range w.left {
		n.Connect(w.conn)
		n.ask(w.conn, func(r *broker.Requests) {
			r.Subscribe(&broker.Subscribe{Consumer: 1, Queue: "q"})
			r.Credit(1, 1000, false)
		})
	}
}

func (w *frozenWork) publish(steps int) {
	for _, n := range w.left {
		n.ask(1, func(r *broker.Requests) {
			for range 1 + w.o.rand.IntN(5) {
				w.published++
				r.Publish(publish("q", fmt.Sprint(w.published)))
			}
		})
	}
	for range steps {
		w.o.step()
	}
}

// accept ends holds, each as chance has it.
func (w *frozenWork) accept() {
	for _, n := range w.left {
		list := n.got[w.conn]
		n.ask(w.conn, func(r *broker.Requests) {
			for i := range list {
				if a := &list[i]; a.Kind == broker.AnsDeliver && w.o.rand.IntN(2) == 0 {
					r.Settle(a.Consumer, a.Queue, a.Index, broker.Accepted)
				}
			}
		})
	}
}

// mourn makes the deaths known.
func (w *frozenWork) mourn() {
	for _, n := range w.left {
		for _, d := range w.dead {
			n.Dead(w.o.now, d.id)
		}
	}
}

func (w *frozenWork) check() {
	w.t.Helper()
	came := 0
	for _, n := range w.left {
		came += len(bodies(w.t, n.got[w.conn]))
	}
	if came != w.published {
		w.t.Fatalf("%d of %d messages came: %s; %s", came, w.published, w.left[0].broker.Describe("q"), w.left[1].broker.Describe("q"))
	}
}
