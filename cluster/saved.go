package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// base is a history that this member has, though not, or no longer, the cluster's: recovered
// from the journal, or of a part of the cluster that it was in. If no member has a better one
// it is revived; else it spares receiving what is the same.
type base struct {
	broker     *broker.Broker
	id         ID
	index      broker.Index
	epoch      broker.Index
	eras       []era
	electorate []broker.MemberID
	stores     map[broker.MemberID]journal.UUID
	urls       map[broker.MemberID]string
	expected   int
	left       bool
	marked     bool
}

// tell puts what b is into a hello.
func (b *base) tell(h *hello) {
	h.based, h.left, h.marked = true, b.left, b.marked
	h.id, h.epoch, h.index, h.chain = b.id, b.epoch, b.index, uint64(b.epoch)<<32^uint64(b.index)
	h.electorate, h.expected, h.stores = b.electorate, b.expected, nil
	for _, m := range b.electorate {
		h.stores = append(h.stores, b.stores[m])
	}
	h.eras = b.eras[max(0, len(b.eras)-toldEras):]
}

// Recover reads the journal. It is the first thing that a member with a disk does.
func (n *Node) Recover(now time.Duration) (journal.Recovered, error) {
	n.now = now
	r, err := n.log.Recover(&recovery{n: n, now: now})
	if err != nil {
		return r, err
	}
	n.index = max(n.index, broker.Index(n.log.Mark()))
	n.log.Prepare(now)
	n.log.SetCluster(journal.UUID(n.id))
	if n.id == (ID{}) {
		n.broker.Forsake(now)
		return r, nil
	}
	n.rememberBase()
	n.base.marked = n.cfg.Marked
	n.clear()
	return r, nil
}

// Recovered tells what was recovered: the cluster, up to which index, and how many messages.
func (n *Node) Recovered() (id ID, index broker.Index, messages int64, ok bool) {
	if n.base == nil {
		return ID{}, 0, 0, false
	}
	return n.base.id, n.base.index, n.log.Stats().Live, true
}

// rememberBase keeps the state for the time in which this member joins anew.
func (n *Node) rememberBase() {
	if !n.log.Durable() {
		n.fade(n.broker)
		n.setBroker(n.newBroker())
		return
	}
	n.broker.Settled(n.now)
	n.base = &base{broker: n.broker, id: n.id, index: n.index, epoch: n.epoch, eras: n.eras, electorate: n.electorate,
		stores: n.stores, urls: n.disk.urls, expected: n.expected, left: n.disk.left}
	n.setBroker(n.newBroker())
}

func (n *Node) setBroker(b *broker.Broker) {
	n.broker = b
	for id, c := range n.conns { // each by itself: the order does not matter
		c.port = b.Connect(id)
	}
}

// dropBase lets go of what is not needed any more.
func (n *Node) dropBase() {
	if n.base != nil {
		n.fade(n.base.broker)
		n.base = nil
	}
}

// revive goes on with what was recovered, as do the other winners.
func (n *Node) revive(members []broker.MemberID) {
	b := n.base
	n.base = nil
	n.setBroker(b.broker)
	n.id, n.index, n.epoch, n.eras = b.id, b.index, b.epoch, b.eras
	n.chain = uint64(b.epoch)<<32 ^ uint64(b.index)
	n.stores, n.expected = b.stores, b.expected
	n.joins = ID{}
	n.disk.left = false
	n.log.SetCluster(journal.UUID(n.id))
	n.state, n.revived = Active, true
	e := n.advance()
	n.beginEra(e, members, n.view.id, eraRevived)
	n.broker.Revive(e, members)
	n.event(Event{Kind: EventFormed, Text: fmt.Sprintf("cluster %s anew, with %d messages", n.id, n.log.Stats().Live)})
	n.event(Event{Kind: EventJoined})
}

// recovers tells whether holders of a history that nobody has gone on with are enough to do so.
// No tie is broken for them: who broke it last time, they cannot know.
func (n *Node) recovers(best *hello, holders []broker.MemberID) bool {
	q := &n.cfg.Quorum
	if n.cfg.Alone || best.marked {
		return true
	}
	based := slices.ContainsFunc(n.view.hellos, func(h *hello) bool { return h.based && h.id == best.id })
	switch {
	case !based:
		return q.quorate(n.voters(best, holders), best.electorate, best.expected) || n.nobodyElse(best, holders)
	case q.AllowDownscale:
		return 2*q.votes(n.voters(best, holders)) > best.expected || n.nobodyElse(best, holders)
	case q.Expected > 0:
		// The last man may have expected fewer than its journal says.
		return 2*q.votes(holders) > best.expected && !q.LastManStanding || n.nobodyElse(best, holders)
	}
	here, all := 0, 0
	for i, m := range best.electorate {
		store := best.stores[i]
		if best.based && (store == (journal.UUID{}) || best.left && store == best.store) {
			continue // it had nothing that could come back; or the others may have gone on without it
		}
		all++
		if slices.Contains(holders, m) || store != (journal.UUID{}) && n.holds(best.id, store) {
			here++
		}
	}
	return 2*here > all || all == 0 // it was the last one
}

