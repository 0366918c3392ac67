package cluster

import (
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestPublishersAreHeld has one member's disk fall behind: publishers are held there and at the other
// member, until it has caught up, or has died.
func TestPublishersAreHeld(t *testing.T) {
	for _, dies := range []bool{false, true} {
		for seed := range uint64(20) {
			o := newOrder(t, seed)
			slow := o.startOn(1<<32|1, Quorum{}, o.newDisk(), 1) // it pages from a MiB on
			other := o.startOn(2<<32|2, Quorum{}, nil, 0)
			o.settle()
			other.Connect(1)
			other.ask(1, func(r *broker.Requests) {
				r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
			})
			o.settle()
			held := false
			for n := 0; n < 200 && !held; n++ {
				other.ask(1, func(r *broker.Requests) {
					p := durable("q", strings.Repeat("x", 40<<10))
					if n%2 == 0 {
						p.Flags = 0 // those go to a file of their own
					}
					p.Conn = 1
					r.Publish(p)
				})
				for i := 0; i < 20 && !held; i++ {
					o.step()
					held = slow.Held() && other.Held()
				}
			}
			if !held {
				t.Fatalf("seed %d: publishers were never held", seed)
			}
			if dies {
				o.kill(slow)
				for i := 0; other.Held(); i++ {
					if o.step(); i > 10000 {
						t.Fatalf("seed %d: publishers are held for a member that is dead", seed)
					}
				}
				continue
			}
			o.settle() // which sees that nobody is held
		}
	}
}
