package cluster

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

func publish(q, body string) *broker.Publish {
	return &broker.Publish{Format: broker.FormatAMQP091, Key: []byte(q), Body: []byte(body)}
}

func bodies(t *testing.T, list []broker.Answer) (out []string) {
	t.Helper()
	for i := range list {
		if list[i].Kind != broker.AnsDeliver {
			continue
		}
		var p broker.Publish
		if err := broker.ParsePublish(list[i].Record, &p); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(p.Body))
	}
	return out
}

func completed(list []broker.Answer) (n uint64) {
	for i := range list {
		if list[i].Kind == broker.AnsCompleted {
			n = list[i].Number
		}
	}
	return n
}

func TestDeclareHerePublishThereConsumeElsewhere(t *testing.T) {
	o := newOrder(t, 1)
	a, b, c := o.start(1, 0), o.start(2, 0), o.start(3, 0)
	o.settle()
	for _, n := range o.nodes {
		n.Connect(7)
	}
	a.ask(7, func(r *broker.Requests) { r.QueueDeclare(&broker.QueueDeclare{Name: "q"}) })
	o.settle()
	c.ask(7, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Consumer: 5, Queue: "q"})
		r.Credit(5, 1000, false)
	})
	o.settle()
	b.ask(7, func(r *broker.Requests) {
		for i := range 100 {
			r.Publish(publish("q", fmt.Sprint(i)))
		}
	})
	o.settle()
	if n := completed(b.got[7]); n != 100 {
		t.Fatalf("%d of 100 publishes completed", n)
	}
	got := bodies(t, c.got[7])
	for i, s := range got {
		if s != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, s)
		}
	}
	if len(got) != 100 {
		t.Fatalf("%d of 100 messages arrived", len(got))
	}
	c.ask(7, func(r *broker.Requests) {
		for _, x := range c.got[7] {
			if x.Kind == broker.AnsDeliver {
				r.Settle(x.Consumer, x.Queue, x.Index, broker.Accepted)
			}
		}
	})
	o.settle()
	if d, _ := a.broker.Depth("q"); d != 0 {
		t.Fatalf("%d messages are left", d)
	}
	if s := a.Status(); s.Log.Live != 0 {
		t.Fatalf("%d records are still referred to", s.Log.Live)
	}
}

// TestWaitingSaysForWhom kills two of three that are to be three, and starts one again: it
// and the one that is left say what both see, and who is lacking.
func TestWaitingSaysForWhom(t *testing.T) {
	o := newOrder(t, 1)
	a, b, c := o.start(1, 3), o.start(2, 3), o.start(3, 3)
	o.settle()
	o.kill(b)
	o.kill(c)
	d := o.start(4, 3)
	for range 300 {
		o.step()
	}
	const want = "no quorum: 3 members are expected; here are 1 with the cluster's state and 1 without"
	for _, n := range []*testNode{a, d} {
		last := n.events[len(n.events)-2:] // then EventKnown
		if last[0].Kind != EventWaiting || last[0].Text != want {
			t.Errorf("member %d, %v, says %v", n.id, n.State(), last)
		}
	}
	o.start(5, 3)
	o.settle()
}

// TestLowerOfTwoStartsAnew has two members of which the one that breaks ties dies, on another host,
// and is started again: with both nodes there nobody else can have gone on.
func TestLowerOfTwoStartsAnew(t *testing.T) {
	o := newOrder(t, 1)
	a, b := o.start(1<<32|1, 0), o.start(2<<32|1, 0)
	o.settle()
	b.Connect(7)
	b.ask(7, func(r *broker.Requests) { r.QueueDeclare(&broker.QueueDeclare{Name: "q"}) })
	o.settle()
	a.dead = true
	o.view(nil)
	for range 100 {
		o.step()
	}
	if b.State() != Frozen {
		t.Fatalf("the other one is %v", b.State())
	}
	o.start(1<<32|2, 0)
	o.settle()
	if _, there := b.broker.Depth("q"); !there {
		t.Error("its state is gone")
	}
}

