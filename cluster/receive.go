package cluster

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// incoming is what a joiner has received.
type incoming struct {
	pieces    [][]byte // that have not been taken in
	waiting   int      // bytes of them
	got, told uint64
	state     []byte
	head      received
	into      *broker.Restoration
	asked     bool
	extent    incomingExtent
}

// incomingExtent is the donor's extent that is being received, straight into this member's log.
type incomingExtent struct {
	id, here uint32
	bytes    []byte
	have     int
}

// Bounds of what a joiner keeps: pieces that came before it heard of the transfer, or that it has
// not taken in yet (the window, and as much again), and what its disk is still to write.
const (
	maxEarly   = 2 * transferWindow / transferChunk
	maxPieces  = 2 * transferWindow
	maxWriting = 32 << 20
	// needed is how many extents are asked for in one message.
	needed = 32 << 10
	// maxExtent is the longest extent: one entry of the largest size, and its header.
	maxExtent = broker.MaxEntryBytes + 1<<20
)

func (n *Node) takeTransfer(from broker.MemberID, data []byte) {
	if len(data) < transferHead {
		n.event(Event{Kind: EventForeign, Member: from, Text: "transfer message is cut short"})
		return
	}
	token := viewID{rep: binary.LittleEndian.Uint32(data[1:]),
		seq: binary.LittleEndian.Uint64(data[5:]), hash: binary.LittleEndian.Uint64(data[13:])}
	if data[0] == meshGot || data[0] == meshNeed {
		n.heard(from, token, data[0], data[transferHead:])
		return
	}
	if n.state != Joining || !n.join.receiving || n.join.donor != from || n.join.token != token {
		n.keepEarly(from, token, data)
		return
	}
	in := &n.join.in
	if in.waiting += len(data); in.waiting > maxPieces {
		n.giveUp(fmt.Errorf("transfer: more than %d bytes are under way", maxPieces))
		return
	}
	in.pieces = append(in.pieces, slices.Clone(data))
}

// giveUp begins to join anew: the transfer makes no sense.
func (n *Node) giveUp(err error) {
	n.event(Event{Kind: EventForeign, Member: n.join.donor, Text: err.Error()})
	n.restart()
	n.asides = append(n.asides, n.hello().encode())
}

// earlyPiece is a piece of a transfer that this member has not heard of yet.
type earlyPiece struct {
	from  broker.MemberID
	token viewID
	data  []byte
}

// keepEarly keeps a piece that came ahead of the decision to send it. A member sends one
// transfer at a time, so its pieces of an older one are void.
func (n *Node) keepEarly(from broker.MemberID, token viewID, data []byte) {
	n.early = slices.DeleteFunc(n.early, func(p earlyPiece) bool { return p.from == from && p.token != token })
	if len(n.early) < maxEarly {
		n.early = append(n.early, earlyPiece{from, token, slices.Clone(data)})
	}
}

// takeIn takes in a few of the pieces that are here, as far as the disk follows, and tells whether it
// could go on at once.
func (n *Node) takeIn() (more bool) {
	for range transferTurn {
		in := &n.join.in
		if n.state != Joining || len(in.pieces) == 0 || n.log.Writing() > maxWriting {
			return false
		}
		p := in.pieces[0]
		in.pieces[0] = nil
		in.pieces = in.pieces[1:]
		in.waiting -= len(p)
		in.got += uint64(len(p) - transferHead)
		if err := n.receive(p[0], p[transferHead:]); err != nil {
			n.giveUp(err)
			return false
		}
		if in.got-in.told >= transferWindow/4 {
			in.told = in.got
			n.toDonor(binary.LittleEndian.AppendUint64(transferMessage(meshGot, n.join.token, 8), in.got))
		}
	}
	return len(n.join.in.pieces) > 0
}

func (n *Node) toDonor(b []byte) {
	n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: n.join.donor, Data: b})
}

