package cluster

import (
	"math"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// What members tell one another in the order, as entries of kind KindControl; the flags
// octet of the entry's header tells which.
const (
	controlHello  uint8 = iota + 1 // who I am and what I hold: from everybody after a view
	controlForm                    // we begin: from the first of a view without a cluster
	controlActive                  // I have the state now
	controlDead                    // a member's process is known to be dead
	controlExpect                  // no more votes are expected than there are
	controlEra                     // only in the journal: who takes part from here on
	controlLeft                    // only in the journal: this member left, the others may have gone on
	controlFull                    // my disk is full, or no longer
)

// hello is what a member says of itself in a new view.
type hello struct {
	from       broker.MemberID
	view       viewID // that it speaks of
	state      State
	id         ID
	epoch      broker.Index
	index      broker.Index
	chain      uint64
	donor      broker.MemberID // that it is receiving the state from
	load       uint64
	messages   uint64
	electorate []broker.MemberID
	stores     []journal.UUID // of the electorate; none for who has no disk
	expected   int            // votes
	url, mesh  string
	store      journal.UUID // its own
	based      bool         // Joining: it has a history, which ends at index
	left       bool         // based: it left cleanly, and others may have gone on
	full       bool         // its disk is
	marked     bool         // based: a person has said that this history counts
	eras       []era        // based: the last of them
}

// viewID tells views apart: the ring, and who was in it.
type viewID struct {
	rep  uint32
	seq  uint64
	hash uint64
}

// maxAddressText is the longest URL, or address, of a member.
const maxAddressText = 4096

type controlWriter struct{ broker.Writer }

func newControl(kind uint8) *controlWriter {
	w := &controlWriter{broker.BeginEntry(make([]byte, 0, 256), broker.KindControl, 0)}
	w.Bytes[5] = kind
	return w
}

func (w *controlWriter) members(list []broker.MemberID) {
	w.Uint(uint64(len(list)))
	for _, m := range list {
		w.Uint(uint64(m))
	}
}

func (w *controlWriter) viewID(v viewID) {
	w.Uint(uint64(v.rep))
	w.Uint(v.seq)
	w.Uint(v.hash)
}

type controlReader struct{ broker.Reader }

func (r *controlReader) members() (list []broker.MemberID) {
	for n := r.UintTo(wire.MaxMembers); n > 0; n-- {
		list = append(list, broker.MemberID(r.Uint()))
	}
	return list
}

func (r *controlReader) viewID() viewID {
	return viewID{rep: uint32(r.UintTo(math.MaxUint32)), seq: r.Uint(), hash: r.Uint()}
}

func (h *hello) encode() []byte {
	w := newControl(controlHello)
	w.viewID(h.view)
	w.Uint(uint64(h.state))
	w.Bytes = append(w.Bytes, h.id[:]...)
	w.Uint(uint64(h.epoch))
	w.Uint(uint64(h.index))
	w.Uint(h.chain)
	w.Uint(uint64(h.donor))
	w.Uint(h.load)
	w.Uint(h.messages)
	w.members(h.electorate)
	for _, s := range h.stores {
		w.Bytes = append(w.Bytes, s[:]...)
	}
	w.Uint(uint64(h.expected))
	w.Text(h.url)
	w.Text(h.mesh)
	w.Bytes = append(w.Bytes, h.store[:]...)
	w.Uint(bits(h.based, h.left, h.full, h.marked))
	w.eras(h.eras)
	return w.End()
}

func (r *controlReader) id() (id ID) {
	copy(id[:], r.Octets(uint64(len(id)), "cluster id"))
	return id
}

func (r *controlReader) hello(from broker.MemberID) *hello {
	h := &hello{from: from, view: r.viewID(), state: State(r.UintTo(uint64(Left))), id: r.id()}
	h.epoch, h.index, h.chain = broker.Index(r.Uint()), broker.Index(r.Uint()), r.Uint()
	h.donor = broker.MemberID(r.Uint())
	h.load, h.messages = r.Uint(), r.Uint()
	h.electorate = r.members()
	for range h.electorate {
		h.stores = append(h.stores, journal.UUID(r.id()))
	}
	h.expected = int(r.UintTo(math.MaxInt32))
	h.url, h.mesh = string(r.TextTo(maxAddressText)), string(r.TextTo(maxAddressText))
	h.store = journal.UUID(r.id())
	flags := r.UintTo(15)
	h.based, h.left, h.full, h.marked = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&8 != 0
	h.eras = r.eras()
	return h
}
