package ringtest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TestLazily: a message that nobody waits for goes with the next that somebody does wait for,
// whoever multicasts that, and else before long.
func TestLazily(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			net := New(1)
			var nodes []*Node
			var got []string // at node 1
			for id := wire.NodeID(1); id <= 3; id++ {
				cfg := config(id, 100+uint32(id))
				cfg.Totem.Plain = plain
				n, err := Start(net, cfg, func(n *Node, r *cpg.Ready) {
					for _, e := range r.Events {
						if e.Message && n.ID() == 1 {
							got = append(got, string(slices.Concat(e.Parts...)))
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				nodes = append(nodes, n)
			}
			net.Run(2 * time.Second)
			lazily := func(i int, text string) {
				if err := nodes[i].Machine.MulticastLazily([]byte(text)); err != nil {
					t.Fatal(err)
				}
				nodes[i].Do()
			}
			expect := func(want ...string) {
				t.Helper()
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("delivered %v, want %v", got, want)
				}
				got = nil
			}
			lazily(1, "alone")
			net.Run(9 * time.Millisecond)
			expect()
			net.Run(2 * time.Millisecond)
			expect("alone")
			net.Run(2 * time.Second)

			lazily(1, "along")
			if err := nodes[2].Multicast([]byte("wanted")); err != nil {
				t.Fatal(err)
			}
			net.Run(time.Millisecond)
			expect("along", "wanted")
		})
	}
}
