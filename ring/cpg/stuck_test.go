package cpg_test

import (
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
)

// TestStuck: a member whose synchronisation never ends, or that never hears of its own coming, has the ring
// formed anew, and all go on.
func TestStuck(t *testing.T) {
	for name, lose := range map[string]func(*cpg.Machine){"sync": (*cpg.Machine).LoseSync, "join": (*cpg.Machine).LoseJoin} {
		t.Run(name, func(t *testing.T) {
			net := ringtest.New(1)
			all := ring(t, net, 3)
			net.Run(time.Minute)
			for _, o := range all {
				if n := o.Machine.Stats().Stuck; n != 0 {
					t.Errorf("node %d was stuck %d times, and all is well", o.ID(), n)
				}
			}
			lose(all[1].Machine)
			if all[1].Machine.State() == "operational" {
				t.Fatal("nothing is lost")
			}
			awaitView(t, net, 3, all...)
			if n := all[1].Machine.Stats().Stuck; n != 1 {
				t.Errorf("it was stuck %d times", n)
			}
			sent := all[1].Machine.Multicast([]byte("again"))
			net.Run(time.Second)
			for _, o := range all {
				if len(o.msgs) != 1 {
					t.Errorf("node %d has %v: %v", o.ID(), o.msgs, sent)
				}
			}
		})
	}
}
