package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// What was decided by looking at messages that are not durable has to stay decided when these are gone.

// limited is the options of a durable queue for so many messages, which refuses more.
func limited(messages uint64) broker.QueueOptions {
	return broker.QueueOptions{Durable: true, MaxLength: &messages, Overflow: broker.OverflowReject}
}

// again starts members anew after all have lost power.
func (o *order) again(disks []*faulty.Disk, pid broker.MemberID) (members []*testNode) {
	o.powerLoss()
	o.items = nil
	for i, d := range disks {
		members = append(members, o.startOn(broker.MemberID(i+1)<<32|pid, Quorum{}, d, byte(i+1)))
	}
	o.settle()
	return members
}

// send publishes one message, and returns what its publisher is told; "" is that it was taken.
func (o *order) send(n *testNode, p *broker.Publish) string {
	before := completed(n.got[1])
	n.ask(1, func(r *broker.Requests) {
		p.Conn = 1
		r.Publish(p)
	})
	for i := 0; completed(n.got[1]) == before; i++ {
		if o.step(); i > 100000 {
			o.t.Fatal("a publisher is never told")
		}
	}
	return lastResult(n.got[1])
}

// drain takes all that is in a queue.
func (o *order) drain(n *testNode, queue string) (list []string) {
	conn := broker.ConnID(2000 + len(n.got))
	n.Connect(conn)
	n.ask(conn, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: conn, Consumer: 1, Queue: queue, Settled: true})
		r.Credit(1, 1<<20, false)
	})
	o.settle()
	n.Disconnect(o.now, conn)
	o.settle()
	return bodies(o.t, n.got[conn])
}

// TestRefusedStaysRefused has a queue refuse a durable message for a transient one, which is gone when all
// members come back. What was refused does not come up, and takes nobody's room: what was taken is there.
func TestRefusedStaysRefused(t *testing.T) {
	for seed := range uint64(30) {
		o := newOrder(t, seed)
		members, disks := stored(o, 1)
		n := members[o.rand.IntN(3)]
		if n != members[0] {
			n.Connect(1)
		}
		n.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "small", Options: limited(2)})
		})
		o.settle()
		for life := range 3 {
			var want []string
			said := func(body, text string) {
				if text != "" {
					t.Fatalf("seed %d, life %d: %s: %s", seed, life, body, text)
				}
			}
			said("transient", o.send(n, publish("small", "transient")))
			said("first", o.send(n, durable("small", fmt.Sprintf("first %d", life))))
			for range 1 + o.rand.IntN(3) {
				if o.send(n, durable("small", "refused")) == "" {
					t.Fatalf("seed %d, life %d: a full queue took one more", seed, life)
				}
			}
			if o.rand.IntN(2) == 0 {
				o.drain(members[o.rand.IntN(3)], "small")
				said("second", o.send(n, durable("small", fmt.Sprintf("second %d", life))))
				said("third", o.send(n, durable("small", fmt.Sprintf("third %d", life))))
				want = []string{fmt.Sprintf("second %d", life), fmt.Sprintf("third %d", life)}
			} else {
				want = []string{fmt.Sprintf("first %d", life)}
			}
			members = o.again(disks, broker.MemberID(life+2))
			if got := o.drain(members[o.rand.IntN(3)], "small"); !slices.Equal(got, want) {
				t.Fatalf("seed %d, life %d: %q are there, %q were taken", seed, life, got, want)
			}
			n = members[o.rand.IntN(3)]
			n.Connect(1)
		}
	}
}

// TestNotEmptyStaysNotEmpty has the deletion of a queue, if it is empty, refused for a transient message.
func TestNotEmptyStaysNotEmpty(t *testing.T) {
	o := newOrder(t, 1)
	members, disks := stored(o, 1)
	n := members[0]
	remove := func(n *testNode) string {
		n.ask(1, func(r *broker.Requests) {
			r.QueueDelete(&broker.QueueDelete{Conn: 1, Name: "q", IfEmpty: true})
		})
		o.settle()
		return lastResult(n.got[1])
	}
	if text := o.send(n, publish("q", "transient")); text != "" {
		t.Fatal(text)
	}
	if remove(n) == "" {
		t.Fatal("a queue was deleted that was not empty")
	}
	if text := o.send(n, durable("q", "taken")); text != "" {
		t.Fatal(text)
	}
	members = o.again(disks, 2)
	if got := o.drain(members[1], "q"); !slices.Equal(got, []string{"taken"}) {
		t.Fatalf("%q are there", got)
	}
	members[0].Connect(1)
	if text := remove(members[0]); text != "" {
		t.Fatal(text)
	}
	members = o.again(disks, 3)
	if _, ok := members[2].broker.Depth("q"); ok {
		t.Error("a queue that was deleted is there")
	}
}

