package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// View is a new membership of the group, at its place in the order of messages.
type View struct {
	RingRep uint32
	RingSeq uint64
	Members []broker.MemberID
	// Came lists who has been delivered the same as this member up to here.
	Came []broker.MemberID
	// LeftCleanly lists who said good-bye.
	LeftCleanly []broker.MemberID
}

// view is the current one, and what its members have said of themselves.
type view struct {
	id      viewID
	members []broker.MemberID
	hellos  []*hello
	decided bool
}

func (v *view) hello(m broker.MemberID) *hello {
	for _, h := range v.hellos {
		if h.from == m {
			return h
		}
	}
	return nil
}

// EventKind tells what an Event says.
type EventKind uint8

// Events, for the log.
const (
	EventForeign EventKind = iota + 1 // something was not understood, and dropped
	EventView                         // members changed
	EventKnown                        // all members have said who and where they are
	EventWaiting                      // for more members, or for the quorum
	EventFormed                       // a new cluster
	EventJoining                      // receiving the state
	EventJoined                       // this member is active
	EventOther                        // another member became active
	EventFrozen                       // quorum lost
	EventThawed                       // quorum regained
	EventDemoted                      // this member's state was given up for the cluster's
	EventFatal                        // it cannot go on: Text says why
)

// Event is something worth telling a person.
type Event struct {
	Kind   EventKind
	Member broker.MemberID
	Text   string
}

func (n *Node) event(e Event) { n.ready.Events = append(n.ready.Events, e) }

// View takes a new membership.
func (n *Node) View(now time.Duration, v *View) {
	n.now = now
	n.formAt = 0
	members := slices.Clone(v.Members)
	slices.Sort(members)
	old := n.view
	n.view = view{id: identify(v, members), members: members, hellos: keepHellos(old.hellos, v.Came)}
	for m, s := range n.streams { // each is dropped by itself: the order does not matter
		if !slices.Contains(v.Came, m) {
			s.drop(n.log)
			delete(n.streams, m)
		}
	}
	n.donate = slices.DeleteFunc(n.donate, func(d *donor) bool { return d.orphaned(v.Came) })
	n.event(Event{Kind: EventView, Text: fmt.Sprintf("%d members", len(members))})
	switch n.state {
	case Active, CatchingUp:
		n.changeMembers(v)
	case Frozen:
		n.refreeze(v)
	case Joining:
		n.joinerView(v)
	}
	n.asides = append(n.asides, n.hello().encode())
	n.testify()
}

// keepHellos keeps what members that came along said, for Status; decide wants new ones.
func keepHellos(old []*hello, came []broker.MemberID) []*hello {
	var kept []*hello
	for _, h := range old {
		if slices.Contains(came, h.from) {
			h.view = viewID{}
			kept = append(kept, h)
		}
	}
	return kept
}

func identify(v *View, members []broker.MemberID) viewID {
	h := fnv.New64a()
	var b [8]byte
	for _, m := range members {
		binary.LittleEndian.PutUint64(b[:], uint64(m))
		h.Write(b[:])
	}
	return viewID{rep: v.RingRep, seq: v.RingSeq, hash: h.Sum64()}
}

func (n *Node) hello() *hello {
	h := &hello{view: n.view.id, state: n.state, id: n.id, epoch: n.epoch, index: n.index,
		chain: n.chain, load: uint64(len(n.conns)), messages: uint64(max(n.log.Stats().Live, 0)),
		electorate: n.electorate, url: n.cfg.URL, mesh: n.cfg.Mesh}
	if n.state == Joining && n.join.receiving || n.state == CatchingUp {
		h.donor = n.join.donor
	}
	return h
}

// advance moves the index for something that is ordered and changes who takes part.
func (n *Node) advance() *broker.Entry {
	n.index++
	n.mix(uint32(n.index))
	return &broker.Entry{Index: n.index, Now: n.now}
}

// changeMembers goes on with those active members that came along, if they have a quorum.
func (n *Node) changeMembers(v *View) {
	stay := func(m broker.MemberID) bool { return slices.Contains(v.Came, m) }
	survivors := filter(n.active, stay)
	if len(survivors) == len(n.active) {
		return
	}
	n.electorate = filter(n.electorate, func(m broker.MemberID) bool { return !slices.Contains(v.LeftCleanly, m) })
	e := n.advance()
	if !n.quorate(survivors) {
		n.freeze(survivors)
		return
	}
	n.setActive(e, survivors)
}

