package cluster

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Evidence that a process is dead for good: with it, members go on where a quorum alone would not let them.

// maxCorpses bounds the members remembered as dead.
const maxCorpses = 64

// Dead tells that a member's process is known to be dead, on this very host.
func (n *Node) Dead(now time.Duration, m broker.MemberID) {
	n.now = now
	if !slices.Contains(n.corpses, m) {
		n.corpses = append(n.corpses[max(0, len(n.corpses)-maxCorpses):], m)
	}
	n.testify()
}

// testify tells the others who is known to be dead, if that can make a quorum: where votes are
// configured it cannot, the dead stay expected.
func (n *Node) testify() {
	if n.state != Frozen || n.cfg.Quorum.Expected > 0 {
		return
	}
	for _, m := range n.corpses {
		if !slices.Contains(n.electorate, m) || slices.Contains(n.view.members, m) || n.stores[m] != (journal.UUID{}) {
			continue // who has a disk may come back, and with others outvote this one
		}
		w := newControl(controlDead)
		w.viewID(n.view.id)
		w.Uint(uint64(m))
		n.asides = append(n.asides, w.End())
	}
}

// dead takes a member off the electorate, and perhaps that makes a quorum. All members of
// the view say hello anew: what they said before may no longer be so.
func (n *Node) dead(r *controlReader) {
	id, m := r.viewID(), broker.MemberID(r.Uint())
	if r.Err != nil || id != n.view.id || slices.Contains(n.view.members, m) {
		return
	}
	n.view.id.hash++
	n.view.decided, n.view.formed = false, false
	if n.state == Frozen && n.cfg.Quorum.Expected == 0 {
		n.electorate = filter(n.electorate, func(x broker.MemberID) bool { return x != m })
		if n.quorate(n.active) {
			if n.voided {
				n.thawAnew(n.active)
			} else {
				n.thaw(n.active)
			}
		}
	}
	n.asides = append(n.asides, n.hello().encode())
	n.testify()
}
