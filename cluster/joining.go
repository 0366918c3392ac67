package cluster

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// joiner is what a member keeps while it receives the state.
type joiner struct {
	donor     broker.MemberID
	token     viewID // the transfer: the view in which it was decided
	receiving bool
	replaying bool   // the state is here; the backlog is being applied
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
	fewer  bool // from proposed to expect fewer votes
	votes  int  // so many
	view   *View
	at     viewID // in which it was, or which it is
}

// maxBacklog is how much may queue behind a snapshot; beyond it the joiner starts anew.
const maxBacklog = 2 << 30

// behind tells whether what is ordered now waits behind a state that is on its way, or behind what
// has queued up meanwhile.
func (n *Node) behind() bool { return n.join.receiving || n.join.replaying }

// keep puts a message by.
func (n *Node) keep(number uint64, from broker.MemberID, parts [][]byte) {
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

// joinerView is a new view while this member is behind.
func (n *Node) joinerView(v *View) {
	if n.join.receiving && !slices.Contains(v.Came, n.join.donor) {
		n.restart()
		return
	}
	n.join.backlog = append(n.join.backlog, kept{view: v, at: n.view.id})
}

// considerForming founds a cluster in a while, if nobody has one and enough are here.
func (n *Node) considerForming() {
	if n.joins != (ID{}) {
		n.event(Event{Kind: EventWaiting, Text: fmt.Sprintf("cluster %s, which this member was about to join, has gone down, and has stores: waiting for its members; to found another cluster, start this broker anew", n.joins)})
		return
	}
	if q, expected := &n.cfg.Quorum, n.known(); !q.founds(n.view.members, expected) {
		n.event(Event{Kind: EventWaiting, Text: fmt.Sprintf("%s, waiting for at least %d", q.count(q.votes(n.view.members)), q.founding(expected))})
		return
	}
	if n.view.members[0] == n.cfg.Self {
		n.formAt = n.now + max(n.cfg.FormDelay, 1)
	}
}

func (n *Node) form() {
	w := newControl(controlForm)
	w.viewID(n.view.id)
	w.Bytes = append(w.Bytes, n.cfg.ClusterID[:]...)
	n.asides = append(n.asides, w.End())
}

// formedAnew goes on with the history that counts most of those in the members' stores.
func (n *Node) formedAnew(best *hello) {
	winners, _ := n.winners(best)
	if !best.based || len(winners) == 0 {
		return
	}
	n.view.formed = true
	if slices.Contains(winners, n.cfg.Self) {
		n.revive(winners)
	} else if n.state == Frozen {
		n.demote(best)
	}
	if n.state != Left {
		n.pairUp(winners)
	}
}

// formed begins a new cluster with the members of this view.
func (n *Node) formed(r *controlReader) {
	view, id := r.viewID(), r.id()
	if r.Err != nil || view != n.view.id || !n.view.decided || n.view.formed || n.state == Left {
		return
	}
	if best := n.best(); best != nil {
		n.formedAnew(best)
		return
	}
	if n.state != Joining || n.join.donor != 0 {
		return
	}
	n.id, n.expected = id, n.known()
	n.state = Active
	n.log.SetCluster(journal.UUID(id))
	n.setActive(n.advance(), slices.Clone(n.view.members), n.view.id)
	n.event(Event{Kind: EventFormed, Text: fmt.Sprintf("cluster %s with %d members", id, len(n.active))})
	n.event(Event{Kind: EventJoined})
}

// pairUp gives every member without the state one that sends it, the least loaded first.
func (n *Node) pairUp(winners []broker.MemberID) {
	donors := slices.Clone(winners)
	slices.SortStableFunc(donors, func(a, b broker.MemberID) int {
		return cmp.Compare(n.view.hello(a).load, n.view.hello(b).load)
	})
	next := 0
	for _, h := range n.view.hellos {
		if slices.Contains(winners, h.from) {
			continue
		}
		if h.based && h.id != n.view.hello(winners[0]).id {
			continue // it is of another cluster, and knows
		}
		if h.state == CatchingUp && h.id == n.view.hello(winners[0]).id {
			if h.from == n.cfg.Self && n.state == CatchingUp && !n.behind() {
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
			n.donateTo(h)
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
	n.releaseTransfer() // of another donor
	early := n.early
	n.early = nil
	n.join = joiner{donor: d, token: n.view.id, receiving: true}
	n.event(Event{Kind: EventJoining, Member: d, Text: "receiving the state"})
	for _, p := range early {
		n.takeTransfer(p.from, p.data)
	}
}

// replayTurn is how much of the backlog is applied in a turn of the engine: more than comes meanwhile.
const replayTurn = 1 << 20

// goOnReplaying applies some of what queued up behind the state, and tells whether there is more.
func (n *Node) goOnReplaying() (more bool) {
	if !n.join.replaying {
		return false
	}
	n.replay(replayTurn)
	if n.join.replaying && len(n.join.backlog) == 0 {
		n.join.replaying = false
		n.announce()
	}
	return n.join.replaying
}

// replay applies so many bytes of what queued up. If the quorum is lost on the way, the rest waits with
// the others.
func (n *Node) replay(bytes int64) {
	for (n.state == Active || n.state == CatchingUp) && len(n.join.backlog) > 0 && bytes > 0 {
		k := n.join.backlog[0]
		n.join.backlog[0] = kept{}
		n.join.backlog = n.join.backlog[1:]
		n.join.bytes -= int64(len(k.data))
		bytes -= int64(len(k.data))
		switch {
		case k.view != nil:
			n.replayView(k.view, k.at)
		case k.active:
			n.addActive(k.from, k.at)
		case k.fewer:
			n.lowerExpected(k.votes)
		default:
			r := partReader{parts: [][]byte{k.data[messageHead:]}}
			n.stream(k.number, k.from, binary.LittleEndian.Uint32(k.data[4:]), &r)
		}
	}
}

// replayView is what View does, for one that is over.
func (n *Node) replayView(v *View, at viewID) {
	n.dropStreams(v)
	n.changeMembers(v, at)
}

// announce tells the others that this member has the state now.
func (n *Node) announce() {
	w := newControl(controlActive)
	w.viewID(n.view.id)
	n.asides = append(n.asides, w.End())
}

// becameActive takes an announcement. One made in another view is void: it is made again
// once that view's hellos are in.
func (n *Node) becameActive(from broker.MemberID, r *controlReader) {
	if id := r.viewID(); r.Err != nil || id != n.view.id {
		return
	}
	switch {
	case n.behind():
		n.join.backlog = append(n.join.backlog, kept{from: from, active: true, at: n.view.id})
	case n.state == Active || n.state == CatchingUp:
		n.addActive(from, n.view.id)
	}
}

// addActive adds a member to those that take part.
func (n *Node) addActive(from broker.MemberID, at viewID) {
	if slices.Contains(n.active, from) {
		return
	}
	members := append(slices.Clone(n.active), from)
	slices.Sort(members)
	n.setActive(n.advance(), members, at)
	if from == n.cfg.Self {
		n.state = Active
		n.join = joiner{}
		n.event(Event{Kind: EventJoined})
		return
	}
	n.event(Event{Kind: EventOther, Member: from})
}