func filter(list []broker.MemberID, keep func(broker.MemberID) bool) []broker.MemberID {
	var kept []broker.MemberID
	for _, m := range list {
		if keep(m) {
			kept = append(kept, m)
		}
	}
	return kept
}

// setActive makes members the ones that take part from e on.
func (n *Node) setActive(e *broker.Entry, members []broker.MemberID) {
	n.active = members
	n.electorate = slices.Clone(members)
	n.epoch = e.Index
	n.broker.Members(e, members)
}

// quorate tells whether members may go on: a majority of the votes expected, or, where none
// are configured, of those who took part in the last quorate view; of an even split the
// half with the lowest id.
func (n *Node) quorate(members []broker.MemberID) bool {
	if n.cfg.Size > 0 {
		return len(members) >= n.cfg.Size/2+1
	}
	in := filter(members, func(m broker.MemberID) bool { return slices.Contains(n.electorate, m) })
	if 2*len(in) != len(n.electorate) {
		return 2*len(in) > len(n.electorate)
	}
	return len(in) > 0 && slices.Contains(in, slices.Min(n.electorate))
}

func (n *Node) freeze(survivors []broker.MemberID) {
	if n.state == CatchingUp {
		n.restart()
		return
	}
	n.active = survivors
	n.state, n.frozenAt = Frozen, n.now
	n.event(Event{Kind: EventFrozen, Text: fmt.Sprintf("%d of %d members are left", len(survivors), n.expected())})
}

func (n *Node) expected() int {
	if n.cfg.Size > 0 {
		return n.cfg.Size
	}
	return len(n.electorate)
}

// refreeze is another view without quorum: what was ordered in the last one is void, since
// who comes along now need not have seen it.
func (n *Node) refreeze(v *View) {
	n.active = filter(n.active, func(m broker.MemberID) bool { return slices.Contains(v.Came, m) })
	n.voidBacklog()
}

// voidBacklog gives up what was ordered without quorum. Clients cannot know what became of
// their requests, so they are disconnected.
func (n *Node) voidBacklog() {
	n.join.backlog = nil
	n.awaiting = n.awaiting[:0]
	n.frozenAt = 0
	n.dropClients("this member lost the quorum; connect to another member")
}

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
	if n.state != Frozen || n.cfg.Size > 0 {
		return
	}
	for _, m := range n.corpses {
		if !slices.Contains(n.electorate, m) || slices.Contains(n.view.members, m) {
			continue
		}
		w := newControl(controlDead)
		w.viewID(n.view.id)
		w.uint(uint64(m))
		n.asides = append(n.asides, w.end())
	}
}

// dead takes a member off the electorate, and perhaps that makes a quorum. All members of
// the view say hello anew: what they said before may no longer be so.
func (n *Node) dead(r *controlReader) {
	id, m := r.viewID(), broker.MemberID(r.uint())
	if r.err != nil || id != n.view.id || slices.Contains(n.view.members, m) {
		return
	}
	n.view.id.hash++
	n.view.decided = false
	if n.state == Frozen && n.cfg.Size == 0 {
		n.electorate = filter(n.electorate, func(x broker.MemberID) bool { return x != m })
		if n.quorate(n.active) {
			n.thaw(n.active)
		}
	}
	n.asides = append(n.asides, n.hello().encode())
	n.testify()
}

// thaw goes on with members, in the view in which they lost the quorum: what was ordered
// since counts.
func (n *Node) thaw(members []broker.MemberID) {
	n.state, n.frozenAt = Active, 0
	n.setActive(n.advance(), members)
	n.event(Event{Kind: EventThawed, Text: fmt.Sprintf("%d members", len(members))})
	n.replay()
}

// thawAnew goes on with members that have been apart: what was ordered meanwhile is void, and
// with it what members have said of what their clients hold. So every client is gone, and all
// that was held is anybody's again.
func (n *Node) thawAnew(members []broker.MemberID) {
	n.voidBacklog()
	n.state = Active
	e := n.advance()
	n.active, n.electorate, n.epoch = members, slices.Clone(members), e.Index
	n.broker.Anew(e, members)
	n.event(Event{Kind: EventThawed, Text: fmt.Sprintf("%d members", len(members))})
}

// aside takes a control entry at its place in the order.
func (n *Node) aside(from broker.MemberID, entry []byte) {
	h, err := broker.ParseHeader(entry)
	if err != nil || h.Kind != broker.KindControl || int(h.Size) != len(entry) {
		n.event(Event{Kind: EventForeign, Member: from, Text: "control entry is malformed"})
		return
	}
	r := controlReader{b: entry[broker.HeaderBytes:]}
	switch h.Flags {
	case controlHello:
		n.tookHello(r.hello(from), r.err)
	case controlForm:
		n.formed(&r)
	case controlActive:
		n.becameActive(from, &r)
	case controlDead:
		n.dead(&r)
	}
	if r.err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: r.err.Error()})
	}
}

