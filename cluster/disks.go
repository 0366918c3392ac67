package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// A durable entry is done when it is safe and on disks enough that whoever is left after all
// have lost power knows it. Members tell one another over the mesh how far their disks are.

// Sync is on how many disks that is.
type Sync uint8

// Policies.
const (
	SyncMajority Sync = iota // of those that are expected
	SyncAll                  // of the members with a disk
	SyncLocal                // that of the publisher's member
	SyncNone                 // no disk at all
)

// proveAfter is how long nothing has to be written until it is worth a write to say that the rest is there.
const proveAfter = time.Second

// lazySync is how long what nobody waits for, as the end of messages, stays in memory.
const lazySync = 50 * time.Millisecond

// disks is what this member knows of its disk and the others'.
type disks struct {
	marks   map[broker.MemberID]broker.Index
	since   map[broker.MemberID]broker.Index // epoch from which a member's mark counts
	told    broker.Index
	sure    broker.Index // on enough disks
	needed  bool         // somebody has a disk, and publishers wait for it
	waiting []diskWait
	urls    map[broker.MemberID]string // of an era that was recovered

	urgent  bool
	lazyAt  time.Duration
	gather  gather
	proveAt time.Duration
	full    map[broker.MemberID]bool
	wasFull bool
	failed  bool
	left    bool // this member left, as far as its journal knows
}

// diskWait is a request that is safe, and waits for disks.
type diskWait struct {
	conn    broker.ConnID
	number  uint64
	index   broker.Index
	refused bool
}

func (d *disks) forget() {
	*d = disks{urls: d.urls, wasFull: d.wasFull, failed: d.failed, urgent: d.urgent, lazyAt: d.lazyAt, gather: d.gather, left: d.left}
}

// members takes note of who takes part from now on.
func (d *disks) members(n *Node) {
	marks, since := map[broker.MemberID]broker.Index{}, map[broker.MemberID]broker.Index{}
	d.needed = false
	for _, m := range n.electorate {
		since[m] = n.epoch
		if at, old := d.since[m]; old {
			marks[m], since[m] = d.marks[m], at
		}
		d.needed = d.needed || n.stores[m] != (journal.UUID{}) && n.cfg.Sync != SyncNone
	}
	d.marks, d.since = marks, since
	d.told = 0 // newcomers have not heard it
}

// awaitDisk puts a request that is safe behind the disks.
func (n *Node) awaitDisk(c *conn, a *awaited) {
	index := a.index
	if k := len(n.disk.waiting); k > 0 {
		index = max(index, n.disk.waiting[k-1].index)
	}
	c.onDisk++
	n.disk.waiting = append(n.disk.waiting, diskWait{a.conn, a.number, index, a.refused})
}

// waits tells whether who asked for an entry waits until it is on disks.
func (n *Node) waits(entry []byte) bool {
	if !n.disk.needed || !broker.Logged(entry) {
		return false
	}
	switch broker.Kind(entry[4]) {
	case broker.KindSubscribe, broker.KindCancel, broker.KindConnClosed:
		return false
	}
	return true
}

// wiring tells whether an entry is one of the rare ones whose sender recovery has to know.
func wiring(entry []byte) bool {
	switch broker.Kind(entry[4]) {
	case broker.KindPublish, broker.KindDequeue, broker.KindRelease, broker.KindDeadLetter, broker.KindCounted:
		return false
	}
	return true
}

// inPlace tells whether an entry is in the journal as it was ordered, at once. Wiring follows with its
// sender; of what has died, the broker says what has become of it.
func inPlace(entry []byte) bool {
	return !wiring(entry) && broker.Kind(entry[4]) != broker.KindDeadLetter
}

