package ringtest

import (
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TestFormsFast: members that start within a few milliseconds of each other find a ring
// without waiting for a timeout.
func TestFormsFast(t *testing.T) {
	for seed := uint64(1); seed <= 300; seed++ {
		net := New(seed)
		net.Faults.Jitter = 100 * time.Microsecond
		var nodes []*Node
		for id := wire.NodeID(1); id <= 5; id++ {
			n, err := Start(net, config(id, 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, n)
			net.Run(time.Duration(net.Rand.Int64N(int64(time.Millisecond))))
		}
		began := net.Now()
		formed := net.RunUntil(10*time.Second, func() bool { return together(nodes) })
		if took := net.Now() - began; !formed || took > 500*time.Millisecond {
			t.Errorf("seed %d: %v after %v", seed, formed, took)
			for _, n := range nodes {
				t.Logf("node %d %s ring %v of %v", n.ID(), n.Machine.State(), n.Machine.Ring(), n.Machine.RingMembers())
			}
		}
	}
}

// together reports whether the nodes are one operational ring and group, and nobody else.
func together(nodes []*Node) bool {
	for _, n := range nodes {
		if n.Machine.State() != "operational" || n.Machine.Ring() != nodes[0].Machine.Ring() ||
			len(n.Machine.RingMembers()) != len(nodes) || len(n.Machine.Members()) != len(nodes) {
			return false
		}
	}
	return true
}
