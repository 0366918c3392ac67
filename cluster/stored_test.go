package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

func (o *order) newDisk() *faulty.Disk {
	return faulty.New(faulty.Options{Rand: o.rand, Done: func(op *journal.Op) { op.Finish() }})
}

func durable(q, body string) *broker.Publish {
	p := publish(q, body)
	p.Flags = broker.FlagDurable
	return p
}

// powerLoss ends all members at once; their disks keep what they have to.
func (o *order) powerLoss() {
	for _, n := range o.live() {
		n.dead = true
		if n.disk != nil {
			n.disk.Crash()
		}
	}
	o.mesh = nil
}

// contents lists what is in a queue, by consuming all of it at one member.
func contents(t *testing.T, o *order, n *testNode, queue string) (list []string, again int) {
	t.Helper()
	conn := broker.ConnID(1000 + o.ring)
	n.Connect(conn)
	n.ask(conn, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: conn, Consumer: 1, Queue: queue})
		r.Credit(1, 1<<20, false)
	})
	for had := -1; had != len(n.got[conn]); { // a connection is handed so much at a time
		had = len(n.got[conn])
		o.settle()
	}
	for _, a := range n.got[conn] {
		if a.Kind == broker.AnsDeliver && a.Deliveries > 0 {
			again++
		}
	}
	list = bodies(t, n.got[conn])
	n.Disconnect(o.now, conn)
	o.settle()
	return list, again
}

// TestPowerLoss has three members with disks publish and consume, and lose power together,
// again and again: what was acknowledged is there when they are back, in whichever order.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(40) {
		powerLosses(t, seed)
	}
}

func powerLosses(t *testing.T, seed uint64) {
	o := newOrder(t, seed)
	stores := []*faulty.Disk{o.newDisk(), o.newDisk(), o.newDisk()}
	pid, sent := 0, 0
	var sure []string // acknowledged, and not taken
	for life := range 6 {
		var members []*testNode
		for _, s := range o.rand.Perm(len(stores)) {
			pid++
			members = append(members, o.startOn(broker.MemberID(s+1)<<32|broker.MemberID(pid), Quorum{}, stores[s], byte(s+1)))
		}
		o.settle()
		n := members[o.rand.IntN(len(members))]
		if life > 0 {
			got, _ := contents(t, o, n, "q")
			missing(t, seed, life, sure, got)
		}
		sure = nil
		n.Connect(1)
		n.ask(1, func(r *broker.Requests) {
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
		})
		o.settle()
		for i := range n.got[1] {
			if a := &n.got[1][i]; a.Kind == broker.AnsResult && a.Result.Code != broker.OK {
				t.Fatalf("seed %d, life %d: %s", seed, life, a.Result.Text)
			}
		}
		for _, m := range members {
			if m != n {
				m.Connect(1)
			}
		}
		pubs := map[*testNode][]string{}
		for range 10 + o.rand.IntN(60) {
			m := members[o.rand.IntN(len(members))]
			m.ask(1, func(r *broker.Requests) {
				for range 1 + o.rand.IntN(5) {
					body := fmt.Sprintf("%d", sent)
					sent++
					p := durable("q", body+pad(o.rand))
					p.Conn = 1
					pubs[m] = append(pubs[m], body)
					r.Publish(p)
				}
			})
			for range o.rand.IntN(40) {
				o.step()
			}
		}
		for range o.rand.IntN(400) {
			o.step()
		}
		for m, list := range pubs {
			k := completed(m.got[1])
			if m == n && k > 0 {
				k--
			}
			sure = append(sure, list[:k]...)
		}
		o.powerLoss()
	}
}

func pad(r *rand.Rand) string {
	n := 0
	switch r.IntN(12) {
	case 0:
		n = r.IntN(200 << 10)
	case 1, 2, 3:
		n = r.IntN(3000)
	}
	return fmt.Sprintf(" %*s", n, "")
}

func missing(t *testing.T, seed uint64, life int, sure, got []string) {
	t.Helper()
	var numbers []string
	for _, g := range got {
		var k int
		fmt.Sscan(g, &k)
		numbers = append(numbers, fmt.Sprint(k))
	}
	for _, s := range sure {
		if !slices.Contains(numbers, s) {
			t.Fatalf("seed %d, life %d: message %s was acknowledged and is lost; here are %v", seed, life, s, numbers)
		}
	}
}

// stored starts three members with disks, and declares a durable queue. Clusters with another pid
// have another id.
func stored(o *order, pid broker.MemberID) (members []*testNode, disks []*faulty.Disk) {
	for i := range 3 {
		disks = append(disks, o.newDisk())
		members = append(members, o.startOn(broker.MemberID(i+1)<<32|pid, Quorum{}, disks[i], byte(i+1)))
	}
	o.settle()
	members[0].Connect(1)
	members[0].ask(1, func(r *broker.Requests) {
		r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
	})
	o.settle()
	return members, disks
}