// nobodyElse tells whether nobody is elsewhere who could have gone on: all votes are here, or, without
// votes, all who took part. Where those are not expected any more that may be here, it takes both.
func (n *Node) nobodyElse(best *hello, holders []broker.MemberID) bool {
	q := &n.cfg.Quorum
	return (q.Expected == 0 || n.allHere(holders, best)) && (q.Expected > 0 && !q.AllowDownscale || n.accounted(best, holders))
}

// accounted tells whether nobody can be elsewhere that was in the last quorate view: who is not here
// has another process on its node here, and had nothing that outlived it, or that is here.
func (n *Node) accounted(best *hello, holders []broker.MemberID) bool {
	for i, m := range best.electorate {
		again := slices.ContainsFunc(n.view.hellos, func(h *hello) bool { return node(m) != 0 && node(h.from) == node(m) && h.from != m })
		if s := best.stores[i]; slices.Contains(holders, m) || s != (journal.UUID{}) && n.holds(best.id, s) {
			continue
		} else if s != (journal.UUID{}) || !again {
			return false
		}
	}
	return true
}

// holds tells whether a store is here, with a history of the cluster.
func (n *Node) holds(id ID, store journal.UUID) bool {
	return slices.ContainsFunc(n.view.hellos, func(h *hello) bool {
		return h.id == id && h.store == store && (h.based || h.state == Active || h.state == Frozen)
	})
}

// missing tells a person for whom a history waits.
func (n *Node) missing(best *hello) string {
	if n.cfg.Quorum.Expected > 0 {
		return fmt.Sprintf("no quorum: %s are expected before the cluster goes on from its stores; waiting for the others", n.cfg.Quorum.count(best.expected))
	}
	var list []string
	for i, m := range best.electorate {
		if store := best.stores[i]; store != (journal.UUID{}) && !n.holds(best.id, store) {
			who := fmt.Sprintf("store %s of node %d", store, m>>32)
			if n.base != nil && n.base.urls[m] != "" {
				who += " at " + n.base.urls[m]
			}
			list = append(list, who)
		}
	}
	return "no quorum: they may know more than the stores here, so the cluster waits for a majority: " + strings.Join(list, ", ")
}

// foreign tells whether this member cannot be in the cluster whose history counts.
func (n *Node) foreign(best *hello) bool {
	own := n.view.hello(n.cfg.Self)
	for _, h := range n.view.hellos {
		if h.store == own.store && own.store != (journal.UUID{}) && h.precedes(own) {
			n.event(Event{Kind: EventFatal, Text: fmt.Sprintf("member %d/%d uses store %s as well: one data directory is a copy of the other; give this broker a directory of its own, empty one, to let it join", h.from>>32, uint32(h.from), h.store)})
			n.state = Left
			return true
		}
	}
	if own.based && own.id != best.id {
		n.mismatch(own.id, best.id)
		return true
	}
	return false
}

// mismatch ends a member that is of another cluster than the others. What it has stays as it is.
func (n *Node) mismatch(own, others ID) {
	n.voidBacklog()
	n.state = Left
	what := "Cluster-ID mismatch. Stores belong to different clusters. This member's store is"
	if !n.log.Durable() {
		what = "Cluster-ID mismatch: this member has messages of another cluster, and is"
	}
	n.event(Event{Kind: EventFatal, Text: fmt.Sprintf(
		"%s of cluster %s, the others' of cluster %s; give it its own --cluster-name, or, to let it join as new, move its store away or start it once with --truncate yes", what, own, others)})
}

// precedes tells whose a store is that two members have: of one that takes part, else of the first.
func (h *hello) precedes(o *hello) bool {
	takesPart := func(x *hello) bool { return x.state == Active || x.state == Frozen }
	if takesPart(h) != takesPart(o) {
		return takesPart(h)
	}
	return h.from < o.from
}

// has is up to which index a joiner's disk holds what this member's does: but for what its own end,
// if it has one, has let go of.
func (n *Node) has(h *hello) broker.Index {
	if !h.based || h.id != n.id {
		return 0
	}
	return n.shared(h.eras, h.index)
}

// fade lets go of a state that is given up, a little at a time.
func (n *Node) fade(b *broker.Broker) { n.fading = append(n.fading, b) }

// fadeTurn is how many messages a turn of the engine lets go of.
const fadeTurn = 16 << 10

// goOnFading tells whether there is more to let go of.
func (n *Node) goOnFading() (more bool) {
	if len(n.fading) > 0 && n.fading[0].Fade(n.now, fadeTurn) {
		n.fading[0] = nil
		n.fading = n.fading[1:]
	}
	return len(n.fading) > 0
}

// beginCheckpoint begins to write down the state as it is now.
func (n *Node) beginCheckpoint() {
	n.abandonCheckpoint()
	n.broker.Settle(n.now)
	n.log.BeginCheckpoint()
	w := controlWriter{}
	w.uuid(journal.UUID(n.id))
	w.Uint(uint64(n.index))
	w.Uint(bits(n.disk.left))
	n.putEra(&w)
	var head []byte
	head, n.checkpoint = n.broker.Snapshot(w.Bytes, n.now, broker.OnDisk)
	n.log.CheckpointChunk(head)
	n.goOnWithCheckpoint()
}

