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

// TestFullDiskHoldsNobody fills one member's disk. Publishers at the other one, which has none, are not
// held for it, as nobody knows how long that would be: what is durable is refused at once, the rest when
// the full member has no memory left. When its messages have been consumed all goes on.
func TestFullDiskHoldsNobody(t *testing.T) {
	for seed := range uint64(6) {
		o := newOrder(t, seed)
		d := o.newDisk()
		full := o.startOn(1<<32|1, Quorum{}, d, 1) // it pages from a MiB on
		full.cfg.MemoryBytes = 4 << 20
		other := o.startOn(2<<32|2, Quorum{}, nil, 0)
		o.settle()
		other.Connect(1)
		other.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
		})
		o.settle()
		d.SetCapacity(1)
		why := ""
		for n := 0; n < 600 && !strings.Contains(why, "memory limit reached at member 1/1"); n++ {
			other.ask(1, func(r *broker.Requests) {
				p := durable("q", strings.Repeat("x", 40<<10))
				p.Flags &= byte(n % 2)
				p.Conn = 1
				r.Publish(p)
			})
			o.settle() // which sees that nobody is held
			why = lastResult(other.got[1])
		}
		if !strings.Contains(why, "memory limit reached at member 1/1") {
			t.Fatalf("seed %d: 24 MiB were taken, a member has 4: %q", seed, why)
		}
		if used := full.log.Stats().MemoryBytes; used > 10<<20 {
			t.Fatalf("seed %d: a member takes %d bytes of memory where 4 MiB are its limit", seed, used)
		}
		contents(t, o, other, "q")
		other.ask(1, func(r *broker.Requests) {
			r.QueuePurge(&broker.QueuePurge{Conn: 1, Name: "q"})
		})
		o.settle()
		other.ask(1, func(r *broker.Requests) {
			p := publish("q", "again")
			p.Conn = 1
			r.Publish(p)
		})
		o.settle()
		if why := lastResult(other.got[1]); why != "" {
			t.Fatalf("seed %d: refused after all was consumed: %s", seed, why)
		}
	}
}

// lastResult is how the last request of a connection ended; "" is well.
func lastResult(list []broker.Answer) (text string) {
	result, number := "", uint64(0)
	for i := range list {
		switch a := &list[i]; a.Kind {
		case broker.AnsResult:
			result, number = a.Result.Text, a.Number
		case broker.AnsCompleted:
			if text = ""; a.Number == number {
				text = result
			}
		}
	}
	return text
}

// TestWritesThatFindNoRoomHoldNobody has more ordered than a member has files for, and then its disk is
// full: what waits to be written waits for room, and publishers do not.
func TestWritesThatFindNoRoomHoldNobody(t *testing.T) {
	for seed := range uint64(6) {
		o := newOrder(t, seed)
		d := o.newDisk()
		full := o.startOn(1<<32|1, Quorum{}, d, 1) // it pages from a MiB on
		other := o.startOn(2<<32|2, Quorum{}, nil, 0)
		o.settle()
		other.Connect(1)
		other.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
		})
		o.settle()
		d.SetCapacity(1)
		other.ask(1, func(r *broker.Requests) {
			for range 100 {
				p := durable("q", strings.Repeat("x", 80<<10))
				p.Conn = 1
				r.Publish(p)
			}
		})
		for i := 0; full.log.Tight() == nil || full.log.Writing() == 0 || full.Held() || other.Held(); i++ {
			if o.step(); i > 20000 {
				t.Fatalf("seed %d: held %v and %v, %d bytes wait to be written: %v", seed, full.Held(), other.Held(), full.log.Writing(), full.log.Tight())
			}
		}
		d.SetCapacity(0)
		o.settle()
		if got, _ := contents(t, o, other, "q"); len(got) != 100 {
			t.Fatalf("seed %d: %d messages of 100 when there was room again", seed, len(got))
		}
	}
}
