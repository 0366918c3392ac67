package datapath

import (
	"net/netip"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// guarded is a node before which the guard is run on each packet, as it is in the kernel.
type guarded struct {
	t     *testing.T
	node  *ringtest.Node
	guard *bpf.Guard
	// compare has the node get what is dropped all the same, of which it is to make nothing.
	compare bool
	sloppy  int // per cent of the times that it forgets to say what it has

	duplicates int
}

func newGuarded(t *testing.T, n *ringtest.Node, hook bpf.Hook, compare bool, sloppy int) *guarded {
	t.Helper()
	g, err := bpf.Load(bpf.Config{Hook: hook, Drop: true, Own: nodeAddress(n.ID()), Group: group})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	x := &guarded{t: t, node: n, guard: g, compare: compare, sloppy: sloppy}
	n.Net.Attach(n.ID(), x)
	return x
}

// toEveryone is a ring packet as it comes in.
func toEveryone(from wire.NodeID, data []byte) []byte {
	t := frame.NewTemplate(frame.Route{Source: frame.MAC{2}, From: nodeAddress(from), To: netip.AddrPortFrom(group, port), TTL: 1})
	b := make([]byte, frame.MaxHeaderBytes)
	n := t.Put(b, len(data))
	t.Finish(b[:n], data)
	return append(b[:n], data...)
}

// Receive implements ringtest.Host.
func (x *guarded) Receive(now time.Duration, p wire.Packet) {
	h, err := wire.ParseHeader(p.Data)
	if err != nil || h.Type != wire.TypeMcast && h.Type != wire.TypeMergeDetect {
		x.pass(now, p)
		return
	}
	node := h.Node
	if node == x.node.ID() {
		node++ // somebody repeats what this node has sent
	}
	dropped, err := x.guard.Run(toEveryone(node, p.Data))
	if err != nil {
		x.t.Fatal(err)
	}
	switch {
	case !dropped:
		x.pass(now, p)
	case x.ofOurRing(p.Data):
		x.duplicates++
		x.nothing(now, p)
	default:
		// How many of these go on is by the kernel's clock, of which hardly any passes here.
		x.pass(now, p)
	}
}

func (x *guarded) ofOurRing(data []byte) bool {
	m, err := wire.ParseMcast(data)
	ring, _, _ := x.node.Machine.Held()
	return err == nil && m.Ring == ring
}

// nothing shows that the node makes nothing of a packet that was dropped.
func (x *guarded) nothing(now time.Duration, p wire.Packet) {
	if !x.compare {
		return
	}
	x.node.Machine.Tick(now) // what is due is due without it, too
	x.node.Flush()
	before := x.node.Machine.Stats().Totem
	x.node.Machine.Step(now, p)
	after := x.node.Machine.Stats().Totem
	if after.Duplicates+after.OutOfRange != before.Duplicates+before.OutOfRange+1 {
		x.t.Errorf("a packet was dropped that was not thrown away: before %+v, after %+v", before, after)
	}
	before.Duplicates, before.OutOfRange = after.Duplicates, after.OutOfRange
	if r := x.node.Machine.Ready(); after != before || len(r.Send) > 0 || len(r.Events) > 0 {
		x.t.Errorf("the node has made something of a packet that was dropped: before %+v, after %+v", before, after)
	}
}

func (x *guarded) pass(now time.Duration, p wire.Packet) {
	x.node.Receive(now, p)
	x.say()
}

// Wake implements ringtest.Host.
func (x *guarded) Wake(now time.Duration) time.Duration {
	next := x.node.Wake(now)
	x.say()
	return next
}

// say tells the guard what the node has. That it is in another ring is always said.
func (x *guarded) say() {
	ring, aru, ok := x.node.Machine.Held()
	if !ok {
		x.guard.Release()
		return
	}
	if x.node.Net.Rand.IntN(100) >= x.sloppy {
		x.guard.Hold(uint32(ring.Rep), ring.Seq, uint32(aru))
	}
}

// TestHeldIsOfNoUse: what the guard drops as a duplicate, the member throws away in the same state, in
// rings under faults; and rings keep every promise without it.
func TestHeldIsOfNoUse(t *testing.T) {
	passPrivileged(t)
	for _, hook := range []bpf.Hook{bpf.Native, bpf.TC} {
		for _, compare := range []bool{true, false} {
			duplicates := 0
			for seed := range uint64(6) {
				var list []*guarded
				lives(t, seed, func(i int, n *ringtest.Node) {
					list = append(list, newGuarded(t, n, hook, compare, 30*i))
				})
				for _, x := range list {
					duplicates += x.duplicates
				}
			}
			t.Logf("%s, compared %v: %d duplicates were dropped", hook, compare, duplicates)
			if duplicates < 500 {
				t.Errorf("only %d duplicates were dropped", duplicates)
			}
		}
	}
}