// receive takes one piece of the state.
func (n *Node) receive(kind uint8, data []byte) error {
	in := &n.join.in
	if kind == meshState && in.into == nil {
		in.state = append(in.state, data...)
		return nil
	}
	if in.into == nil {
		if err := n.beginInstall(); err != nil {
			return err
		}
	}
	switch kind {
	case meshMessages:
		return in.into.Messages(data, n.placeOf)
	case meshAsk:
		return n.tellNeed()
	case meshExtent:
		return n.receiveExtent(data)
	case meshEnd:
		return n.install()
	}
	return fmt.Errorf("transfer: piece of kind %d", kind)
}

// received is what of a state is the member's, besides the broker's.
type received struct {
	has                broker.Index // this member's own history is the same up to here
	id                 ID
	index, epoch       broker.Index
	chain              uint64
	active, electorate []broker.MemberID
	expected           int
	stores             map[broker.MemberID]journal.UUID
	eras               []era
	streams            map[broker.MemberID][]byte
	broker             []byte
}

func parseState(data []byte) (x received, err error) {
	r := controlReader{broker.Reader{Rest: data}}
	x.has, x.id = broker.Index(r.Uint()), r.id()
	x.index, x.chain, x.epoch = broker.Index(r.Uint()), r.Uint(), broker.Index(r.Uint())
	x.active, x.electorate = r.members(), r.members()
	x.expected = int(r.UintTo(math.MaxInt32))
	x.stores = map[broker.MemberID]journal.UUID{}
	for _, m := range x.electorate {
		x.stores[m] = journal.UUID(r.id())
	}
	x.eras = r.eras()
	x.streams = map[broker.MemberID][]byte{}
	for k := r.UintTo(wire.MaxMembers); k > 0 && r.Err == nil; k-- {
		m := broker.MemberID(r.Uint())
		x.streams[m] = r.TextTo(broker.MaxEntryBytes)
	}
	if r.Err != nil {
		return x, fmt.Errorf("transfer: %w", r.Err)
	}
	x.broker = r.Rest
	return x, nil
}

// beginInstall takes the wiring over. What is appended to the journal from now on counts with a
// checkpoint of the new state.
func (n *Node) beginInstall() (err error) {
	in := &n.join.in
	if in.head, err = parseState(in.state); err != nil {
		return err
	}
	if in.into, err = n.broker.Restore(in.head.broker, n.now); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if len(in.into.Rest) > 0 {
		return fmt.Errorf("transfer: %d bytes too many", len(in.into.Rest))
	}
	n.abandonCheckpoint()
	n.log.Rebase(journal.Index(in.head.index))
	n.log.SetCluster(journal.UUID(in.head.id))
	return nil
}

// placeOf tells where a record is that this member has, as its history has it.
func (n *Node) placeOf(_ broker.Ref, q broker.QueueID, i broker.Index, logged bool) (broker.Ref, bool) {
	if !logged || i > n.join.in.head.has || n.base == nil {
		return broker.Ref{}, false
	}
	return n.base.broker.Locate(q, i)
}

// tellNeed asks for the extents that the other records are in.
func (n *Node) tellNeed() error {
	in := &n.join.in
	if !in.into.Full() || in.asked {
		return fmt.Errorf("transfer: messages are missing")
	}
	in.asked = true
	for list := in.into.Lacking(); ; {
		k := min(len(list), needed)
		b := append(transferMessage(meshNeed, n.join.token, 1+4*k), uint8(bits(k == len(list))))
		for _, id := range list[:k] {
			b = binary.LittleEndian.AppendUint32(b, id)
		}
		n.toDonor(b)
		if list = list[k:]; len(list) == 0 {
			return nil
		}
	}
}

