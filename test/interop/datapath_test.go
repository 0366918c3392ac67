package interop

import (
	"fmt"
	"strings"
	"testing"
)

// TestDatapaths forms rings of a corosync and two of ours, each by another datapath and behind another guard.
// The corosync dies in the midst of what it multicasts and comes back, upon which rings find each other
// that do not know of each other.
func TestDatapaths(t *testing.T) {
	for _, x := range [][2][2]string{
		{{"packet", "tc"}, {"xdp", "xdp"}},
		{{"udp", "tc"}, {"packet", "off"}},
		{{"xdp", "off"}, {"udp", "xdp-generic"}},
	} {
		t.Run(fmt.Sprint(x), func(t *testing.T) {
			const theirs = 3
			l := newLab(t)
			list := []*process{l.corosync(theirs)}
			list[0].awaitView(viewLimit, theirs)
			for i, own := range x {
				p := l.ringnodeWith(i+1, 0, "QPID_RING_DATAPATH="+own[0], "QPID_RING_GUARD="+own[1])
				p.awaitLine(startLimit, "its datapath", func(line string) bool {
					return strings.HasPrefix(line, "notice the ring's datapath is "+own[0])
				})
				list = append(list, p)
			}
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, theirs)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
			killInFlood(l, list[1:], list[0], func() {
				l.daemons[theirs].kill()
				list[0].kill()
			})
			list[0] = l.corosync(theirs)
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, theirs)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}