// logEntry sees to it that a durable entry that was just applied is in the journal, and went tells how
// that was.
func (n *Node) logEntry(entry []byte, from broker.MemberID, went bool) {
	switch broker.Kind(entry[4]) {
	case broker.KindDequeue, broker.KindRelease, broker.KindSubscribe, broker.KindCancel, broker.KindConnClosed:
	default:
		n.disk.urgent = true
		n.disk.gather.came()
	}
	if !wiring(entry) {
		return
	}
	if b, differs := broker.Effect(nil, entry, went); differs {
		entry = b
	}
	var sender [8]byte
	binary.LittleEndian.PutUint64(sender[:], uint64(from))
	told := sender[:]
	if !wiring(entry) {
		told = nil
	}
	if _, err := (*records)(n).Append(n.index, true, entry, told); err != nil {
		panic("cluster: no memory for an entry: " + err.Error())
	}
}

// milliseconds is the time of day.
func (n *Node) milliseconds(now time.Duration) int64 {
	return n.cfg.Broker.Unix*1000 + int64(now/time.Millisecond)
}

// sync does what the disk is to do by now, and what follows from what it has done. It tells whether
// there is more to do at once.
func (n *Node) sync() (more bool) {
	if n.log.Durable() {
		more = n.syncLog()
	}
	d := &n.disk
	n.keepPace()
	if n.state == Active || n.state == CatchingUp {
		n.tellMark()
	}
	if n.state != Active {
		return more
	}
	n.reckon()
	done := 0
	for done < len(d.waiting) && d.waiting[done].index <= d.sure {
		w := d.waiting[done]
		done++
		if c := n.conns[w.conn]; c != nil {
			c.onDisk--
			n.settleRequest(c, w.number, w.refused)
		}
	}
	if done > 0 {
		d.waiting = append(d.waiting[:0], d.waiting[done:]...)
	}
	return more
}

func (n *Node) syncLog() (more bool) {
	d := &n.disk
	if err := n.log.Failed(); err != nil {
		if !d.failed {
			d.failed = true
			n.abandonCheckpoint()
			n.event(Event{Kind: EventFatal, Text: err.Error() + "; what is on this disk is not known any more, so this member leaves: see to the disk, run `qpid-cluster journal verify` on the store, then start it again"})
		}
		return false
	}
	n.log.Prepare(n.now)
	if n.log.CheckpointDue() && (n.state == Active || n.state == CatchingUp) {
		n.beginCheckpoint()
	}
	more = n.goOnWithCheckpoint()
	d.gather.sees(n.now, n.log.Flushing())
	if n.log.Unsynced() {
		if d.lazyAt == 0 {
			d.lazyAt = n.now + lazySync
		}
		n.log.Sync(n.milliseconds(n.now), d.urgent && !d.gather.putOff(n.now) || n.now >= d.lazyAt)
		if !n.log.Unsynced() {
			d.urgent, d.lazyAt = false, 0
			d.gather.begins(n.now)
		}
	}
	n.prove()
	n.log.Evict()
	if full := n.log.Tight() != nil; full != d.wasFull {
		d.wasFull = full
		n.tellFull(full)
	}
	return more
}

// prove has the log say that all of it is on the disk when nothing else has been written for a while.
func (n *Node) prove() {
	d := &n.disk
	switch {
	case !n.log.Unproven():
		d.proveAt = 0
	case d.proveAt == 0:
		d.proveAt = n.now + proveAfter
	case n.now >= d.proveAt:
		d.proveAt = 0
		if err := n.log.Prove(); err != nil {
			panic("cluster: no memory for a run: " + err.Error())
		}
	}
}

func (n *Node) nextDisk() (next time.Duration) {
	if !n.log.Durable() {
		return 0
	}
	next = n.log.NextPrepare()
	if n.disk.lazyAt != 0 && !n.disk.failed {
		next = Soonest(next, n.disk.lazyAt)
		if n.disk.urgent && n.disk.gather.putOff(n.now) {
			next = Soonest(next, n.disk.gather.until)
		}
	}
	if !n.disk.failed {
		next = Soonest(next, n.disk.proveAt)
	}
	return next
}

