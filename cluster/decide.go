package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// What is decided when all members of a view have said hello: whose history counts, and what that means for
// each.

func (n *Node) tookHello(h *hello) {
	if h.view != n.view.id || !slices.Contains(n.view.members, h.from) {
		return
	}
	n.view.hellos = slices.DeleteFunc(n.view.hellos, func(o *hello) bool { return o.from == h.from })
	n.view.hellos = append(n.view.hellos, h)
	said := 0
	for _, h := range n.view.hellos {
		if h.view == n.view.id {
			said++
		}
	}
	if said == len(n.view.members) && !n.view.decided {
		n.view.decided = true
		slices.SortFunc(n.view.hellos, func(a, b *hello) int { return cmp.Compare(a.from, b.from) })
		n.decide()
		n.event(Event{Kind: EventKnown})
	}
}

// decide is reached by all members of a view at the same place, with the same hellos: who
// has the history that counts, who has to receive it, and from whom.
func (n *Node) decide() {
	n.noteFull()
	best := n.best()
	if best == nil {
		n.considerForming()
		return
	}
	if n.foreign(best) {
		return
	}
	if n.state == Joining && slices.ContainsFunc(best.stores, func(s journal.UUID) bool { return s != (journal.UUID{}) }) {
		n.joins = best.id // if all of it goes down now, it is to come back
	}
	winners, holders := n.winners(best)
	if len(winners) == 0 {
		n.event(Event{Kind: EventWaiting, Text: n.lacking(best, holders)})
		if n.state == Joining && n.join.receiving {
			n.restart()
		}
		return
	}
	if best.based {
		// Nobody is active yet. Who knows better, or is of another cluster, may be about to come.
		if winners[0] == n.cfg.Self {
			n.formAt = n.now + max(n.cfg.FormDelay, 1)
		}
		return
	}
	if slices.Contains(winners, n.cfg.Self) {
		if n.state == Frozen {
			n.thawAnew(winners)
		}
	} else if own := n.view.hello(n.cfg.Self); own.state == Active || own.state == Frozen {
		n.demote(n.view.hello(winners[0]))
		if n.state == Left {
			return
		}
	}
	n.pairUp(winners)
}

// best is who has the history that counts most; nil if nobody has any.
func (n *Node) best() (best *hello) {
	for _, h := range n.view.hellos {
		if h.state != Active && h.state != Frozen && !h.based {
			continue
		}
		if best == nil || n.outranks(h, best) {
			best = h
		}
	}
	return best
}

// winners lists the members that have the best history, if it is the cluster's: theirs is a
// quorum, or all that have a history of the cluster's make one together.
func (n *Node) winners(best *hello) (same, all []broker.MemberID) {
	for _, h := range n.view.hellos {
		if h.id != best.id || h.state != Active && h.state != Frozen && !h.based {
			continue
		}
		all = append(all, h.from)
		// Two parts that went on at the same time, as two_node lets them, differ.
		if h.state == best.state && h.epoch == best.epoch && h.index == best.index && h.chain == best.chain {
			same = append(same, h.from)
		}
	}
	if best.state == Active {
		return same, all
	}
	if !n.recovers(best, all) {
		return nil, all
	}
	return same, all
}

// lacking tells a person why nobody goes on, though holders have the cluster's state.
func (n *Node) lacking(best *hello, holders []broker.MemberID) string {
	q := &n.cfg.Quorum
	if best.based {
		return n.missing(best)
	}
	if q.Expected == 0 {
		return fmt.Sprintf("no quorum: %d members are expected; here are %d with the cluster's state and %d without",
			len(best.electorate), len(holders), len(n.joining()))
	}
	return fmt.Sprintf("no quorum: %s are expected; here are %d with the cluster's state and %d without",
		q.count(best.expected), q.votes(holders), q.votes(n.joining()))
}

// joining are those of the view that come with nothing.
func (n *Node) joining() (list []broker.MemberID) {
	for _, h := range n.view.hellos {
		if h.state == Joining && !h.based {
			list = append(list, h.from)
		}
	}
	return list
}

// allHere tells whether all votes that are expected are here, of holders of the history and of
// others that come with nothing. They cannot vote for a history that they may once have known
// better, but then nobody is left who does.
func (n *Node) allHere(holders []broker.MemberID, best *hello) bool {
	q := &n.cfg.Quorum
	return q.Expected > 0 && q.votes(holders)+q.votes(n.joining()) >= best.expected
}

// outranks tells whether h's history counts more than o's.
func (n *Node) outranks(h, o *hello) bool {
	if (h.state == Active) != (o.state == Active) {
		return h.state == Active
	}
	if h.state == Active && h.id != o.id {
		// Two clusters were founded apart from each other: the one with more to lose stays.
		if (h.messages > 0) != (o.messages > 0) {
			return h.messages > 0
		}
		if len(h.electorate) != len(o.electorate) {
			return len(h.electorate) > len(o.electorate)
		}
		return slices.Compare(h.id[:], o.id[:]) < 0
	}
	if h.marked != o.marked {
		return h.marked
	}
	if h.epoch != o.epoch {
		return h.epoch > o.epoch
	}
	if h.based != o.based {
		return o.based // what was acknowledged in this epoch, a member of its view has; and it has more
	}
	return h.index > o.index
}

// demote gives this member's state up for that of the cluster that winner is of.
func (n *Node) demote(winner *hello) {
	if winner.id != n.id && (n.log.Stats().Live > 0 || n.revived) {
		n.mismatch(n.id, winner.id)
		return
	}
	text := "another part of the cluster went on without this member"
	if n.state == Active {
		text += ", and so did this one without that: what it took meanwhile is given up"
	}
	n.event(Event{Kind: EventDemoted, Text: text})
	n.voidBacklog()
	n.restart()
}

// restart begins to join anew, with nothing but what may spare it receiving what it has.
func (n *Node) restart() {
	n.abandonCheckpoint()
	for _, d := range n.donate {
		d.release(n.log)
	}
	n.donate = nil
	n.releaseTransfer()
	if n.state == Active || n.state == Frozen || n.state == CatchingUp {
		n.rememberBase()
	}
	n.state = Joining
	n.clear()
	n.join = joiner{}
	for m, s := range n.streams { // each is dropped by itself: the order does not matter
		s.drop(n.log)
		delete(n.streams, m)
	}
	n.awaiting = n.awaiting[:0]
	clear(n.inquiries)
	n.disk.forget()
	n.out, n.sent, n.cut = n.out[:0], 0, 0
}

// clear forgets whose history this is, and how far it goes.
func (n *Node) clear() {
	n.id, n.index, n.chain, n.epoch = ID{}, 0, 0, 0
	n.active, n.electorate, n.stores, n.eras = nil, nil, nil, nil
	n.pace = pace{}
	n.expected, n.expectAt, n.remain = n.least(), 0, 0
}
