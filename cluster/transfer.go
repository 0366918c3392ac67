package cluster

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// The state goes to a joiner over the mesh while everybody keeps working, the two as well: each
// does a little of it at a time. First comes the wiring, as it stood when the transfer was decided;
// then what is in the queues, as the snapshot has it; then the extents with the records that the
// joiner asks for, as they are: they are only ever appended to.
//
//	0 kind u8  1 token (rep u32, seq u64, hash u64)  21 …
//	state    21 bytes of what is not messages
//	messages 21 messages of the snapshot, whole ones
//	ask      21                                that is all: which extents are needed?
//	need     21 last u8  22 id u32…            from the joiner: these, and more if last is 0
//	extent   21 id u32  25 total u32  29 offset u32  33 bytes
//	end      21
//	got      21 bytes u64                      from the joiner: taken in so far
//
// A joiner with a history of its own needs what it lacks of theirs, which is not only what is new:
// where its history has an end of its own, that may have let go of messages that count again.
//
// A mark is of another kind: 1 epoch u64  9 index u64, up to which the sender's disk has it all. So is
// a hold: 1 epoch u64  9 u8, 1 if publishers are to be held for the sender's disk, 2 if they are to be
// refused as the sender has no memory left, 0 if neither.
const (
	meshBroker uint8 = iota // a message between brokers: see package broker
	meshState
	meshExtent
	meshEnd
	meshGot
	meshMark
	meshMessages
	meshAsk
	meshNeed
	meshHold

	transferHead = 21
	extentHead   = transferHead + 12
	// transferChunk is sent at a time, transferWindow may be under way.
	transferChunk  = 256 << 10
	transferWindow = 8 << 20
	// transferTurn is how many pieces a turn of the engine makes or takes in: a few milliseconds' work.
	transferTurn = 3
)

// donor is one transfer that this member sends.
type donor struct {
	to        broker.MemberID
	token     viewID
	state     []byte
	messages  *broker.Snapshot
	asked     bool
	kept      map[uint32]journal.Image // until the joiner has said what it needs
	answered  bool
	images    []journal.Image
	offset    int // in images[0]
	sent, got uint64
	ended     bool
}

// donateTo begins to send the state as it is now, at this place of the order.
func (n *Node) donateTo(h *hello) {
	n.donate = slices.DeleteFunc(n.donate, func(o *donor) bool {
		if o.to == h.from {
			o.release(n.log)
		}
		return o.to == h.from
	})
	n.broker.Settle(n.now)
	d := &donor{to: h.from, token: n.view.id, kept: map[uint32]journal.Image{}}
	d.state, d.messages = n.snapshot(n.has(h))
	for _, i := range n.log.Export() {
		d.kept[i.ID] = i
	}
	n.donate = append(n.donate, d)
}

// snapshot is this member's state but for the records. It opens with the index up to which the
// joiner's history is this one, and with what is not the broker's.
func (n *Node) snapshot(has broker.Index) ([]byte, *broker.Snapshot) {
	w := controlWriter{}
	w.Uint(uint64(has))
	w.uuid(journal.UUID(n.id))
	w.Uint(uint64(n.index))
	w.Uint(n.chain)
	w.Uint(uint64(n.epoch))
	w.members(n.active)
	w.members(n.electorate)
	w.Uint(uint64(n.expected))
	for _, m := range n.electorate {
		w.uuid(n.stores[m])
	}
	w.eras(n.eras)
	var cut []broker.MemberID
	for m, s := range n.streams {
		if s.partial() {
			cut = append(cut, m)
		}
	}
	slices.Sort(cut)
	w.Uint(uint64(len(cut)))
	for _, m := range cut {
		s := n.streams[m]
		w.Uint(uint64(m))
		if s.started {
			w.Text(string(s.space.Bytes()[:s.have]))
		} else {
			w.Text(string(s.head[:s.headLen]))
		}
	}
	return n.broker.Snapshot(w.Bytes, n.now, broker.All)
}

func (d *donor) release(l *journal.Log) {
	d.messages.Close()
	for _, i := range d.kept { // the order does not matter
		l.Unkeep(i)
	}
	for _, i := range d.images {
		l.Unkeep(i)
	}
	d.kept, d.images = nil, nil
}

