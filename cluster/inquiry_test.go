package cluster

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestInquiries purges and counts a queue from a member that does not dispatch it, with what was
// asked behind that already on its way. Answers come in the order of the requests, and tell what is
// true of the queue wherever it is asked; also if its dispatcher dies meanwhile.
func TestInquiries(t *testing.T) {
	for seed := range uint64(60) {
		o := newOrder(t, seed)
		a, _, c := o.start(1, 3), o.start(2, 3), o.start(3, 3)
		o.settle()
		a.Connect(1)
		c.Connect(1)
		c.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q"})
			r.Subscribe(&broker.Subscribe{Conn: 1, Consumer: 1, Queue: "q"})
			r.Credit(1, 2, false)
		})
		o.settle()
		a.ask(1, func(r *broker.Requests) {
			for range 10 {
				r.Publish(&broker.Publish{Conn: 1, Format: broker.FormatAMQP091, Key: []byte("q")})
			}
		})
		o.settle()
		a.got = map[broker.ConnID][]broker.Answer{}
		a.ask(1, func(r *broker.Requests) {
			passive := &broker.QueueDeclare{Conn: 1, Name: "q", Passive: true}
			r.QueueDeclare(passive) // 11
			r.QueuePurge(&broker.QueuePurge{Conn: 1, Name: "q"})
			r.QueueDeclare(passive) // 13
			r.Query("q")
			r.Publish(&broker.Publish{Conn: 1, Format: broker.FormatAMQP091, Key: []byte("q")})
			r.QueueDeclare(passive) // 16
		})
		killed := seed%2 == 1
		if killed {
			for range o.rand.IntN(60) {
				o.step()
			}
			o.kill(c)
		}
		o.settle()
		var results []uint64
		counts := map[uint64]uint64{}
		done := uint64(10)
		for _, x := range a.got[1] {
			switch x.Kind {
			case broker.AnsResult:
				if x.Number <= done {
					t.Errorf("seed %d: the result of %d comes when it was done already", seed, x.Number)
				}
				results = append(results, x.Number)
				counts[x.Number] = x.Result.Messages
			case broker.AnsCompleted:
				done = x.Number
			}
		}
		if done != 16 || len(results) != 5 {
			t.Fatalf("seed %d: done up to %d, with results of %v", seed, done, results)
		}
		for i := 1; i < len(results); i++ {
			if results[i] < results[i-1] {
				t.Errorf("seed %d: results of %v", seed, results)
			}
		}
		// Whether what the consumer held came back before or after it was asked for, nobody can say.
		if !killed && (counts[11] != 8 || counts[12] != 8 || counts[13] != 0 || counts[16] != 1) {
			t.Errorf("seed %d: counts %v", seed, counts)
		}
		for _, n := range o.live() {
			if left, _ := n.broker.Depth("q"); !killed && left != 3 || killed && (left < 1 || left > 3) {
				t.Errorf("seed %d: member %d has %d messages", seed, n.id, left)
			}
			if len(n.inquiries) > 0 {
				t.Errorf("seed %d: member %d still waits: %v", seed, n.id, n.inquiries)
			}
		}
	}
}