// tellMark tells the others how far this disk is.
func (n *Node) tellMark() {
	d := &n.disk
	mark := broker.Index(n.log.Mark())
	if !n.log.Durable() || mark <= d.told {
		return
	}
	d.told = mark
	d.marks[n.cfg.Self] = mark
	for _, m := range n.active {
		if m == n.cfg.Self {
			continue
		}
		b := append(make([]byte, 0, 17), meshMark)
		b = binary.LittleEndian.AppendUint64(b, uint64(n.epoch))
		b = binary.LittleEndian.AppendUint64(b, uint64(mark))
		n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: m, Data: b})
	}
}

func (n *Node) tookMark(from broker.MemberID, data []byte) {
	if len(data) != 17 {
		n.event(Event{Kind: EventForeign, Member: from, Text: "mark is malformed"})
		return
	}
	epoch, index := broker.Index(binary.LittleEndian.Uint64(data[1:])), broker.Index(binary.LittleEndian.Uint64(data[9:]))
	if since, known := n.disk.since[from]; known && epoch >= since {
		n.disk.marks[from] = max(n.disk.marks[from], index)
	}
}

// reckon finds out how much is on enough disks.
func (n *Node) reckon() {
	d := &n.disk
	if !d.needed {
		return
	}
	for _, m := range n.active {
		if i := d.marks[m]; i > d.sure && n.enough(i) {
			d.sure = i
		}
	}
}

// enough tells whether index i is on enough disks. As many are asked for as it takes to recover:
// there no tie is broken.
func (n *Node) enough(i broker.Index) bool {
	var have, stored []broker.MemberID
	for _, m := range n.active {
		if n.stores[m] == (journal.UUID{}) {
			continue
		}
		stored = append(stored, m)
		if n.disk.marks[m] >= i {
			have = append(have, m)
		}
	}
	q := &n.cfg.Quorum
	switch {
	case n.cfg.Sync == SyncLocal && slices.Contains(stored, n.cfg.Self):
		return slices.Contains(have, n.cfg.Self)
	case n.cfg.Sync == SyncAll || len(have) == len(stored):
		return len(have) == len(stored)
	case q.Expected == 0 || len(stored) < len(n.active):
		return 2*len(have) > len(stored)
	}
	return 2*q.votes(have) > n.expected
}

// tellFull tells the others whether this disk is full.
func (n *Node) tellFull(full bool) {
	kind := EventDiskRoom
	text := "there is room on the disk again"
	if full {
		kind = EventDiskFull
		text = fmt.Sprintf("the disk is full: %v; durable messages are refused until there is room", n.log.Tight())
	}
	n.event(Event{Kind: kind, Text: text})
	w := newControl(controlFull)
	w.viewID(n.view.id)
	w.Uint(bits(full))
	n.asides = append(n.asides, w.End())
}

func (n *Node) tookFull(from broker.MemberID, r *controlReader) {
	id, full := r.viewID(), r.UintTo(1) == 1
	if r.Err != nil || id != n.view.id {
		return
	}
	if n.disk.full == nil {
		n.disk.full = map[broker.MemberID]bool{}
	}
	n.disk.full[from] = full
}

// noteFull takes from the hellos of a view whose disks are full.
func (n *Node) noteFull() {
	n.disk.full = map[broker.MemberID]bool{}
	for _, h := range n.view.hellos {
		n.disk.full[h.from] = h.full
	}
}

// diskFull is why nothing durable is taken; "" if it is.
func (n *Node) diskFull() string {
	for _, m := range n.active {
		if !n.disk.full[m] {
			continue
		}
		return "the disk of member " + n.describe(m) + " is full: make room there"
	}
	return ""
}

// describe names a member to a person.
func (n *Node) describe(m broker.MemberID) string {
	url := ""
	if h := n.view.hello(m); h != nil {
		url = " at " + h.url
	}
	return fmt.Sprintf("%d/%d", m>>32, uint32(m)) + url
}
