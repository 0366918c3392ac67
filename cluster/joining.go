package cluster

import (
	"fmt"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// joiner is what a member keeps while it receives the state.
type joiner struct {
	donor     broker.MemberID
	token     viewID // the transfer: the view in which it was decided
	receiving bool
	backlog   []kept // ordered since the snapshot; also of a frozen member
	bytes     int64
	in        incoming
}

// kept is something ordered that is applied later: a message, an announcement or a view.
type kept struct {
	number uint64
	from   broker.MemberID
	data   []byte
	active bool // from announced that it has the state
	view   *View
}

// maxBacklog is how much may queue behind a snapshot; beyond it the joiner starts anew.
const maxBacklog = 2 << 30

// keep puts a message by, if it will count.
func (n *Node) keep(number uint64, from broker.MemberID, parts [][]byte) {
	if n.state == Joining && !n.join.receiving {
		return
	}
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	n.join.bytes += int64(len(b))
	if n.join.bytes > maxBacklog {
		n.event(Event{Kind: EventWaiting, Text: "the state takes longer to arrive than can be kept of what happens meanwhile; starting again"})
		n.restart()
		n.asides = append(n.asides, n.hello().encode())
		return
	}
	n.join.backlog = append(n.join.backlog, kept{number: number, from: from, data: b})
}

// joinerView is a new view while this member has no state.
func (n *Node) joinerView(v *View) {
	if !n.join.receiving {
		return
	}
	if !slices.Contains(v.Came, n.join.donor) {
		n.restart()
		return
	}
	n.join.backlog = append(n.join.backlog, kept{view: v})
}

// considerForming founds a cluster in a while, if nobody has one and enough are here.
func (n *Node) considerForming() {
	if len(n.view.members) < n.cfg.Size {
		n.event(Event{Kind: EventWaiting, Text: fmt.Sprintf("%d members, waiting for at least %d", len(n.view.members), n.cfg.Size)})
		return
	}
	if n.view.members[0] == n.cfg.Self {
		n.formAt = n.now + max(n.cfg.FormDelay, 1)
	}
}

func (n *Node) form() {
	w := newControl(controlForm)
	w.viewID(n.view.id)
	w.b = append(w.b, n.cfg.ClusterID[:]...)
	n.asides = append(n.asides, w.end())
}

// formed begins a new cluster with the members of this view.
func (n *Node) formed(r *controlReader) {
	view, id := r.viewID(), r.id()
	if r.err != nil || view != n.view.id || n.state != Joining || !n.view.decided || n.join.donor != 0 {
		return
	}
	n.id = id
	n.state = Active
	n.setActive(n.advance(), slices.Clone(n.view.members))
	n.event(Event{Kind: EventFormed, Text: fmt.Sprintf("cluster %s with %d members", id, len(n.active))})
	n.event(Event{Kind: EventJoined})
}

// pairUp gives every member without the state one that sends it, the least loaded first.
func (n *Node) pairUp(winners []broker.MemberID) {
	donors := slices.Clone(winners)
	slices.SortStableFunc(donors, func(a, b broker.MemberID) int {
		return compare(n.view.hello(a).load, n.view.hello(b).load)
	})
	next := 0
	for _, h := range n.view.hellos {
		if slices.Contains(winners, h.from) {
			continue
		}
		if h.state == CatchingUp && h.id == n.view.hello(winners[0]).id {
			if h.from == n.cfg.Self && n.state == CatchingUp {
				n.announce()
			}
			continue // it has the state
		}
		if h.donor != 0 && slices.Contains(winners, h.donor) {
			continue // its transfer goes on
		}
		d := donors[next%len(donors)]
		next++
		if d == n.cfg.Self {
			n.donateTo(h.from)
		}
		if h.from == n.cfg.Self {
			n.receiveFrom(d)
		}
	}
}

func (n *Node) receiveFrom(d broker.MemberID) {
	if n.state != Joining {
		n.restart()
	}
	early := n.early
	n.early = nil
	n.join = joiner{donor: d, token: n.view.id, receiving: true}
	n.event(Event{Kind: EventJoining, Member: d, Text: "receiving the state"})
	for _, p := range early {
		n.transferMessage(p.from, p.data)
	}
}

// replay applies what queued up.
func (n *Node) replay() {
	list := n.join.backlog
	n.join.backlog, n.join.bytes = nil, 0
	for i, k := range list {
		if n.state != Active && n.state != CatchingUp {
			// The quorum was lost on the way: the rest waits with the others.
			n.join.backlog = append(n.join.backlog, list[i:]...)
			return
		}
		switch {
		case k.view != nil:
			n.replayView(k.view)
		case k.active:
			n.addActive(k.from)
		default:
			n.Message(n.now, k.number, k.from, [][]byte{k.data})
		}
	}
}

// replayView is what View does, for one that is over.
func (n *Node) replayView(v *View) {
	for m, s := range n.streams {
		if !slices.Contains(v.Came, m) {
			s.drop(n.log)
			delete(n.streams, m)
		}
	}
	n.changeMembers(v)
}

// announce tells the others that this member has the state now.
func (n *Node) announce() {
	w := newControl(controlActive)
	w.viewID(n.view.id)
	n.asides = append(n.asides, w.end())
}

// becameActive takes an announcement. One made in another view is void: it is made again
// once that view's hellos are in.
func (n *Node) becameActive(from broker.MemberID, r *controlReader) {
	if id := r.viewID(); r.err != nil || id != n.view.id {
		return
	}
	switch {
	case n.state == Joining && n.join.receiving:
		n.join.backlog = append(n.join.backlog, kept{from: from, active: true})
	case n.state == Active || n.state == CatchingUp:
		n.addActive(from)
	}
}

// addActive adds a member to those that take part.
func (n *Node) addActive(from broker.MemberID) {
	if slices.Contains(n.active, from) {
		return
	}
	members := append(slices.Clone(n.active), from)
	slices.Sort(members)
	n.setActive(n.advance(), members)
	if from == n.cfg.Self {
		n.state = Active
		n.join = joiner{}
		n.event(Event{Kind: EventJoined})
		return
	}
	n.event(Event{Kind: EventOther, Member: from})
}