// orphans ends the transfers to members that did not come along.
func (n *Node) orphans(came []broker.MemberID) {
	n.donate = slices.DeleteFunc(n.donate, func(d *donor) bool {
		if slices.Contains(came, d.to) {
			return false
		}
		d.release(n.log)
		return true
	})
}

// heard takes what a joiner says of its transfer.
func (n *Node) heard(from broker.MemberID, token viewID, kind uint8, data []byte) {
	for _, d := range n.donate {
		switch {
		case d.to != from || d.token != token:
		case kind == meshGot && len(data) >= 8:
			d.got = max(d.got, binary.LittleEndian.Uint64(data))
		case kind == meshNeed && len(data) > 0 && d.asked && !d.answered:
			d.need(n.log, data[0] != 0, data[1:])
		}
	}
}

// need takes a list of the extents that the joiner needs.
func (d *donor) need(l *journal.Log, last bool, list []byte) {
	for ; len(list) >= 4; list = list[4:] {
		id := binary.LittleEndian.Uint32(list)
		if i, ok := d.kept[id]; ok {
			d.images = append(d.images, i)
			delete(d.kept, id)
		}
	}
	if !last {
		return
	}
	d.answered = true
	for _, i := range d.kept { // the order does not matter
		l.Unkeep(i)
	}
	d.kept = nil
}

// feedDonors sends what the windows allow, and tells whether it could go on at once.
func (n *Node) feedDonors() (more bool) {
	for _, d := range n.donate {
		turn := transferTurn
		for ; turn > 0 && d.sent-d.got < transferWindow && !d.ended; turn-- {
			data := d.next(n.log)
			if data == nil {
				break
			}
			d.sent += uint64(len(data) - transferHead)
			n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: d.to, Data: data})
		}
		more = more || turn == 0
	}
	n.donate = slices.DeleteFunc(n.donate, func(d *donor) bool { return d.ended })
	return more
}

func transferMessage(kind uint8, token viewID, room int) []byte {
	b := make([]byte, 0, transferHead+room)
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, token.rep)
	b = binary.LittleEndian.AppendUint64(b, token.seq)
	return binary.LittleEndian.AppendUint64(b, token.hash)
}

// next is the next piece of a transfer; nil while the joiner, or the disk, is to answer first.
func (d *donor) next(l *journal.Log) []byte {
	switch {
	case len(d.state) > 0:
		k := min(len(d.state), transferChunk)
		b := append(transferMessage(meshState, d.token, k), d.state[:k]...)
		d.state = d.state[k:]
		return b
	case !d.messages.Done():
		return d.messages.Next(transferMessage(meshMessages, d.token, transferChunk), transferChunk)
	case !d.asked:
		d.asked = true
		return transferMessage(meshAsk, d.token, 0)
	case !d.answered:
		return nil
	case len(d.images) > 0:
		return d.nextExtent(l)
	}
	d.ended = true
	return transferMessage(meshEnd, d.token, 0)
}

func (d *donor) nextExtent(l *journal.Log) []byte {
	i := d.images[0]
	bytes := l.Image(i)
	if bytes == nil {
		return nil
	}
	k := min(len(bytes)-d.offset, transferChunk)
	b := transferMessage(meshExtent, d.token, k+extentHead-transferHead)
	b = binary.LittleEndian.AppendUint32(b, i.ID)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(bytes)))
	b = binary.LittleEndian.AppendUint32(b, uint32(d.offset))
	b = append(b, bytes[d.offset:d.offset+k]...)
	if d.offset += k; d.offset == len(bytes) {
		l.Unkeep(i)
		d.images, d.offset = d.images[1:], 0
	}
	return b
}

// Mesh takes a message from another member, outside the order.
func (n *Node) Mesh(now time.Duration, from broker.MemberID, data []byte) {
	n.now = now
	if len(data) == 0 {
		return
	}
	switch data[0] {
	case meshBroker:
	case meshMark:
		n.tookMark(from, data)
		return
	case meshHold:
		n.tookHold(from, data)
		return
	default:
		n.takeTransfer(from, data)
		return
	}
	if n.state == Joining || n.state == Left {
		return
	}
	// A frozen member takes it too: should it go on, nobody says it again. Should it go on
	// anew, every queue changes hands, and this is void.
	if err := n.broker.Mesh(now, from, data[1:]); err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: err.Error()})
	}
}
