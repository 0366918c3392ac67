package cpg_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// observer is a node and what its process was told.
type observer struct {
	*ringtest.Node
	views []*cpg.View
	msgs  []string // sender and beginning
	sizes []int
	safe  uint64
}

func start(t testing.TB, net *ringtest.Net, id int, change ...func(*cpg.Config)) *observer {
	o := &observer{}
	cfg := cpg.Config{Totem: totem.Config{Node: wire.NodeID(id), Nodes: 3}, Group: "g", PID: uint32(10 + id)}
	for _, f := range change {
		f(&cfg)
	}
	n, err := ringtest.Start(net, cfg, func(_ *ringtest.Node, r *cpg.Ready) {
		for _, e := range r.Events {
			if e.View != nil {
				o.views = append(o.views, e.View)
				continue
			}
			b := slices.Concat(e.Parts...)
			o.msgs = append(o.msgs, fmt.Sprintf("%v:%.8s", e.From, b))
			o.sizes = append(o.sizes, len(b))
		}
		o.safe = r.Safe
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Node = n
	return o
}

func (o *observer) last() *cpg.View {
	if len(o.views) == 0 {
		return &cpg.View{}
	}
	return o.views[len(o.views)-1]
}

// ring starts nodes 1 to n and waits for a view of all.
func ring(t testing.TB, net *ringtest.Net, n int) []*observer {
	var all []*observer
	for id := range n {
		all = append(all, start(t, net, id+1))
	}
	awaitView(t, net, n, all...)
	return all
}

func awaitView(t testing.TB, net *ringtest.Net, members int, all ...*observer) {
	t.Helper()
	ok := net.RunUntil(20*time.Second, func() bool {
		for _, o := range all {
			if len(o.last().Members) != members || o.Machine.State() != "operational" {
				return false
			}
		}
		return true
	})
	if !ok {
		t.Fatalf("no view of %d: %+v", members, all[0].last())
	}
}

// TestMessageSizes: every size up to the limit arrives whole at all, also between others.
func TestMessageSizes(t *testing.T) {
	net := ringtest.New(1)
	all := ring(t, net, 3)
	sizes := []int{0, 1, 1200, 1208, 1209, 1210, 1211, 1212, 1213, 1214, 1400, 3000, 65536, cpg.MaxMessage}
	for _, n := range sizes {
		if err := all[n%3].Multicast([]byte(nil), make([]byte, n/2), make([]byte, n-n/2)); err != nil {
			t.Fatal(n, err)
		}
		net.Run(time.Second)
	}
	for _, o := range all {
		if !slices.Equal(o.sizes, sizes) {
			t.Errorf("node %d delivered %v", o.ID(), o.sizes)
		}
		if o.safe != uint64(len(sizes)) {
			t.Errorf("node %d: %d of %d are safe", o.ID(), o.safe, len(sizes))
		}
	}
	if err := all[0].Multicast(make([]byte, cpg.MaxMessage+1)); !errors.Is(err, cpg.ErrTooLong) {
		t.Error(err)
	}
}

func TestQueueLimit(t *testing.T) {
	net := ringtest.New(1)
	m, err := cpg.New(cpg.Config{Totem: totem.Config{Node: 1}, Group: "g", QueueBytes: 128 << 10}, net.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.Leave(net.Now()) // nothing is sent any more
	if err := m.Multicast([]byte("x")); !errors.Is(err, cpg.ErrLeft) {
		t.Error(err)
	}
	o := start(t, net, 2, func(c *cpg.Config) { c.QueueBytes = 128 << 10 })
	room := o.Machine.Room()
	if err := o.Machine.Multicast(make([]byte, room+1)); !errors.Is(err, cpg.ErrFull) {
		t.Errorf("one more than Room: %v", err)
	}
	if err := o.Machine.Multicast(make([]byte, room)); err != nil {
		t.Errorf("as much as Room: %v", err)
	}
}

// TestLeave: the others see a clean leave at once, after everything that was sent before.
func TestLeave(t *testing.T) {
	net := ringtest.New(1)
	all := ring(t, net, 3)
	for i := range 50 {
		_ = all[2].Machine.Multicast([]byte(fmt.Sprint("m", i)), make([]byte, 3000))
	}
	began := net.Now()
	all[2].Machine.Leave(net.Now())
	all[2].Do()
	net.RunUntil(time.Second, func() bool { return len(all[0].last().Members) == 2 })
	v := all[0].last()
	if len(v.Left) != 1 || v.Left[0].Member != all[2].Machine.Self() || !v.Left[0].Clean() {
		t.Errorf("left %+v", v.Left)
	}
	if len(all[0].msgs) != 50 {
		t.Errorf("%d messages before the leave", len(all[0].msgs))
	}
	net.RunUntil(time.Second, all[2].Machine.Left)
	awaitView(t, net, 2, all[0], all[1])
	net.RunUntil(time.Second, func() bool { return len(all[0].Machine.RingMembers()) == 2 })
	if took := net.Now() - began; took > 500*time.Millisecond {
		t.Errorf("leaving took %v", took)
	}
}

// TestCrash: without evidence the timeouts find a dead node; with evidence nobody waits.
func TestCrash(t *testing.T) {
	for _, evidence := range []bool{false, true} {
		net := ringtest.New(1)
		all := ring(t, net, 3)
		all[2].Crash()
		began := net.Now()
		if evidence {
			all[1].Machine.Suspect(net.Now(), 3)
			all[1].Do()
		}
		awaitView(t, net, 2, all[0], all[1])
		took := net.Now() - began
		v := all[0].last()
		if len(v.Left) != 1 || v.Left[0].Reason != wire.ReasonNodeDown || len(v.Transitional) != 2 {
			t.Errorf("view %+v", v)
		}
		if evidence && took > 5*time.Millisecond {
			t.Errorf("with evidence it took %v", took)
		}
		if !evidence && (took < time.Second || took > 10*time.Second) {
			t.Errorf("without evidence it took %v", took)
		}
	}
}

// TestWronglySuspected: a living node comes back by itself, and everybody is told that it did
// not come along.
func TestWronglySuspected(t *testing.T) {
	net := ringtest.New(1)
	all := ring(t, net, 3)
	all[0].Machine.Suspect(net.Now(), 3)
	all[0].Do()
	net.RunUntil(time.Second, func() bool { return len(all[0].last().Left) == 1 })
	awaitView(t, net, 3, all...)
	v := all[0].last()
	if len(v.Joined) != 1 || v.Joined[0].Node != 3 || len(v.Transitional) != 2 {
		t.Errorf("view %+v", v)
	}
	if v = all[2].last(); len(v.Transitional) != 1 {
		t.Errorf("view of the suspected %+v", v)
	}
}

// TestMerge: two halves that both went on find each other; all see one view that tells who
// came with them.
func TestMerge(t *testing.T) {
	net := ringtest.New(1)
	all := ring(t, net, 4)
	net.Partition([]wire.NodeID{1, 2}, []wire.NodeID{3, 4})
	awaitView(t, net, 2, all...)
	_ = all[0].Multicast([]byte("left"))
	_ = all[3].Multicast([]byte("right"))
	net.Run(time.Second)
	before := len(all[0].views)
	net.Heal()
	awaitView(t, net, 4, all...)
	for i, o := range all {
		v := o.last()
		if len(v.Transitional) != 2 || !slices.Contains(v.Transitional, o.Machine.Self()) || len(v.Joined) != 2 {
			t.Errorf("node %d: view %+v", i+1, v)
		}
	}
	if len(all[0].views) != before+1 {
		t.Errorf("%d views for one merge", len(all[0].views)-before)
	}
	if all[0].msgs[0] != "1/11:left" || all[2].msgs[0] != "4/14:right" {
		t.Error(all[0].msgs, all[2].msgs)
	}
}

// TestIdleLatency: on an idle ring, whose token is held, a message leaves at once.
func TestIdleLatency(t *testing.T) {
	net := ringtest.New(1)
	all := ring(t, net, 3)
	net.Run(5 * time.Second)
	for i, o := range all {
		began := net.Now()
		_ = o.Multicast([]byte("quick"))
		net.RunUntil(time.Second, func() bool { return len(all[(i+1)%3].msgs) == i+1 })
		hops := (net.Now() - began) / net.Faults.Delay
		if limit := time.Duration(1 + 3*i); hops > limit {
			t.Errorf("from node %d it took %d hops", o.ID(), hops)
		}
		net.Run(5 * time.Second)
	}
}

// TestIdleTraffic: a ring that has nothing to do costs a rotation and a merge-detect every
// hold interval, 685 ms here.
func TestIdleTraffic(t *testing.T) {
	net := ringtest.New(1)
	ring(t, net, 3)
	net.Run(5 * time.Second)
	sent := net.Sent
	net.Run(60 * time.Second)
	if per := float64(net.Sent-sent) / 60; per > 10 {
		t.Errorf("%.1f packets a second", per)
	}
}

// TestStrangers: other groups' and non-members' messages on the ring are not ours.
func TestStrangers(t *testing.T) {
	net := ringtest.New(1)
	a, b := start(t, net, 1), start(t, net, 2)
	c := start(t, net, 3, func(c *cpg.Config) { c.Group = "other" })
	net.Run(10 * time.Second)
	_ = c.Multicast([]byte("not for you"))
	_ = a.Multicast([]byte("hello"))
	net.Run(time.Second)
	if len(b.msgs) != 1 || len(b.last().Members) != 2 || len(b.last().Nodes) != 3 {
		t.Errorf("%v in %+v", b.msgs, b.last())
	}
	if b.Machine.Stats().OtherGroups == 0 {
		t.Error("the other group's message was not seen")
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]cpg.Config{
		"no node":      {Group: "g"},
		"no group":     {Totem: totem.Config{Node: 1}},
		"long group":   {Totem: totem.Config{Node: 1}, Group: string(bytes.Repeat([]byte("g"), 128))},
		"small queue":  {Totem: totem.Config{Node: 1}, Group: "g", QueueBytes: 1},
		"short token":  {Totem: totem.Config{Node: 1, Token: time.Millisecond}, Group: "g"},
		"small netmtu": {Totem: totem.Config{Node: 1, NetMTU: 100}, Group: "g"},
	} {
		if _, err := cpg.New(c, 0); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestNodesWithoutProcess: nodes of the ring without a process in our group are told, with a group that they
// have one of, whether they came before us or after.
func TestNodesWithoutProcess(t *testing.T) {
	net := ringtest.New(1)
	other := func(c *cpg.Config) { c.Group = "west" }
	one := start(t, net, 1, other)
	awaitView(t, net, 1, one)
	two := start(t, net, 2)
	three := start(t, net, 3, other)
	awaitView(t, net, 2, one, three)
	awaitView(t, net, 1, two)
	net.Run(time.Second)
	if got, want := fmt.Sprint(two.Machine.Strangers()), "[{1 west} {3 west}]"; got != want {
		t.Errorf("strangers %s, not %s", got, want)
	}
	three.Crash()
	net.Run(20 * time.Second)
	if got, want := fmt.Sprint(one.Machine.Strangers()), "[{2 g}]"; got != want {
		t.Errorf("strangers %s, not %s", got, want)
	}
	four := start(t, net, 4)
	awaitView(t, net, 2, two, four)
	if got, want := fmt.Sprint(four.Machine.Strangers()), "[{1 west}]"; got != want {
		t.Errorf("strangers %s, not %s", got, want)
	}
}
