package interop

import (
	"fmt"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/ring/corosync"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
)

// TestLargest has each member multicast its longest messages: with all headers ours has 1 MiB
// (section 3 of docs/ring-protocol.md), and what corosync takes from a client at once has a little
// less; longer ones libcpg cuts, which is its own affair.
func TestLargest(t *testing.T) {
	for _, ours := range []int{1, 2} {
		t.Run(fmt.Sprintf("we are %d", ours), func(t *testing.T) {
			list := newLab(t).members(ours, false)
			for _, less := range []int{0, 1, 512 << 10} {
				list[0].say("start %d", len(list))
				for _, p := range list {
					p.await(startLimit, "started")
				}
				for _, p := range list {
					most := corosync.MaxRequest
					if p.host == ours {
						most = cpg.MaxMessage
					}
					p.say("huge %d", most-less)
				}
				burst(t, exchangeLimit, 5, list...)
			}
		})
	}
}