func (o *order) publish(n *testNode, from, to, pad int) {
	n.ask(1, func(r *broker.Requests) {
		for i := from; i < to; i++ {
			p := durable("q", fmt.Sprintf("%d %*s", i, pad, ""))
			p.Conn = 1
			r.Publish(p)
		}
	})
	o.settle()
}

// TestRejoinByDelta has a member away for a few messages of many: it receives those, not what is
// on its disk.
func TestRejoinByDelta(t *testing.T) {
	o := newOrder(t, 1)
	members, disks := stored(o, 1)
	o.publish(members[0], 0, 1000, 2000)
	o.kill(members[2])
	disks[2].Crash()
	o.publish(members[0], 1000, 1010, 2000)
	o.carried = 0
	back := o.startOn(3<<32|2, Quorum{}, disks[2], 3)
	o.settle()
	if o.carried > 100<<10 {
		t.Errorf("%d bytes were sent to a member that lacked 20,000", o.carried)
	}
	got, _ := contents(t, o, back, "q")
	if len(got) != 1010 {
		t.Errorf("it has %d of 1010 messages", len(got))
	}
}

// TestDivergentTail has a member write entries that no other has, and the others go on without it:
// its tail is given up for theirs. What the tail did away with comes back, and little else is sent.
func TestDivergentTail(t *testing.T) {
	o := newOrder(t, 1)
	members, disks := stored(o, 1)
	o.publish(members[0], 0, 5000, 2000)
	members[0].Connect(2)
	members[0].ask(2, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: 2, Consumer: 1, Queue: "q"})
		r.Credit(1, 3, false)
	})
	o.settle()
	// Only the first member is delivered what it publishes and takes next, and all lose power.
	members[0].ask(1, func(r *broker.Requests) {
		p := durable("q", "9999 of one member alone")
		p.Conn = 1
		r.Publish(p)
	})
	members[0].ask(2, func(r *broker.Requests) {
		for i := range members[0].got[2] {
			if a := &members[0].got[2][i]; a.Kind == broker.AnsDeliver {
				r.Settle(1, a.Queue, a.Index, broker.Accepted)
			}
		}
	})
	for range 3 {
		members[0].Flush(o.now)
		for members[0].at < len(o.items) {
			o.deliver(members[0])
		}
		o.now += lazySync
		members[0].Flush(o.now)
		disks[0].Run()
	}
	members[0].Flush(o.now)
	had := members[0].log.Mark()
	if depth, _ := members[0].broker.Depth("q"); depth != 4998 {
		t.Fatalf("the first member has %d of 4998 messages", depth)
	}
	o.powerLoss()
	o.items = o.items[:0]
	for _, n := range o.nodes {
		n.at = 0
	}
	b := o.startOn(2<<32|2, Quorum{}, disks[1], 2)
	c := o.startOn(3<<32|2, Quorum{}, disks[2], 3)
	o.settle()
	b.Connect(1)
	o.publish(b, 5000, 5010, 100)
	o.carried = 0
	a := o.startOn(1<<32|2, Quorum{}, disks[0], 1)
	if a.base == nil || journal.Index(a.base.index) != had {
		t.Fatalf("the first member recovered %+v where its disk had %d", a.base, had)
	}
	o.settle()
	if o.carried < 1<<20 || o.carried > 4<<20 {
		t.Errorf("%d bytes were sent to a member that lacked parts of two extents of ten", o.carried)
	}
	for _, n := range []*testNode{a, b, c} {
		if depth, _ := n.broker.Depth("q"); depth != 5010 {
			t.Errorf("member %d has %d of 5010 messages", n.id>>32, depth)
		}
	}
	got, _ := contents(t, o, a, "q")
	for i, body := range got {
		var k int
		if _, err := fmt.Sscan(body, &k); err != nil || k != i {
			t.Fatalf("at place %d is %.20q", i, body)
		}
	}
}

// TestAlonePatience starts one of three after all lost power: it waits, and says for whom.
func TestAlonePatience(t *testing.T) {
	o := newOrder(t, 1)
	_, disks := stored(o, 1)
	o.powerLoss()
	a := o.startOn(1<<32|2, Quorum{}, disks[0], 1)
	for range 300 {
		o.step()
	}
	if a.State() != Joining {
		t.Fatalf("it is %v", a.State())
	}
	text := ""
	for _, e := range a.events {
		if e.Kind == EventWaiting {
			text = e.Text
		}
	}
	second, third := journal.UUID{2}, journal.UUID{3}
	if !strings.Contains(text, second.String()) || !strings.Contains(text, third.String()) {
		t.Errorf("it says %q", text)
	}
	o.startOn(3<<32|2, Quorum{}, disks[2], 3)
	o.settle()
}

