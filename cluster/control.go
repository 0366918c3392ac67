package cluster

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// What members tell one another in the order, as entries of kind KindControl; the flags
// octet of the entry's header tells which.
const (
	controlHello  uint8 = iota + 1 // who I am and what I hold: from everybody after a view
	controlForm                    // we begin: from the first of a view without a cluster
	controlActive                  // I have the state now
	controlDead                    // a member's process is known to be dead
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
	url, mesh  string
}

// viewID tells views apart: the ring, and who was in it.
type viewID struct {
	rep  uint32
	seq  uint64
	hash uint64
}

// Limits of control entries.
const (
	maxMembers     = 384 // of a ring: corosync's PROCESSOR_COUNT_MAX
	maxAddressText = 4096
)

type controlWriter struct{ b []byte }

func newControl(kind uint8) *controlWriter {
	w := &controlWriter{b: make([]byte, broker.HeaderBytes, 256)}
	w.b[4], w.b[5] = byte(broker.KindControl), kind
	return w
}

func (w *controlWriter) end() []byte {
	binary.LittleEndian.PutUint32(w.b, uint32(len(w.b)))
	return w.b
}

func (w *controlWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *controlWriter) text(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *controlWriter) members(list []broker.MemberID) {
	w.uint(uint64(len(list)))
	for _, m := range list {
		w.uint(uint64(m))
	}
}

func (w *controlWriter) viewID(v viewID) {
	w.uint(uint64(v.rep))
	w.uint(v.seq)
	w.uint(v.hash)
}

type controlReader struct {
	b   []byte
	err error
}

func (r *controlReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err, r.b = fmt.Errorf("control entry is cut short"), nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *controlReader) upTo(limit uint64) uint64 {
	v := r.uint()
	if v > limit {
		r.err, r.b = fmt.Errorf("control entry: %d is over its limit %d", v, limit), nil
		return 0
	}
	return v
}

func (r *controlReader) bytes(limit int) []byte {
	n := r.upTo(uint64(limit))
	if n > uint64(len(r.b)) {
		r.err, r.b = fmt.Errorf("control entry is cut short"), nil
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *controlReader) members() (list []broker.MemberID) {
	for n := r.upTo(maxMembers); n > 0; n-- {
		list = append(list, broker.MemberID(r.uint()))
	}
	return list
}

func (r *controlReader) viewID() viewID {
	return viewID{rep: uint32(r.upTo(math.MaxUint32)), seq: r.uint(), hash: r.uint()}
}

func (h *hello) encode() []byte {
	w := newControl(controlHello)
	w.viewID(h.view)
	w.uint(uint64(h.state))
	w.b = append(w.b, h.id[:]...)
	w.uint(uint64(h.epoch))
	w.uint(uint64(h.index))
	w.uint(h.chain)
	w.uint(uint64(h.donor))
	w.uint(h.load)
	w.uint(h.messages)
	w.members(h.electorate)
	w.text(h.url)
	w.text(h.mesh)
	return w.end()
}

func (r *controlReader) id() (id ID) {
	if copy(id[:], r.b) < len(id) {
		r.err, r.b = fmt.Errorf("control entry is cut short"), nil
		return id
	}
	r.b = r.b[len(id):]
	return id
}

func (r *controlReader) hello(from broker.MemberID) *hello {
	h := &hello{from: from, view: r.viewID(), state: State(r.upTo(uint64(Left))), id: r.id()}
	h.epoch, h.index, h.chain = broker.Index(r.uint()), broker.Index(r.uint()), r.uint()
	h.donor = broker.MemberID(r.uint())
	h.load, h.messages = r.uint(), r.uint()
	h.electorate = r.members()
	h.url, h.mesh = string(r.bytes(maxAddressText)), string(r.bytes(maxAddressText))
	return h
}