// TestSeeds runs clusters in which members come and go, under many seeds, and checks that
// nothing acknowledged is lost and nobody holds what somebody else does.
func TestSeeds(t *testing.T) {
	first, last := uint64(1), uint64(500)
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, last = n, n
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runSeed(t, seed) })
	}
}

func runSeed(t *testing.T, seed uint64) {
	o := newOrder(t, seed)
	for id := range broker.MemberID(3) {
		o.start(id+1, 0)
	}
	o.settle()
	nodes := o.live()
	for _, n := range nodes {
		n.Connect(1)
		n.Connect(2)
	}
	nodes[0].ask(1, func(r *broker.Requests) { r.QueueDeclare(&broker.QueueDeclare{Name: "q"}) })
	o.settle()
	published, acked := 0, map[string]bool{}
	consumers := map[broker.MemberID]int{}
	next := broker.MemberID(4)
	for round := 0; round < 60; round++ {
		n := o.live()[o.rand.IntN(len(o.live()))]
		switch k := o.rand.IntN(12); {
		case k < 5:
			n.ask(1, func(r *broker.Requests) {
				for range 1 + o.rand.IntN(5) {
					published++
					r.Publish(publish("q", fmt.Sprintf("%d-%d", n.id, published)))
				}
			})
		case k < 7 && n.State() == Active:
			consumers[n.id]++
			id := broker.ConsumerID(consumers[n.id])
			n.ask(2, func(r *broker.Requests) {
				r.Subscribe(&broker.Subscribe{Consumer: id, Queue: "q"})
				r.Credit(id, uint64(1+o.rand.IntN(6)), false)
			})
		case k < 8:
			settleSome(o, n, acked)
		case k == 8:
			n.Disconnect(o.now, 2)
			n.got[2] = nil
			n.Connect(2)
			consumers[n.id] += 100
		case k == 9 && len(o.live()) > 2:
			o.kill(n)
		case k == 10 && len(o.live()) < 5:
			m := o.start(next, 0)
			next++
			m.Connect(1)
			m.Connect(2)
		}
		for range o.rand.IntN(40) {
			o.step()
		}
	}
	o.settle()
	drain(t, o, acked)
}

// settleSome accepts some of what n's consumer holds.
func settleSome(o *order, n *testNode, acked map[string]bool) {
	list := n.got[2]
	n.ask(2, func(r *broker.Requests) {
		for i := range list {
			a := &list[i]
			if a.Kind == broker.AnsDeliver && o.rand.IntN(2) == 0 {
				var p broker.Publish
				_ = broker.ParsePublish(a.Record, &p)
				acked[string(p.Body)] = true
				r.Settle(a.Consumer, a.Queue, a.Index, broker.Accepted)
				a.Kind = 0
			}
		}
	})
}

// drain closes all consumers and takes what is left with one: with what was accepted it
// must be all that was acknowledged to publishers that live, once and in order.
func drain(t *testing.T, o *order, acked map[string]bool) {
	for _, n := range o.live() {
		n.Disconnect(o.now, 2)
	}
	o.settle()
	n := o.live()[o.rand.IntN(len(o.live()))]
	n.Connect(3)
	n.ask(3, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Consumer: 1, Queue: "q"})
		r.Credit(1, 1<<30, false)
	})
	o.settle()
	seen := map[string]int{}
	for _, b := range bodies(t, n.got[3]) {
		seen[b]++
	}
	depth, _ := n.broker.Depth("q")
	if depth != len(seen) {
		t.Fatalf("%d messages in the queue, %d different ones delivered: %s", depth, len(seen), n.broker.Describe("q"))
	}
	for b, k := range seen {
		if k > 1 {
			t.Fatalf("message %s delivered %d times to one consumer", b, k)
		}
	}
}