// TestStoresThatDoNotBelong starts members with another cluster's store, and with a copy of one
// that is in use.
func TestStoresThatDoNotBelong(t *testing.T) {
	o, other := newOrder(t, 1), newOrder(t, 2)
	_, disks := stored(o, 1)
	_, foreign := stored(other, 2)
	other.powerLoss()
	fatal := func(n *testNode) (text string) {
		for range 300 {
			o.step()
		}
		for _, e := range n.events {
			if e.Kind == EventFatal {
				text = e.Text
			}
		}
		o.kill(n)
		o.settle()
		return text
	}
	copied := disks[1].Clone(faulty.Options{Rand: o.rand, Done: func(op *journal.Op) { op.Finish() }})
	copied.Crash()
	text := fatal(o.startOn(9<<32|1, Quorum{}, copied, 2))
	if !strings.Contains(text, "one data directory is a copy of the other") {
		t.Errorf("with a copy: %q", text)
	}
	o.kill(o.nodes[2]) // or its store's number would be taken
	o.settle()
	text = fatal(o.startOn(9<<32|2, Quorum{}, foreign[2], 3))
	if !strings.Contains(text, "Cluster-ID mismatch. Stores belong to different clusters.") {
		t.Errorf("with another cluster's: %q", text)
	}
}

// TestFailedDiskIsNotClean: a member whose disk has failed ends at once, and not well.
func TestFailedDiskIsNotClean(t *testing.T) {
	o := newOrder(t, 1)
	members, disks := stored(o, 1)
	members[0].Leave()
	for range 100 {
		members[0].Flush(o.now)
		disks[0].Run()
	}
	if over, well := members[0].Saved(); !over || !well {
		t.Fatalf("with a disk that works it is over: %v, well: %v", over, well)
	}
	disks[1].Fail(1, faulty.ErrIO)
	o.publish1(members[1], "lost")
	if over, well := members[1].Saved(); !over || well {
		t.Fatalf("with a disk that failed it is over: %v, well: %v", over, well)
	}
}

// publish1 publishes one message and lets the member's own disk work.
func (o *order) publish1(n *testNode, body string) {
	n.Connect(1)
	n.ask(1, func(r *broker.Requests) {
		p := durable("q", body)
		p.Conn = 1
		r.Publish(p)
	})
	for range 200 {
		o.step()
	}
}

// TestFetchedIsServed has a member hand out messages that are not in memory, while nothing else happens:
// it is called only when an operation of its disk is over, or when it has asked for it.
func TestFetchedIsServed(t *testing.T) {
	o := newOrder(t, 1)
	d := o.newDisk()
	n := o.startOn(1<<32|1, Quorum{}, d, 1)
	o.settle()
	n.Connect(1)
	n.ask(1, func(r *broker.Requests) {
		r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
	})
	o.settle()
	o.publish(n, 0, 100, 50<<10)
	o.powerLoss()
	o.items, n.at = nil, 0
	n = o.startOn(1<<32|2, Quorum{}, d, 1)
	o.settle()
	n.Connect(2)
	n.ask(2, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: 2, Consumer: 1, Queue: "q"})
		r.Credit(1, 5, false)
	})
	for busy := true; busy; {
		more := n.Flush(o.now)
		for n.at < len(o.items) {
			o.deliver(n)
			more = true
		}
		n.take()
		busy = more || d.Waiting() > 0
		if !more {
			d.Run()
		}
	}
	if got := bodies(t, n.got[2]); len(got) != 5 {
		t.Errorf("%d of 5 messages came", len(got))
	}
}

// TestDeadLettersOfReusedSegments has messages dead lettered behind a checkpoint, until what they were in is
// used again, and recovers: what became of them is known without their records.
func TestDeadLettersOfReusedSegments(t *testing.T) {
	o := newOrder(t, 1)
	o.checkpointBytes = 1 << 30
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
	const messages = 150 // of 50 KB: some four segments
	o.publish(n, 0, messages, 50<<10)
	n.beginCheckpoint()
	o.settle()
	n.Connect(2)
	n.ask(2, func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: 2, Consumer: 1, Queue: "q"})
		r.Credit(1, messages, false)
	})
	for settled := 0; settled < messages; {
		o.settle()
		n.ask(2, func(r *broker.Requests) {
			for _, a := range n.got[2][settled:] {
				if a.Kind == broker.AnsDeliver {
					r.Settle(1, a.Queue, a.Index, broker.Rejected)
				}
			}
			settled = len(n.got[2])
		})
	}
	o.settle()
	o.powerLoss()
	o.items = nil
	n = o.startOn(2<<32|2, Quorum{}, d, 2)
	o.settle()
	if depth, _ := n.broker.Depth("dead"); depth != messages {
		t.Errorf("%d of %d messages are where dead ones go", depth, messages)
	}
}
