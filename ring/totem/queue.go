package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// queueSlots is how far places may run ahead of what is released, as in corosync.
const queueSlots = 16384

// queue holds the packets of one ring by their place: those that somebody may still ask for
// and those that wait for one before them.
type queue struct {
	base  wire.Seq // everything up to here is released
	top   wire.Seq // nothing was put or missed beyond
	slots []slot
}

type slot struct {
	packet  wire.Packet // retained; Data is the whole Mcast
	present bool
	misses  uint8 // visits at which it was missing
}

func newQueue() *queue { return &queue{slots: make([]slot, queueSlots)} }

func (q *queue) at(s wire.Seq) *slot { return &q.slots[uint32(s)%queueSlots] }

// inRange reports whether the queue has a slot for s.
func (q *queue) inRange(s wire.Seq) bool { return uint32(s-q.base-1) < queueSlots }

func (q *queue) has(s wire.Seq) bool { return q.inRange(s) && q.at(s).present }

// get returns the packet at s, which must be there.
func (q *queue) get(s wire.Seq) wire.Packet {
	if !q.has(s) {
		panic("totem: packet is not in the queue")
	}
	return q.at(s).packet
}

// put keeps a packet; it reports false if there is no slot for it or one is there already.
func (q *queue) put(s wire.Seq, p wire.Packet) bool {
	if !q.inRange(s) || q.at(s).present {
		return false
	}
	p.Retain()
	q.touch(s)
	*q.at(s) = slot{packet: p, present: true}
	return true
}

func (q *queue) touch(s wire.Seq) {
	if uint32(s-q.base) > uint32(q.top-q.base) {
		q.top = s
	}
}

// miss counts a visit at which s was missing.
func (q *queue) miss(s wire.Seq) int {
	q.touch(s)
	c := q.at(s)
	if c.misses < 255 {
		c.misses++
	}
	return int(c.misses)
}

// release gives up everything up to s. The blocks go to out, as events may still point into
// them.
func (q *queue) release(s wire.Seq, out *Output) {
	for q.base != s {
		q.base++
		c := q.at(q.base)
		if c.present && c.packet.Block != nil {
			out.Retired = append(out.Retired, c.packet.Block)
		}
		*c = slot{}
	}
	if uint32(q.top-q.base) > queueSlots {
		q.top = q.base // it was released
	}
}

// reset empties the queue for a new ring.
func (q *queue) reset(out *Output) {
	q.release(q.top, out)
	q.base, q.top = 0, 0
}
