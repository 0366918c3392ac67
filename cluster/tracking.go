package cluster

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// allow_downscale and expected_votes_tracking of votequorum(5).
//
// Who is shut down tells the others, which expect fewer votes from then on: those that were there
// without it, and at least as many as are configured. That is done at a place of the order, as not all
// need have heard of the goodbye before the ring changed. Only a cluster with a quorum does so; a
// corosync does without one, too, and two halves can both go on.
//
// Then those that were shut down may be more than those that went on. With a history, in memory or in a
// store, they have no say in one that goes on without them (voters). Without any, a cluster begins with
// the most votes that one of its members ever saw expected, and keeps; if that is more than are
// configured, and downscaling is allowed, with all of them. Where a part of the cluster has a quorum, or
// goes on, what it expects counts.

// track notes what is expected. Who comes makes up for somebody that is shut down.
func (n *Node) track(have int) {
	if have > n.remain {
		n.remain = 0
	}
	if n.cfg.Quorum.Tracking && n.expected > n.tracked {
		n.tracked = n.expected
		n.event(Event{Kind: EventTracked})
	}
}

// Tracked is the most votes that this member ever saw expected, to be kept and given to the next
// that runs in its place.
func (n *Node) Tracked() int { return n.tracked }

// Expected is how many votes are expected; 0: nobody counts them.
func (n *Node) Expected() int { return n.expected }

// saidGoodbye notes how many votes remain of the active members without those that left cleanly.
func (n *Node) saidGoodbye(v *View) {
	if !n.cfg.Quorum.AllowDownscale {
		return
	}
	stay := filter(n.active, func(m broker.MemberID) bool { return !slices.Contains(v.LeftCleanly, m) })
	if len(stay) < len(n.active) {
		n.remain = n.cfg.Quorum.votes(stay)
	}
}

// downscale proposes to expect no more than that. It is proposed in each view until it is done, and
// by the lowest member for all.
func (n *Node) downscale() {
	if n.remain == 0 || n.state != Active || n.active[0] != n.cfg.Self {
		return
	}
	w := newControl(controlExpect)
	w.viewID(n.view.id)
	w.Uint(uint64(n.remain))
	n.asides = append(n.asides, w.End())
}

// known is how many votes are expected as far as the members of the view know, of which all have
// said hello; it is no more than is configured where nobody keeps it.
func (n *Node) known() int {
	most := n.cfg.Quorum.Expected
	if !n.cfg.Quorum.Tracking {
		return most
	}
	for _, h := range n.view.hellos {
		most = max(most, h.expected)
	}
	return most
}

// voters are the holders of a history that have a say in whether it goes on. Where members are not
// expected any more, that is those that took part in its last view, or their stores: a majority of them
// is in any part that went on. Others could make two parts of that view a majority each.
func (n *Node) voters(best *hello, holders []broker.MemberID) []broker.MemberID {
	if q := &n.cfg.Quorum; !q.AllowDownscale && !q.LastManStanding {
		return holders
	}
	return filter(holders, func(m broker.MemberID) bool {
		s := n.view.hello(m).store
		return slices.Contains(best.electorate, m) || s != (journal.UUID{}) && slices.Contains(best.stores, s)
	})
}