// checkpointChunk is how much of a checkpoint is made in one turn of the engine.
const checkpointChunk = 256 << 10

// goOnWithCheckpoint makes the next piece, and tells whether it could make another.
func (n *Node) goOnWithCheckpoint() (more bool) {
	if n.checkpoint == nil || n.log.CheckpointBusy() {
		return false
	}
	if b := n.checkpoint.Next(make([]byte, 0, checkpointChunk+checkpointChunk/8), checkpointChunk); len(b) > 0 {
		n.log.CheckpointChunk(b)
	}
	if !n.checkpoint.Done() {
		return true
	}
	n.checkpoint = nil
	n.log.EndCheckpoint()
	return false
}

// abandonCheckpoint gives up the one under way: another takes its place, or the state is not this any more.
func (n *Node) abandonCheckpoint() {
	if n.checkpoint != nil {
		n.checkpoint.Close()
		n.checkpoint = nil
		n.log.AbandonCheckpoint()
	}
}

// Leave says good-bye: clients are to be disconnected first. When Saved, the group may be left;
// once that has seen this member leave, it can be closed.
func (n *Node) Leave() {
	if n.log.Durable() && n.log.Failed() == nil && (n.state == Active || n.state == Frozen) {
		n.disk.left = !n.cfg.Alone && n.state == Active
		if n.disk.left {
			n.append(newControl(controlLeft).End())
		}
		n.beginCheckpoint()
	}
	n.state = Left
	n.disk.urgent = true
}

// Saved tells whether all that was to be written is on the disk, or never will be; and then, whether
// it is.
func (n *Node) Saved() (over, well bool) {
	if n.log.Failed() != nil {
		return true, false
	}
	over = !n.log.Durable() || n.checkpoint == nil && n.log.Synced()
	return over, over
}

// Era is the tag of the time in which this member takes part: all that do have the same.
func (n *Node) Era() uint64 { return uint64(n.tag()) }

// recovery makes the state of what the journal holds.
type recovery struct {
	n   *Node
	now time.Duration // of the last entry
}

// at is when something was written by the time of day. Nothing was later than now: then the clock has been
// put back, and what has a time to live gets all of it again, not as much more as the clock was ahead.
func (o *recovery) at(milliseconds int64) time.Duration {
	return min(time.Duration(milliseconds-o.n.cfg.Broker.Unix*1000)*time.Millisecond, o.n.now)
}

// Restore takes a checkpoint over.
func (o *recovery) Restore(state []byte, milliseconds int64) error {
	if state == nil {
		return nil
	}
	n := o.n
	r := controlReader{broker.Reader{Rest: state}}
	n.id, n.index = r.id(), broker.Index(r.Uint())
	n.disk.left = r.UintTo(1) == 1
	n.readEra(&r)
	if r.Err != nil {
		return r.Err
	}
	return n.broker.RestoreWhole(r.Rest, o.at(milliseconds), broker.Same)
}

// Replay applies an entry again.
func (o *recovery) Replay(rec journal.Record, ref journal.Ref, milliseconds int64) error {
	n := o.n
	h, err := broker.ParseHeader(rec.Entry)
	if err != nil {
		return err
	}
	n.index = broker.Index(rec.Index)
	o.now = o.at(milliseconds)
	e := broker.Entry{Index: n.index, Now: o.now, Record: rec.Entry, Ref: broker.Ref(ref)}
	if h.Kind == broker.KindControl {
		return o.control(&e, h.Flags)
	}
	if wiring(rec.Entry) {
		if len(rec.Entry) != int(h.Size)+8 {
			return fmt.Errorf("entry %d does not tell its sender", rec.Index)
		}
		e.From = broker.MemberID(binary.LittleEndian.Uint64(rec.Entry[h.Size:]))
		e.Record = rec.Entry[:h.Size]
	}
	// What was malformed changed nothing then, and does not now.
	_ = n.broker.Replay(&e)
	return nil
}

func (o *recovery) control(e *broker.Entry, kind uint8) error {
	n := o.n
	r := controlReader{broker.Reader{Rest: e.Record[broker.HeaderBytes:]}}
	switch kind {
	case controlLeft:
		n.disk.left = true
	case controlEra:
		how := r.Uint()
		n.id = r.id()
		n.readEra(&r)
		if r.Err != nil {
			return r.Err
		}
		n.disk.left = false
		switch how {
		case eraAnew:
			n.broker.Anew(e, n.electorate)
		case eraRevived:
			n.broker.Revive(e, n.electorate)
		default:
			n.broker.Members(e, n.electorate)
		}
	default:
		return fmt.Errorf("control entry of unknown kind %d", kind)
	}
	return nil
}

// Moved follows a record that was carried forward.
func (o *recovery) Moved(rec journal.Record, ref journal.Ref) {
	o.n.broker.Moved(broker.Index(rec.Index), broker.Ref(ref))
}

// Settle has what was replayed take effect, at the time at which it was written.
func (o *recovery) Settle() { o.n.broker.Settled(o.now) }