func (n *Node) tookHello(h *hello, err error) {
	if err != nil {
		n.event(Event{Kind: EventForeign, Member: h.from, Text: err.Error()})
		return
	}
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
		slices.SortFunc(n.view.hellos, func(a, b *hello) int { return compare(uint64(a.from), uint64(b.from)) })
		n.decide()
		n.event(Event{Kind: EventKnown})
	}
}

func compare(a, b uint64) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// decide is reached by all members of a view at the same place, with the same hellos: who
// has the history that counts, who has to receive it, and from whom.
func (n *Node) decide() {
	winners, history := n.winners()
	if !history {
		n.considerForming()
		return
	}
	if len(winners) == 0 {
		n.event(Event{Kind: EventWaiting, Text: fmt.Sprintf("no quorum: %d of %d members are here", len(n.active), n.expected())})
		if n.state == Joining && n.join.receiving {
			n.restart()
		}
		return
	}
	if slices.Contains(winners, n.cfg.Self) {
		if n.state == Frozen {
			n.thawAnew(winners)
		}
	} else if own := n.view.hello(n.cfg.Self); own.state == Active || own.state == Frozen {
		n.demote(n.view.hello(winners[0]))
	}
	n.pairUp(winners)
}

// winners lists the members whose history is the cluster's: those that have a quorum, else
// the longest history among those that make one together.
func (n *Node) winners() (list []broker.MemberID, history bool) {
	var best *hello
	for _, h := range n.view.hellos {
		if h.state != Active && h.state != Frozen {
			continue
		}
		history = true
		if best == nil || n.outranks(h, best) {
			best = h
		}
	}
	if best == nil {
		return nil, history
	}
	var same, all []broker.MemberID
	for _, h := range n.view.hellos {
		if h.id != best.id || h.state != Active && h.state != Frozen {
			continue
		}
		all = append(all, h.from)
		if h.state == best.state && (best.state == Active || h.epoch == best.epoch && h.index == best.index && h.chain == best.chain) {
			same = append(same, h.from)
		}
	}
	if best.state == Active {
		return same, true
	}
	mine := n.electorate
	n.electorate = best.electorate
	ok := n.quorate(all)
	n.electorate = mine
	if !ok && !n.allHere(len(all)) {
		return nil, true
	}
	return same, true
}

// allHere tells whether as many members are here as are configured, of whom so many hold the
// history and the others come with nothing. They cannot vote for a history that they may once
// have known better, but then nobody is left who does.
func (n *Node) allHere(holders int) bool {
	joining := 0
	for _, h := range n.view.hellos {
		if h.state == Joining {
			joining++
		}
	}
	return n.cfg.Size > 0 && holders+joining >= n.cfg.Size
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
	if h.epoch != o.epoch {
		return h.epoch > o.epoch
	}
	return h.index > o.index
}

// demote gives this member's state up for that of the cluster that winner is of.
func (n *Node) demote(winner *hello) {
	if winner.id != n.id && n.log.Stats().Live > 0 {
		n.event(Event{Kind: EventFatal, Text: fmt.Sprintf(
			"Cluster-ID mismatch: this member is of cluster %s and has messages of it, the others are of cluster %s; give one of them another --cluster-name, or stop this member to drop its messages", n.id, winner.id)})
	}
	n.event(Event{Kind: EventDemoted, Text: "another part of the cluster went on without this member"})
	n.voidBacklog()
	n.restart()
}

// restart begins to join anew, with nothing.
func (n *Node) restart() {
	n.state = Joining
	n.id, n.index, n.chain, n.epoch = ID{}, 0, 0, 0
	n.active, n.electorate = nil, nil
	n.join = joiner{}
	n.donate = nil
	clear(n.streams)
	n.broker.Reset()
	n.retired = append(n.retired, n.log)
	n.log = journal.New(journal.Config{}, n.cfg.Memory)
	n.awaiting = n.awaiting[:0]
	n.out, n.sent, n.cut = n.out[:0], 0, 0
}

// reapLogs frees logs given up earlier once no connection reads from them.
func (n *Node) reapLogs() {
	n.retired = slices.DeleteFunc(n.retired, func(l *journal.Log) bool {
		if l.Pinned() {
			return false
		}
		l.Close()
		return true
	})
}
