package cluster

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestGetFollowsWhatWasAsked gets from a queue what the same client has published just before, and
// from one that it has just declared, on the queue's dispatcher and elsewhere.
func TestGetFollowsWhatWasAsked(t *testing.T) {
	for seed := range uint64(20) {
		o := newOrder(t, seed)
		a, b := o.start(1, 2), o.start(2, 2)
		o.settle()
		for i, n := range []*testNode{a, b} {
			n.Connect(1)
			n.ask(1, func(r *broker.Requests) {
				r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q"})
				r.Publish(publish("q", "x"))
				r.Query("q")
				r.Get(1, "q", true)
				r.Get(2, "q", true)
				r.QueueDelete(&broker.QueueDelete{Conn: 1, Name: "none"})
				r.Get(3, "none", true)
			})
			o.settle()
			got := bodies(t, n.got[1])
			empty := 0
			for _, x := range n.got[1] {
				if x.Kind == broker.AnsEmpty {
					empty++
				}
			}
			if len(got) != 1 || empty != 2 {
				t.Errorf("seed %d, member %d: got %q, and %d times nothing", seed, i+1, got, empty)
			}
		}
	}
}

// TestSettledGoesFirst deletes a queue, if it is empty, whose only message was accepted just before.
func TestSettledGoesFirst(t *testing.T) {
	o := newOrder(t, 1)
	a, b := o.start(1, 2), o.start(2, 2)
	o.settle()
	for _, n := range []*testNode{a, b} {
		n.Connect(1)
		n.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q"})
			r.Publish(publish("q", "x"))
			r.Get(1, "q", false)
		})
		o.settle()
		n.ask(1, func(r *broker.Requests) {
			for _, x := range n.got[1] {
				if x.Kind == broker.AnsDeliver {
					r.Settle(x.Consumer, x.Queue, x.Index, broker.Accepted)
				}
			}
			r.QueueDelete(&broker.QueueDelete{Conn: 1, Name: "q", IfEmpty: true})
		})
		o.settle()
		for _, x := range n.got[1] {
			if x.Kind == broker.AnsResult && x.Number == 3 && x.Result.Code != broker.OK {
				t.Errorf("member %d: %s", n.id, x.Result.Text)
			}
		}
		if _, there := n.broker.Depth("q"); there {
			t.Errorf("member %d: the queue is still there", n.id)
		}
	}
}
