package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// The state goes to a joiner over the mesh while everybody keeps working: the wiring and the
// queues as they stood when the transfer was decided, then the extents that they refer to,
// as they are. Extents are only ever appended to, so nothing has to stand still for that.
//
//	0 kind u8  1 token (rep u32, seq u64, hash u64)  21 …
//	state   21 bytes of the state
//	extent  21 id u32  25 total u32  29 offset u32  33 bytes
//	end     21
//	got     21 bytes u64                      from the joiner: received so far
const (
	meshBroker uint8 = iota // a message between brokers: see package broker
	meshState
	meshExtent
	meshEnd
	meshGot

	transferHead = 21
	extentHead   = transferHead + 12
	// transferChunk is sent at a time, transferWindow may be under way.
	transferChunk  = 256 << 10
	transferWindow = 8 << 20
)

// donor is one transfer that this member sends.
type donor struct {
	to        broker.MemberID
	token     viewID
	state     []byte
	images    []journal.Image
	offset    int // in images[0]
	sent, got uint64
	ended     bool
}

// incoming is what a joiner has received.
type incoming struct {
	got, told uint64
	state     []byte
	extents   []incomingExtent
}

// incomingExtent is an extent of the donor's, which goes straight into this member's log.
type incomingExtent struct {
	id, here uint32
	bytes    []byte
	have     int
}

// donateTo begins to send the state as it is now, at this place of the order.
func (n *Node) donateTo(to broker.MemberID) {
	n.broker.Settle(n.now)
	d := &donor{to: to, token: n.view.id, state: n.snapshot(), images: n.log.Export()}
	n.donate = slices.DeleteFunc(n.donate, func(o *donor) bool {
		if o.to == to {
			o.release()
		}
		return o.to == to
	})
	n.donate = append(n.donate, d)
}

// snapshot is what of this member's state is not in extents.
func (n *Node) snapshot() []byte {
	w := controlWriter{}
	w.b = append(w.b, n.id[:]...)
	w.uint(uint64(n.index))
	w.uint(n.chain)
	w.uint(uint64(n.epoch))
	w.members(n.active)
	w.members(n.electorate)
	var cut []broker.MemberID
	for m, s := range n.streams {
		if s.partial() {
			cut = append(cut, m)
		}
	}
	slices.Sort(cut)
	w.uint(uint64(len(cut)))
	for _, m := range cut {
		s := n.streams[m]
		w.uint(uint64(m))
		if s.started {
			w.text(string(s.space.Bytes()[:s.have]))
		} else {
			w.text(string(s.head[:s.headLen]))
		}
	}
	return n.broker.Snapshot(w.b, n.now)
}

func (d *donor) orphaned(came []broker.MemberID) bool {
	if slices.Contains(came, d.to) {
		return false
	}
	d.release()
	return true
}

func (d *donor) release() {
	for _, i := range d.images {
		i.Extent.Unpin()
	}
	d.images = nil
}

// feedDonors sends what the windows allow.
func (n *Node) feedDonors() {
	for _, d := range n.donate {
		for d.sent-d.got < transferWindow && !d.ended {
			n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: d.to, Data: d.next()})
		}
	}
	n.donate = slices.DeleteFunc(n.donate, func(d *donor) bool { return d.ended })
}

func transferMessage(kind uint8, token viewID, room int) []byte {
	b := make([]byte, 0, transferHead+room)
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, token.rep)
	b = binary.LittleEndian.AppendUint64(b, token.seq)
	return binary.LittleEndian.AppendUint64(b, token.hash)
}

// next is the next piece of a transfer.
func (d *donor) next() []byte {
	switch {
	case len(d.state) > 0:
		k := min(len(d.state), transferChunk)
		b := append(transferMessage(meshState, d.token, k), d.state[:k]...)
		d.state = d.state[k:]
		d.sent += uint64(k)
		return b
	case len(d.images) > 0:
		i := &d.images[0]
		k := min(len(i.Bytes)-d.offset, transferChunk)
		b := transferMessage(meshExtent, d.token, k+extentHead-transferHead)
		b = binary.LittleEndian.AppendUint32(b, i.ID)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(i.Bytes)))
		b = binary.LittleEndian.AppendUint32(b, uint32(d.offset))
		b = append(b, i.Bytes[d.offset:d.offset+k]...)
		d.sent += uint64(k)
		if d.offset += k; d.offset == len(i.Bytes) {
			i.Extent.Unpin()
			d.images, d.offset = d.images[1:], 0
		}
		return b
	}
	d.ended = true
	return transferMessage(meshEnd, d.token, 0)
}

// Mesh takes a message from another member, outside the order.
func (n *Node) Mesh(now time.Duration, from broker.MemberID, data []byte) {
	n.now = now
	if len(data) == 0 {
		return
	}
	if data[0] != meshBroker {
		n.transferMessage(from, data)
		return
	}
	if n.state != Active && n.state != CatchingUp {
		return
	}
	if err := n.broker.Mesh(now, from, data[1:]); err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: err.Error()})
	}
}