func (n *Node) receiveExtent(data []byte) error {
	if len(data) < extentHead-transferHead {
		return fmt.Errorf("transfer: extent is cut short")
	}
	id, total, offset := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[4:]), binary.LittleEndian.Uint32(data[8:])
	data = data[extentHead-transferHead:]
	e := &n.join.in.extent
	if offset == 0 && e.bytes == nil {
		if total > maxExtent {
			return fmt.Errorf("transfer: extent of %d bytes", total)
		}
		here, bytes, err := n.log.Import(int(total))
		if err != nil {
			return err
		}
		*e = incomingExtent{id: id, here: here, bytes: bytes}
	}
	if e.bytes == nil || e.id != id || uint32(e.have) != offset || len(data) > len(e.bytes)-e.have {
		return fmt.Errorf("transfer: extent %d does not continue at %d", id, offset)
	}
	if e.have += copy(e.bytes[e.have:], data); e.have < len(e.bytes) {
		return nil
	}
	err := n.settleExtent(e)
	n.releaseExtent()
	return err
}

// settleExtent takes over the records of an extent that is here: durable ones go to this member's
// journal, others stay where they are.
func (n *Node) settleExtent(e *incomingExtent) error {
	copied := map[uint32]broker.Ref{} // by offset: a record may be in several queues
	return n.join.in.into.Extent(e.id, func(f broker.Ref, logged bool) (broker.Ref, error) {
		if to, done := copied[f.Offset]; done {
			return to, nil
		}
		from := f.Offset
		f.Extent = e.here
		if !n.log.Holds(journal.Ref(f)) {
			return f, fmt.Errorf("transfer: no record of %d bytes at %d of extent %d", f.Length, f.Offset, e.id)
		}
		if !logged || !n.log.Durable() {
			return f, nil
		}
		to, err := n.log.Copy(n.log.Record(journal.Ref(f)))
		copied[from] = broker.Ref(to)
		return broker.Ref(to), err
	})
}

// releaseExtent ends the keep of what is being received: what is referred to stays.
func (n *Node) releaseExtent() {
	if e := &n.join.in.extent; e.bytes != nil {
		n.log.Imported(e.here)
		*e = incomingExtent{}
	}
}

// releaseTransfer gives up what has come of a transfer.
func (n *Node) releaseTransfer() {
	n.releaseExtent()
	if n.join.in.into != nil {
		n.fade(n.broker)
		n.setBroker(n.newBroker())
	}
	n.join.in = incoming{}
}

// install takes over the state that has come; what queued up behind it follows.
func (n *Node) install() error {
	in := &n.join.in
	if !in.asked || len(in.into.Lacking()) > 0 {
		return fmt.Errorf("transfer: records are missing")
	}
	x := in.head
	n.id, n.index, n.chain, n.epoch = x.id, x.index, x.chain, x.epoch
	n.active, n.electorate, n.expected = x.active, x.electorate, x.expected
	n.stores, n.eras = x.stores, x.eras
	for _, m := range slices.Sorted(maps.Keys(x.streams)) {
		if err := n.installStream(m, x.streams[m]); err != nil {
			return err
		}
	}
	n.dropBase()
	n.joins = ID{}
	n.disk.left = false
	n.disk.members(n)
	n.newPace()
	if n.log.Durable() {
		n.beginCheckpoint()
	}
	n.join.receiving, n.join.in = false, incoming{}
	n.state, n.join.replaying = CatchingUp, true
	return nil
}

func (n *Node) installStream(m broker.MemberID, have []byte) error {
	s := &stream{}
	n.streams[m] = s
	if len(have) < len(s.head) {
		s.headLen = copy(s.head[:], have)
		return nil
	}
	s.logged = n.log.Durable() && broker.Logged(have)
	s.size = int(binary.LittleEndian.Uint32(have))
	if s.size < len(have) || s.size > broker.MaxEntryBytes {
		return fmt.Errorf("transfer: entry of %d bytes begun with %d", s.size, len(have))
	}
	space, err := n.log.Begin(s.size, journal.Transient)
	if err != nil {
		return err
	}
	s.headLen = copy(s.head[:], have)
	s.space, s.started, s.have = space, true, copy(space.Bytes(), have)
	return nil
}
