package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// on is the members of nodes, each the only one there.
func on(nodes ...uint32) (list []broker.MemberID) {
	for _, n := range nodes {
		list = append(list, broker.MemberID(n)<<32|77)
	}
	return list
}

// TestQuorum: who may go on, of whom took part, by the rules of votequorum(5).
func TestQuorum(t *testing.T) {
	majority := Quorum{Expected: 5}
	two := Quorum{Expected: 2, TwoNode: true}
	lowest := Quorum{Expected: 4, TieBreaker: TieLowest}
	highest := Quorum{Expected: 4, TieBreaker: TieHighest}
	listed := Quorum{Expected: 4, TieBreaker: TieListed, TieNodes: []uint32{9, 3, 1}}
	odd := Quorum{Expected: 5, TieBreaker: TieLowest}
	heavy := Quorum{Expected: 5, Weights: map[uint32]int{1: 3, 2: 0}}
	pair := Quorum{Expected: 2, TieBreaker: TieLowest}
	for _, x := range []struct {
		name     string
		q        Quorum
		last     []broker.MemberID
		expected int
		members  []broker.MemberID
		want     bool
	}{
		{"three of five", majority, on(1, 2, 3, 4, 5), 5, on(3, 4, 5), true},
		{"two of five", majority, on(1, 2, 3, 4, 5), 5, on(1, 2), false},
		{"two of three that are left to be expected", majority, on(1, 2, 3), 3, on(2, 3), true},
		{"one of two", two, on(1, 2), 2, on(2), true},
		{"two_node with three", two, on(1, 2, 3), 3, on(3), false},
		{"half with the lowest", lowest, on(1, 2, 3, 4), 4, on(1, 4), true},
		{"half without the lowest", lowest, on(1, 2, 3, 4), 4, on(2, 3), false},
		{"half with the lowest that took part", lowest, on(2, 3, 4), 4, on(2, 3), true},
		{"one of four", lowest, on(1, 2, 3, 4), 4, on(1), false},
		{"half with the highest", highest, on(1, 2, 3, 4), 4, on(1, 4), true},
		{"half without the highest", highest, on(1, 2, 3, 4), 4, on(1, 2), false},
		{"half with the first of the list that took part", listed, on(1, 2, 3, 4), 4, on(3, 4), true},
		{"half with a later one", listed, on(1, 2, 3, 4), 4, on(1, 2), false},
		{"half with a later one, the first did not take part", listed, on(1, 2, 4), 4, on(1, 4), true},
		{"two of five, the others may have a quorum", odd, on(1, 2, 3, 4, 5), 5, on(1, 2), false},
		{"two of five, the others are two", odd, on(1, 2, 3, 4), 5, on(1, 2), true},
		{"one of two with the lowest", pair, on(1, 2), 2, on(1), true},
		{"one of two without", pair, on(1, 2), 2, on(2), false},
		{"a heavy one alone", heavy, on(1, 2, 3, 4), 5, on(1), true},
		{"three light ones", heavy, on(1, 2, 3, 4), 5, on(2, 3, 4), false},
		{"no votes: half with the lowest", Quorum{}, on(1, 2), 0, on(1), true},
		{"no votes: half without", Quorum{}, on(1, 2), 0, on(2), false},
	} {
		if got := x.q.quorate(x.members, x.last, x.expected); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// TestFounding: how many votes found a cluster.
func TestFounding(t *testing.T) {
	for _, x := range []struct {
		name  string
		q     Quorum
		known int // to have been expected
		want  int
	}{
		{"no votes", Quorum{}, 0, 0},
		{"--cluster-size", All(3), 0, 3},
		{"a majority", Quorum{Expected: 5}, 0, 3},
		{"wait_for_all", Quorum{Expected: 5, WaitForAll: true}, 0, 5},
		{"two_node", Quorum{Expected: 2, TwoNode: true, WaitForAll: true}, 0, 2},
		{"two_node without wait_for_all", Quorum{Expected: 2, TwoNode: true}, 0, 1},
		{"no tie is broken", Quorum{Expected: 4, TieBreaker: TieLowest}, 0, 3},
		{"expected_votes_tracking", Quorum{Expected: 3, Tracking: true}, 9, 5},
		{"allow_downscale that was not used", Quorum{Expected: 3, Tracking: true, AllowDownscale: true}, 3, 2},
		{"allow_downscale that may have been used", Quorum{Expected: 3, Tracking: true, AllowDownscale: true}, 9, 9},
	} {
		if got := x.q.founding(max(x.q.Expected, x.known)); got != x.want {
			t.Errorf("%s: %d", x.name, got)
		}
	}
}

func (o *order) startAll(q Quorum, ids ...broker.MemberID) (list []*testNode) {
	for _, id := range ids {
		list = append(list, o.startWith(id, q))
	}
	return list
}

// steps lets so much happen as settle does at the least.
func (o *order) steps() {
	for range 600 {
		o.step()
	}
}

func (n *testNode) wants(t *testing.T, s State) {
	t.Helper()
	if n.State() != s {
		t.Fatalf("member %d is %v, not %v: %v", n.id, n.State(), s, n.events)
	}
}

// TestMajorityFounds: without wait_for_all the second of three makes a cluster, and the third
// joins it.
func TestMajorityFounds(t *testing.T) {
	o := newOrder(t, 1)
	q := Quorum{Expected: 3}
	a := o.startWith(1, q)
	o.steps()
	a.wants(t, Joining)
	o.startWith(2, q)
	o.settle()
	id := a.ID()
	o.startWith(3, q)
	o.settle()
	for _, n := range o.live() {
		if n.ID() != id {
			t.Errorf("member %d is of another cluster", n.id)
		}
	}
}

// TestTwoNode: a pair waits for each other once, then one goes on when the other dies.
func TestTwoNode(t *testing.T) {
	o := newOrder(t, 1)
	q := Quorum{Expected: 2, TwoNode: true, WaitForAll: true}
	a := o.startWith(1, q)
	o.steps()
	a.wants(t, Joining)
	b := o.startWith(2, q)
	o.settle()
	o.kill(a)
	o.settle()
	b.wants(t, Active)
	c := o.startWith(3, q)
	o.settle()
	o.kill(b)
	o.settle()
	c.wants(t, Active)
}

// TestTwoNodeBecomesThree: with a third member two_node is over, and two of three are needed.
func TestTwoNodeBecomesThree(t *testing.T) {
	o := newOrder(t, 1)
	list := o.startAll(Quorum{Expected: 2, TwoNode: true, WaitForAll: true}, 1, 2, 3)
	o.settle()
	o.kill(list[0])
	o.settle()
	o.kill(list[1])
	o.steps()
	list[2].wants(t, Frozen)
}

// TestLastManStanding loses one after the other of eight, with the window between, down to two;
// the last needs auto_tie_breaker, and to be the lowest.
func TestLastManStanding(t *testing.T) {
	const window = 50 * time.Millisecond
	for _, tie := range []TieBreaker{TieNone, TieHighest} {
		o := newOrder(t, 1)
		list := o.startAll(Quorum{Expected: 8, WaitForAll: true, LastManStanding: true, Window: window, TieBreaker: tie}, 1, 2, 3, 4, 5, 6, 7, 8)
		o.settle()
		for _, n := range list[:6] {
			o.kill(n)
			o.settle() // 200 ms at the least
			o.steps()
		}
		if n := list[6].expected; n != 2 {
			t.Fatalf("%d votes are expected of two", n)
		}
		o.kill(list[6])
		o.steps()
		if tie == TieNone {
			list[7].wants(t, Frozen)
			continue
		}
		list[7].wants(t, Active)
		o.steps()
		// Who joins is expected from then on, and knows how many are.
		m := o.startAll(list[7].cfg.Quorum, 9, 10)
		o.settle()
		if m[0].expected != 3 || list[7].expected != 3 {
			t.Errorf("%d and %d votes are expected of three", m[0].expected, list[7].expected)
		}
	}
}

// TestLastManWaits: five of eight die within the window, and it is over.
func TestLastManWaits(t *testing.T) {
	o := newOrder(t, 1)
	list := o.startAll(Quorum{Expected: 8, WaitForAll: true, LastManStanding: true, Window: time.Hour}, 1, 2, 3, 4, 5, 6, 7, 8)
	o.settle()
	for _, n := range list[:3] {
		o.kill(n)
		o.settle()
	}
	o.kill(list[3])
	o.steps()
	list[7].wants(t, Frozen)
}

// TestBothWentOn: two halves that could not see each other both went on, as two_node lets them.
// When they meet, one history is the cluster's, and the other member says what it gives up.
func TestBothWentOn(t *testing.T) {
	o := newOrder(t, 1)
	list := o.startAll(Quorum{Expected: 2, TwoNode: true, WaitForAll: true}, 1, 2)
	o.settle()
	alone := func(n *testNode) *View {
		return &View{RingRep: uint32(n.id), RingSeq: 100, Members: []broker.MemberID{n.id}, Came: []broker.MemberID{n.id}}
	}
	for _, n := range list {
		n.at = len(o.items)
		n.View(o.now, alone(n))
	}
	list[0].advance() // something that only one of them has seen
	for _, n := range list {
		n.wants(t, Active)
		n.asides = nil
	}
	o.view(nil)
	o.settle()
	for _, e := range list[1].events {
		if e.Kind == EventDemoted && strings.Contains(e.Text, "what it took meanwhile is given up") {
			return
		}
	}
	t.Errorf("member 2 does not say what it gives up: %v", list[1].events)
}
