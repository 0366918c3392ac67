package cluster

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Quorum is how many votes it takes to go on, and to found a cluster, with the rules and the
// names of votequorum(5). The zero value asks for no votes: what counts then is who took part
// in the last quorate view.
type Quorum struct {
	// Expected is how many votes there are in all. More members than that make it more.
	Expected int
	// Weights are the votes of members by their node's id. Who is not named has one.
	Weights map[uint32]int
	// WaitForAll: a cluster is founded when all votes are there, not a majority.
	WaitForAll bool
	// TwoNode: of two votes that are expected one is enough.
	TwoNode bool
	// LastManStanding: once it has been quorate with fewer votes than are expected for
	// Window, a cluster expects no more than it has. All members must have one vote.
	LastManStanding bool
	Window          time.Duration
	// AllowDownscale: who leaves cleanly is not expected any more, down to Expected. It takes Tracking.
	AllowDownscale bool
	// Tracking: a cluster is founded only with a quorum of as many votes as one of its members ever
	// saw expected, which it keeps; Tracked is what it has kept.
	Tracking bool
	Tracked  int
	// TieBreaker tells which half goes on where a cluster falls into two.
	TieBreaker TieBreaker
	// TieNodes are the nodes of TieListed: the half with the first of them that took part.
	TieNodes []uint32
}

// TieBreaker is what auto_tie_breaker goes by.
type TieBreaker uint8

// Tie breakers.
const (
	TieNone    TieBreaker = iota // neither half goes on
	TieLowest                    // the half with the lowest member
	TieHighest                   // with the highest
	TieListed                    // with one of a list
)

// All is a quorum of n votes, one for each member, that waits for all of them to found a
// cluster: what --cluster-size asks for. 0 is the zero value.
func All(n int) Quorum { return Quorum{Expected: n, WaitForAll: n > 0} }

func node(m broker.MemberID) uint32 { return uint32(m >> 32) }

// votes is how many votes members have.
func (q *Quorum) votes(members []broker.MemberID) (sum int) {
	for _, m := range members {
		v, named := q.Weights[node(m)]
		if !named {
			v = 1
		}
		sum += v
	}
	return sum
}

// needed is how many votes it takes of so many that are expected.
func (q *Quorum) needed(expected int) int {
	if q.TwoNode && expected == 2 {
		return 1
	}
	return expected/2 + 1
}

// quorate tells whether members may go on, where last are those of the last quorate view.
func (q *Quorum) quorate(members, last []broker.MemberID, expected int) bool {
	if q.Expected == 0 {
		return outnumber(members, last)
	}
	have := q.votes(members)
	return have >= q.needed(expected) || q.breaksTie(members, last, have, expected)
}

// outnumber is the rule without votes: a majority of last; of an even split the half with the
// lowest id.
func outnumber(members, last []broker.MemberID) bool {
	in := filter(members, func(m broker.MemberID) bool { return slices.Contains(last, m) })
	if 2*len(in) != len(last) {
		return 2*len(in) > len(last)
	}
	return len(in) > 0 && slices.Contains(in, slices.Min(last))
}

// breaksTie tells whether members are the half that goes on: half of what is expected, of an
// odd number one less than half, and nobody else of the last view can have a quorum.
func (q *Quorum) breaksTie(members, last []broker.MemberID, have, expected int) bool {
	others := filter(last, func(m broker.MemberID) bool { return !slices.Contains(members, m) })
	if q.TieBreaker == TieNone || len(last) == 0 || have != expected/2 || q.votes(others) >= q.needed(expected) {
		return false
	}
	switch q.TieBreaker {
	case TieLowest:
		return slices.Contains(members, slices.Min(last))
	case TieHighest:
		return slices.Contains(members, slices.Max(last))
	}
	for _, id := range q.TieNodes {
		on := func(m broker.MemberID) bool { return node(m) == id }
		if slices.ContainsFunc(members, on) {
			return true
		}
		if slices.ContainsFunc(last, on) {
			return false
		}
	}
	return false
}

// founds tells whether members may found a cluster where so many votes are expected. A tie is not
// broken for them: without a last view nobody knows who else there is.
func (q *Quorum) founds(members []broker.MemberID, expected int) bool {
	return q.votes(members) >= q.founding(expected)
}

// founding is how many votes that takes. Of a cluster that was larger once, and could be made
// smaller since, those that left may be a majority, and not know of the rest.
func (q *Quorum) founding(expected int) int {
	switch {
	case q.Expected == 0:
		return 0
	case q.WaitForAll, q.AllowDownscale && expected > q.Expected:
		return expected
	}
	return q.needed(expected)
}

// count says a number of votes; where each member has one, as one of members.
func (q *Quorum) count(n int) string {
	if len(q.Weights) > 0 {
		return fmt.Sprintf("%d votes", n)
	}
	return fmt.Sprintf("%d members", n)
}

// quorate tells whether members may go on.
func (n *Node) quorate(members []broker.MemberID) bool {
	return n.cfg.Quorum.quorate(members, n.electorate, n.expected)
}

// expect takes into account who takes part: nobody is one too many. What is expected beyond
// them is forgotten after a while, where that is wanted.
func (n *Node) expect() {
	q := &n.cfg.Quorum
	n.expectAt = 0
	if q.Expected == 0 {
		return
	}
	have := q.votes(n.active)
	n.expected = max(n.expected, have)
	n.track(have)
	if q.LastManStanding && have < n.expected {
		n.expectAt = n.now + max(q.Window, 1)
	}
}

// expectFewer proposes to expect no more votes than there are: the last man's window is over.
// The lowest member does so for all, at a place of the order.
func (n *Node) expectFewer() {
	n.expectAt = 0
	if n.state != Active || slices.Min(n.active) != n.cfg.Self {
		return
	}
	w := newControl(controlExpect)
	w.viewID(n.view.id)
	w.Uint(0)
	n.asides = append(n.asides, w.End())
}

// expectedFewer takes that. What was proposed in another view is void: the window begins anew
// with each.
func (n *Node) expectedFewer(from broker.MemberID, r *controlReader) {
	id, votes := r.viewID(), 0
	if len(r.Rest) > 0 { // there is none from a member of an older version
		votes = int(r.UintTo(math.MaxInt32))
	}
	if r.Err != nil || id != n.view.id {
		return
	}
	switch {
	case n.behind():
		n.join.backlog = append(n.join.backlog, kept{from: from, fewer: true, votes: votes})
	case n.state == Active || n.state == CatchingUp:
		n.lowerExpected(votes)
	}
}

// lowerExpected expects so many votes from here on, but not fewer than there are.
func (n *Node) lowerExpected(votes int) {
	q := &n.cfg.Quorum
	votes = max(votes, q.votes(n.active))
	if q.AllowDownscale {
		votes = max(votes, q.Expected)
	}
	if votes < n.expected {
		n.expected = votes
		n.event(Event{Kind: EventFewer, Text: q.count(votes)})
	}
	n.remain = 0
}