// maxEarly bounds the pieces kept of a transfer that this member has not heard of yet: the
// window, and as much again.
const maxEarly = 2 * transferWindow / transferChunk

func (n *Node) transferMessage(from broker.MemberID, data []byte) {
	if len(data) < transferHead {
		n.event(Event{Kind: EventForeign, Member: from, Text: "transfer message is cut short"})
		return
	}
	token := viewID{rep: binary.LittleEndian.Uint32(data[1:]),
		seq: binary.LittleEndian.Uint64(data[5:]), hash: binary.LittleEndian.Uint64(data[13:])}
	if data[0] == meshGot {
		for _, d := range n.donate {
			if d.to == from && d.token == token && len(data) >= transferHead+8 {
				d.got = max(d.got, binary.LittleEndian.Uint64(data[transferHead:]))
			}
		}
		return
	}
	if !n.join.receiving || n.join.donor != from || n.join.token != token {
		n.keepEarly(from, token, data)
		return
	}
	if err := n.receive(data); err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: err.Error()})
		n.restart()
		n.asides = append(n.asides, n.hello().encode())
	}
}

// earlyPiece is a piece of a transfer that was not decided here yet.
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
		n.early = append(n.early, earlyPiece{from, token, append([]byte(nil), data...)})
	}
}

// receive takes one piece of the state.
func (n *Node) receive(data []byte) error {
	in := &n.join.in
	switch data[0] {
	case meshState:
		in.state = append(in.state, data[transferHead:]...)
		in.got += uint64(len(data) - transferHead)
	case meshExtent:
		if err := in.extent(n.log, data); err != nil {
			return err
		}
		in.got += uint64(len(data) - extentHead)
	case meshEnd:
		return n.install()
	}
	if in.got-in.told >= transferWindow/4 {
		in.told = in.got
		b := binary.LittleEndian.AppendUint64(transferMessage(meshGot, n.join.token, 8), in.got)
		n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: n.join.donor, Data: b})
	}
	return nil
}

// maxExtent is the longest extent: one entry of the largest size, and its header.
const maxExtent = broker.MaxEntryBytes + 1<<20

func (in *incoming) extent(l *journal.Log, data []byte) error {
	if len(data) < extentHead {
		return fmt.Errorf("transfer: extent is cut short")
	}
	id, total := binary.LittleEndian.Uint32(data[transferHead:]), binary.LittleEndian.Uint32(data[transferHead+4:])
	offset := binary.LittleEndian.Uint32(data[transferHead+8:])
	data = data[extentHead:]
	if offset == 0 {
		if total > maxExtent {
			return fmt.Errorf("transfer: extent of %d bytes", total)
		}
		here, bytes, err := l.Import(int(total))
		if err != nil {
			return err
		}
		in.extents = append(in.extents, incomingExtent{id: id, here: here, bytes: bytes})
	}
	if len(in.extents) == 0 {
		return fmt.Errorf("transfer: extent %d lacks its beginning", id)
	}
	e := &in.extents[len(in.extents)-1]
	if e.id != id || uint32(e.have) != offset || len(data) > len(e.bytes)-e.have {
		return fmt.Errorf("transfer: extent %d does not continue at %d", id, offset)
	}
	e.have += copy(e.bytes[e.have:], data)
	return nil
}

// install takes over the state, applies what queued up behind it, and says so.
func (n *Node) install() error {
	in := n.join.in
	r := controlReader{b: in.state}
	n.id = r.id()
	n.index, n.chain, n.epoch = broker.Index(r.uint()), r.uint(), broker.Index(r.uint())
	n.active, n.electorate = r.members(), r.members()
	for k := r.upTo(maxMembers); k > 0 && r.err == nil; k-- {
		m := broker.MemberID(r.uint())
		if err := n.installStream(m, r.bytes(broker.MaxEntryBytes)); err != nil {
			return err
		}
	}
	if r.err != nil {
		return fmt.Errorf("transfer: %w", r.err)
	}
	place := map[uint32]uint32{}
	for i := range in.extents {
		e := &in.extents[i]
		if e.have != len(e.bytes) {
			return fmt.Errorf("transfer: extent %d has %d of %d bytes", e.id, e.have, len(e.bytes))
		}
		place[e.id] = e.here
	}
	err := n.broker.Restore(r.b, n.now, func(f broker.Ref) (broker.Ref, bool) {
		id, ok := place[f.Extent]
		f.Extent = id
		return f, ok && n.log.Holds(journal.Ref(f))
	})
	for _, e := range in.extents {
		n.log.Imported(e.here)
	}
	if err != nil {
		return err
	}
	n.join.receiving, n.join.in = false, incoming{}
	n.state = CatchingUp
	n.replay()
	if n.state == CatchingUp {
		n.announce()
	}
	return nil
}

func (n *Node) installStream(m broker.MemberID, have []byte) error {
	s := &stream{}
	n.streams[m] = s
	if len(have) < len(s.head) {
		s.headLen = copy(s.head[:], have)
		return nil
	}
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
