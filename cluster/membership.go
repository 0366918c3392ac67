package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
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