// TestDeadLettersAreMovedAtOnce has messages of all sizes rejected, so that they go to another queue, and the
// power fail anywhere: each is in one of the two, and in no more.
func TestDeadLettersAreMovedAtOnce(t *testing.T) {
	for seed := range uint64(300) {
		o := newOrder(t, seed)
		d := o.newDisk()
		n := o.startOn(2<<32|1, Quorum{}, d, 2)
		o.settle()
		n.Connect(1)
		dead, key := "", "dead"
		n.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true, DeadLetter: &dead, DeadLetterKey: &key}})
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "dead", Options: broker.QueueOptions{Durable: true}})
		})
		o.settle()
		const messages = 12
		n.ask(1, func(r *broker.Requests) {
			for i := range messages {
				p := durable("q", fmt.Sprintf("%d%s", i, pad(o.rand)))
				p.Conn = 1
				r.Publish(p)
			}
		})
		o.settle()
		n.Connect(2)
		n.ask(2, func(r *broker.Requests) {
			r.Subscribe(&broker.Subscribe{Conn: 2, Consumer: 1, Queue: "q"})
			r.Credit(1, messages, false)
		})
		o.settle()
		n.ask(2, func(r *broker.Requests) {
			for _, a := range n.got[2] {
				if a.Kind == broker.AnsDeliver {
					r.Settle(1, a.Queue, a.Index, broker.Rejected)
				}
			}
		})
		for range o.rand.IntN(60) {
			o.step()
		}
		o.powerLoss()
		o.items = nil
		n = o.startOn(2<<32|2, Quorum{}, d, 2)
		o.settle()
		there := map[string]int{}
		for _, queue := range []string{"q", "dead"} {
			for _, body := range o.drain(n, queue) {
				var number int
				fmt.Sscan(body, &number)
				there[fmt.Sprint(number)]++
			}
		}
		for i := range messages {
			if there[fmt.Sprint(i)] != 1 {
				t.Fatalf("seed %d: message %d of %d is there %d times: %v", seed, i, messages, there[fmt.Sprint(i)], there)
			}
		}
	}
}

// TestGetFetches gets a message, and drains a consumer's credit, at each member of those that have come back:
// the records are on their disks, and it takes a while until they are read.
func TestGetFetches(t *testing.T) {
	for seed := range uint64(20) {
		o := newOrder(t, seed)
		members, disks := stored(o, 1)
		o.publish(members[0], 0, 12, 1000)
		members = o.again(disks, 2)
		for _, n := range members {
			n.Connect(2)
			n.ask(2, func(r *broker.Requests) { r.Get(7, "q", true) })
			o.settle()
			if got := bodies(t, n.got[2]); len(got) != 1 {
				t.Fatalf("seed %d: member %d got %q of a queue that is not empty", seed, n.id>>32, got)
			}
		}
		members = o.again(disks, 3)
		for _, n := range members {
			n.Connect(2)
			n.ask(2, func(r *broker.Requests) {
				r.Subscribe(&broker.Subscribe{Conn: 2, Consumer: 1, Queue: "q", Settled: true})
				r.Credit(1, 2, true)
			})
			o.settle()
			if got := bodies(t, n.got[2]); len(got) != 2 {
				t.Fatalf("seed %d: member %d drained %q of a queue that is not empty", seed, n.id>>32, got)
			}
			n.Disconnect(o.now, 2)
			o.settle()
		}
	}
}

// TestClocksAreStepped has the time of day jump, by up to a year either way, whenever all members are down, and
// differ among them: what is to live for ever is there, in its order, and so is what is to live for long where
// the clock went back. That lives no longer for it than it was to, counted from the start.
func TestClocksAreStepped(t *testing.T) {
	const year = 365 * 24 * 3600
	for seed := range uint64(20) {
		o := newOrder(t, seed)
		o.unix = 1_700_000_000
		members, disks := stored(o, 1)
		var want []string
		back := true
		for life := range 6 {
			n := members[o.rand.IntN(3)]
			if len(n.conns) == 0 {
				n.Connect(1)
			}
			if life == 0 || o.rand.IntN(2) == 0 {
				n.beginCheckpoint()
			}
			for i := range 5 {
				body := fmt.Sprintf("%d.%d", life, i)
				if text := o.send(n, durable("q", body)); text != "" {
					t.Fatal(text)
				}
				want = append(want, body)
			}
			mortal := durable("q", fmt.Sprintf("%d.mortal", life))
			mortal.Flags, mortal.TTL = mortal.Flags|broker.FlagTTL, 20000
			if text := o.send(n, mortal); text != "" {
				t.Fatal(text)
			}
			step := int64(o.rand.IntN(year))
			if back = o.rand.IntN(2) == 0; back {
				step = -step
			}
			o.unix += step
			members = o.again(disks, broker.MemberID(life+2))
			got := o.look(members[o.rand.IntN(3)], "q")
			if there := slices.Contains(got, fmt.Sprintf("%d.mortal", life)); there != back {
				t.Fatalf("seed %d, life %d: the clock went by %d s, and what has 20 s to live is there: %v", seed, life, step, there)
			}
			o.now += 20 * time.Second
			if got := o.look(members[o.rand.IntN(3)], "q"); !slices.Equal(got, want) {
				t.Fatalf("seed %d, life %d: %q are there, %q should be", seed, life, got, want)
			}
		}
	}
}

// look browses a queue.
func (o *order) look(n *testNode, queue string) (list []string) {
	conn := broker.ConnID(3000 + len(n.got))
	n.Connect(conn)
	n.ask(conn, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: conn, Consumer: 1, Queue: queue, Browse: true})
		r.Credit(1, 1<<20, false)
	})
	o.settle()
	n.Disconnect(o.now, conn)
	o.settle()
	return bodies(o.t, n.got[conn])
}
