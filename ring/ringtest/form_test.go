package ringtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func config(id wire.NodeID, pid uint32) cpg.Config {
	return cpg.Config{Totem: totem.Config{Node: id, Nodes: 3}, Group: "test", PID: pid}
}

func TestForm(t *testing.T) {
	net := New(1)
	var nodes []*Node
	got := make([][]string, 4)
	for id := wire.NodeID(1); id <= 3; id++ {
		n, err := Start(net, config(id, 100+uint32(id)), func(n *Node, r *cpg.Ready) {
			for _, e := range r.Events {
				if e.View != nil {
					t.Logf("%v node %d view %v %v trans %v left %v", net.Now(), n.ID(), e.View.Ring, e.View.Members, e.View.Transitional, e.View.Left)
					continue
				}
				var b []byte
				for _, p := range e.Parts {
					b = append(b, p...)
				}
				got[n.ID()] = append(got[n.ID()], fmt.Sprint(e.Number, e.From, len(b), string(b[:5])))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	net.Run(2 * time.Second)
	for i := range 5 {
		for _, n := range nodes {
			b := make([]byte, 1+i*5000)
			if err := n.Multicast([]byte(fmt.Sprintf("m%d.%02d", n.ID(), i)), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	net.Run(2 * time.Second)
	for i := 2; i <= 3; i++ {
		if fmt.Sprint(got[i]) != fmt.Sprint(got[1]) {
			t.Errorf("node %d: %v\nnode 1: %v", i, got[i], got[1])
		}
	}
	if len(got[1]) != 15 {
		t.Errorf("delivered %v", got[1])
	}
	for _, n := range nodes {
		t.Logf("%s %+v safe %d", n.Machine.State(), n.Machine.Stats(), n.Machine.Safe())
	}
}
