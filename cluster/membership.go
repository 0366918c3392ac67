package cluster

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// view is the current one, and what its members have said of themselves.
type view struct {
	id      viewID
	members []broker.MemberID
	hellos  []*hello
	decided bool
	formed  bool // what was decided was to go on with a store's history, and that was done
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
	EventForeign  EventKind = iota + 1 // something was not understood, and dropped
	EventView                          // members changed
	EventKnown                         // all members have said who and where they are
	EventWaiting                       // for more members, or for the quorum
	EventFormed                        // a new cluster
	EventJoining                       // receiving the state
	EventJoined                        // this member is active
	EventOther                         // another member became active
	EventFrozen                        // quorum lost
	EventThawed                        // quorum regained
	EventDemoted                       // this member's state was given up for the cluster's
	EventFewer                         // fewer votes are expected than before
	EventTracked                       // more votes are expected than ever: Node.Tracked is to be kept
	EventDiskFull                      // nothing durable is taken
	EventDiskRoom                      // it is, again
	EventFatal                         // it cannot go on: Text says why
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
	n.orphans(v.Came)
	n.event(Event{Kind: EventView, Text: fmt.Sprintf("%d members", len(members))})
	switch {
	case n.behind():
		n.joinerView(v)
	case n.state == Active || n.state == CatchingUp:
		n.dropStreams(v)
		n.changeMembers(v, n.view.id)
	case n.state == Frozen:
		n.dropStreams(v)
		n.refreeze(v)
	}
	if n.state == Active {
		n.expect()
		n.downscale()
	}
	n.asides = append(n.asides, n.hello().encode())
	n.testify()
}

// dropStreams forgets what members began to say that did not come along.
func (n *Node) dropStreams(v *View) {
	for m, s := range n.streams { // each is dropped by itself: the order does not matter
		if !slices.Contains(v.Came, m) {
			s.drop(n.log)
			delete(n.streams, m)
		}
	}
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
		electorate: n.electorate, expected: n.expected, url: n.cfg.URL, mesh: n.cfg.Mesh}
	if n.state == Joining && n.join.receiving || n.state == CatchingUp {
		h.donor = n.join.donor
	}
	for _, m := range n.electorate {
		h.stores = append(h.stores, n.stores[m])
	}
	h.store, h.full = n.cfg.Store, n.log.Tight() != nil
	if n.state == Joining && n.base != nil {
		n.base.tell(h)
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
func (n *Node) changeMembers(v *View, at viewID) {
	stay := func(m broker.MemberID) bool { return slices.Contains(v.Came, m) }
	survivors := filter(n.active, stay)
	if len(survivors) == len(n.active) {
		return
	}
	n.saidGoodbye(v)
	n.electorate = filter(n.electorate, func(m broker.MemberID) bool { return !slices.Contains(v.LeftCleanly, m) })
	e := n.advance()
	if !n.quorate(survivors) {
		n.freeze(survivors)
		return
	}
	n.setActive(e, survivors, at)
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

// setActive makes members the ones that take part from e on, as the view at decided.
func (n *Node) setActive(e *broker.Entry, members []broker.MemberID, at viewID) {
	n.beginEra(e, members, at, eraMembers)
	n.broker.Members(e, members)
}

func (n *Node) beginEra(e *broker.Entry, members []broker.MemberID, at viewID, how uint64) {
	n.active = members
	n.electorate = slices.Clone(members)
	n.epoch = e.Index
	n.expect()
	n.logEra(at, how)
}

func (n *Node) freeze(survivors []broker.MemberID) {
	if n.state == CatchingUp {
		n.restart()
		return
	}
	n.active, n.voided = survivors, false
	n.state, n.frozenAt = Frozen, n.now
	n.event(Event{Kind: EventFrozen, Text: n.left(survivors)})
}

// left tells a person how many are left of how many.
func (n *Node) left(survivors []broker.MemberID) string {
	q := &n.cfg.Quorum
	if q.Expected == 0 {
		return fmt.Sprintf("%d of %d members are left", len(survivors), len(n.electorate))
	}
	return fmt.Sprintf("%d of %s are left", q.votes(survivors), q.count(n.expected))
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
	n.voided = true
	n.join.backlog, n.join.bytes = nil, 0
	n.awaiting = n.awaiting[:0]
	clear(n.inquiries)
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

// thaw goes on with members that came along since they lost the quorum, all of them in one
// view: what was ordered since counts.
func (n *Node) thaw(members []broker.MemberID) {
	n.state, n.frozenAt = Active, 0
	n.setActive(n.advance(), members, n.view.id)
	n.event(Event{Kind: EventThawed, Text: fmt.Sprintf("%d members", len(members))})
	n.replay(math.MaxInt64)
}

// thawAnew goes on with members that have been apart, or in several views: what was ordered
// meanwhile is void, and with it what members have said of what their clients hold. So every client is gone, and all
// that was held is anybody's again.
func (n *Node) thawAnew(members []broker.MemberID) {
	n.voidBacklog()
	n.state = Active
	e := n.advance()
	n.beginEra(e, members, n.view.id, eraAnew)
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
	r := controlReader{broker.Reader{Rest: entry[broker.HeaderBytes:]}}
	switch h.Flags {
	case controlHello:
		if h := r.hello(from); r.Err == nil {
			n.tookHello(h)
		}
	case controlForm:
		n.formed(&r)
	case controlActive:
		n.becameActive(from, &r)
	case controlDead:
		n.dead(&r)
	case controlExpect:
		n.expectedFewer(from, &r)
	case controlFull:
		n.tookFull(from, &r)
	}
	if r.Err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: r.Err.Error()})
	}
}

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
