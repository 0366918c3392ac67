package cluster

import (
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// quit shuts a member down, which says goodbye.
func (o *order) quit(n *testNode) {
	n.dead = true
	if n.disk != nil {
		n.disk.Crash()
	}
	o.view([]broker.MemberID{n.id})
}

var downscale = Quorum{Expected: 3, AllowDownscale: true, Tracking: true}

// TestDownscale: members that are shut down are not expected any more, down to what is configured; what
// was expected once is kept.
func TestDownscale(t *testing.T) {
	o := newOrder(t, 1)
	list := o.startAll(downscale, 1, 2, 3, 4, 5, 6, 7)
	o.settle()
	want := []int{6, 5, 4, 3, 3}
	for i, n := range list[:5] { // the lowest, which proposes it, goes first
		o.quit(n)
		o.settle()
		for _, m := range list[i+1:] {
			m.wants(t, Active)
			if m.expected != want[i] || m.Tracked() != 7 {
				t.Fatalf("member %d expects %d votes, not %d, and keeps %d", m.id, m.expected, want[i], m.Tracked())
			}
		}
	}
	late := o.startWith(8, downscale)
	o.settle()
	late.wants(t, Active)
	if late.expected != 3 || late.Tracked() != 3 {
		t.Errorf("who joins expects %d votes, and keeps %d", late.expected, late.Tracked())
	}
	o.kill(list[5])
	o.settle()
	list[6].wants(t, Active)
	o.kill(late)
	o.steps()
	list[6].wants(t, Frozen)
}

// TestDownscaleAtOnce: a member dies as another is shut down; it stays expected.
func TestDownscaleAtOnce(t *testing.T) {
	o := newOrder(t, 1)
	list := o.startAll(downscale, 1, 2, 3, 4, 5, 6)
	o.settle()
	list[0].dead = true
	o.quit(list[1])
	o.settle()
	for _, n := range o.live() {
		if n.expected != 5 {
			t.Errorf("member %d expects %d votes", n.id, n.expected)
		}
	}
}

// TestNoDownscale: otherwise, and of those that die, everybody stays expected.
func TestNoDownscale(t *testing.T) {
	for _, x := range []struct {
		q    Quorum
		gone func(*order, *testNode)
	}{
		{Quorum{Expected: 3, Tracking: true}, (*order).quit},
		{downscale, (*order).kill},
	} {
		o := newOrder(t, 1)
		list := o.startAll(x.q, 1, 2, 3, 4, 5)
		o.settle()
		x.gone(o, list[0])
		o.settle()
		x.gone(o, list[1])
		o.settle()
		for _, n := range o.live() {
			if n.expected != 5 {
				t.Errorf("member %d expects %d votes", n.id, n.expected)
			}
		}
		x.gone(o, list[2])
		o.steps()
		list[4].wants(t, Frozen)
	}
}

// TestTracking: a cluster is founded with a quorum of the most votes that one of its members ever saw expected,
// and expects them; if it may have been made smaller since, with all of them.
func TestTracking(t *testing.T) {
	for _, x := range []struct {
		down bool
		want int
	}{{false, 4}, {true, 7}} {
		o := newOrder(t, 1)
		q := Quorum{Expected: 3, Tracking: true, AllowDownscale: x.down}
		kept := q
		kept.Tracked = 7
		list := []*testNode{o.startWith(1, q), o.startWith(2, kept)}
		for id := broker.MemberID(3); int(id) <= x.want; id++ {
			o.steps()
			list[0].wants(t, Joining)
			if last := list[0].events[len(list[0].events)-1]; !strings.Contains(last.Text, "members, waiting for at least") && last.Kind != EventKnown {
				t.Errorf("it waits, and says %+v", last)
			}
			list = append(list, o.startWith(id, q))
		}
		o.settle()
		for _, n := range list {
			n.wants(t, Active)
			if n.expected != 7 || n.Tracked() != 7 {
				t.Errorf("member %d expects %d votes, and keeps %d", n.id, n.expected, n.Tracked())
			}
		}
	}
}

// nodes starts members as processes of nodes; each node has a disk, if any has.
type nodes struct {
	*order
	disks map[broker.MemberID]*faulty.Disk // nil: they have none
	ran   byte
}

func (o *nodes) run(q Quorum, ids ...broker.MemberID) (list []*testNode) {
	for _, id := range ids {
		o.ran++
		var d *faulty.Disk
		if o.disks != nil {
			if o.disks[id] == nil {
				o.disks[id] = o.newDisk()
			}
			d = o.disks[id]
		}
		list = append(list, o.startOn(id<<32|broker.MemberID(o.ran), q, d, byte(id)))
	}
	return list
}

// TestDownscaleStores: of a cluster that was made smaller, neither those that were shut down go on from their
// stores, nor they with one of those that were left; these do.
func TestDownscaleStores(t *testing.T) {
	for _, before := range []bool{false, true} {
		o := &nodes{order: newOrder(t, 1), disks: map[broker.MemberID]*faulty.Disk{}}
		list := o.run(downscale, 1, 2, 3, 4, 5)
		o.settle()
		for _, n := range list[:3] {
			o.quit(n)
			o.settle()
		}
		for _, n := range list[3:] {
			n.wants(t, Active)
			n.dead = true
			n.disk.Crash()
		}
		kept := downscale
		kept.Tracked = 5
		list = nil
		if before {
			for _, together := range [][]broker.MemberID{{1, 2, 3}, {4}} {
				list = append(list, o.run(kept, together...)...)
				o.steps()
				for _, n := range list {
					n.wants(t, Joining)
				}
			}
		} else {
			list = o.run(kept, 4)
			o.steps()
			list[0].wants(t, Joining)
		}
		list = append(list, o.run(kept, 5)...)
		o.settle()
		for _, n := range list {
			n.wants(t, Active)
			if want := max(3, len(list)); n.expected != want {
				t.Errorf("member %d expects %d votes, not %d", n.id, n.expected, want)
			}
		}
	}
}

// TestDownscaleMemory: members that come with nothing do not make up for one that was cut off, but for one
// that has died on their node.
func TestDownscaleMemory(t *testing.T) {
	q := downscale
	q.Expected = 2
	o := &nodes{order: newOrder(t, 1)}
	list := o.run(q, 1, 2, 3, 4)
	o.settle()
	for _, n := range list[2:] {
		o.quit(n)
		o.settle()
	}
	o.kill(list[1]) // or it is cut off
	o.steps()
	list[0].wants(t, Frozen)
	o.run(q, 3, 4)
	o.steps()
	list[0].wants(t, Frozen)
	o.run(q, 2)
	o.settle()
	list[0].wants(t, Active)
}

// TestDownscaleAlone: the others have said goodbye, and so nobody is elsewhere; it takes a quorum all the
// same, as they may come back.
func TestDownscaleAlone(t *testing.T) {
	o := &nodes{order: newOrder(t, 1)}
	list := o.run(downscale, 1, 2, 3)
	o.settle()
	o.quit(list[2])
	o.settle()
	o.quit(list[1])
	o.steps()
	list[0].wants(t, Frozen)
	o.run(downscale, 2, 3)
	o.settle()
	list[0].wants(t, Active)
}
