package broker

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// What members say to one another about a queue, outside the order:
//
//	0 kind u8  1 queue u64  9 epoch u64  17 applied u64  25 …
//	want    25 limit u64  33 drain u64     I take so many in all; answer this drain
//	assign  25 ready u64    33 index u64 … these are yours; so many more are ready
//	drained 25 drain u64                   nothing more is here
//	return  25 index u64 …                 nobody here took these
//
// The epoch says which dispatcher is meant: what is of an older one is void. applied is how
// far the sender had come: who is not there yet keeps the message until it is, so that what
// a message speaks of is always known.
const (
	meshWant uint8 = iota + 1
	meshAssign
	meshDrained
	meshReturn
)

const meshHead = 25

func meshBegin(kind uint8, q *Queue) []byte {
	b := make([]byte, 0, meshHead+16)
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(q.id))
	b = binary.LittleEndian.AppendUint64(b, uint64(q.epoch))
	return binary.LittleEndian.AppendUint64(b, uint64(q.shard.b.applied))
}

func meshDrain(q *Queue, drain uint64) []byte {
	return binary.LittleEndian.AppendUint64(meshBegin(meshDrained, q), drain)
}

func meshAssignment(q *Queue, list []Index) []byte {
	b := binary.LittleEndian.AppendUint64(meshBegin(meshAssign, q), uint64(max(q.ready, 0)))
	return appendIndices(b, list)
}

func meshReturned(q *Queue, list []Index) []byte {
	return appendIndices(meshBegin(meshReturn, q), list)
}

func appendIndices(b []byte, list []Index) []byte {
	for _, i := range list {
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
	}
	return b
}

// flushPeers sends the assignments of this run.
func (s *shard) flushPeers(q *Queue) {
	for i := range q.peers {
		p := &q.peers[i]
		if len(p.batch) == 0 {
			continue
		}
		s.out.mesh = append(s.out.mesh, MeshOut{To: p.member, Data: meshAssignment(q, p.batch)})
		p.batch = p.batch[:0]
	}
}

// want tells the dispatcher how many messages the consumers here can take.
func (s *shard) want(q *Queue) {
	var free uint64
	var drain bool
	for _, l := range q.locals {
		free += min(l.room(), remoteWindow)
		if l.drain != 0 && !l.browse {
			if l.room() == 0 {
				s.endDrain(q, l)
				s.mark(q) // locals may have changed
				return
			}
			if l.drain == 1 {
				drain = true
				l.again = q.returns(l) // the dispatcher may answer before that has come to it
				l.drain = q.drains + 2 // it waits for the drain after the last one
			}
		}
	}
	if drain {
		q.drains++
	}
	ahead := q.wanted - q.assigned
	if !drain && (free == ahead || free > 0 && ahead > free/2) {
		return
	}
	q.wanted = q.assigned + free
	b := meshBegin(meshWant, q)
	b = binary.LittleEndian.AppendUint64(b, q.wanted)
	b = binary.LittleEndian.AppendUint64(b, q.drains)
	s.out.mesh = append(s.out.mesh, MeshOut{To: q.dispatcher, Data: b})
}

// place hands assigned messages to the consumers here and gives back what nobody takes.
func (s *shard) place(now time.Duration, q *Queue) {
	var back []Index
	done := 0
	for _, i := range q.assignments {
		pos, ok := q.find(i)
		if ok && !s.here(q, pos) {
			break // the others wait behind it
		}
		done++
		if !ok {
			continue // dequeued meanwhile
		}
		l, _ := q.taker()
		if l == nil {
			back = append(back, i)
			continue
		}
		q.hold(pos, l.handle)
		s.give(now, q, l, q.at(pos))
	}
	q.assignments = append(q.assignments[:0], q.assignments[done:]...)
	s.endRemoteDrains(q)
	s.want(q)
	if len(back) > 0 {
		s.out.mesh = append(s.out.mesh, MeshOut{To: q.dispatcher, Data: meshReturned(q, back)})
	}
}

// endRemoteDrains answers the drains that the dispatcher has answered, once what it assigned before that
// has been handed out: it may have to be fetched first.
func (s *shard) endRemoteDrains(q *Queue) {
	if len(q.assignments) > 0 {
		return
	}
	for i := 0; i < len(q.locals); i++ {
		l := q.locals[i]
		switch {
		case l.browse || l.drain < 2 || l.drain-1 > q.drained:
			continue
		case q.returns(l):
			l.again = true
			continue
		case l.again && l.sent == 0:
			l.again, l.drain = false, 1
			continue
		}
		if s.endDrain(q, l) {
			i--
		}
	}
}

// Mesh takes a message from another member. It returns an error if that is malformed.
func (b *Broker) Mesh(now time.Duration, from MemberID, data []byte) error {
	if len(data) < meshHead || (len(data)-meshHead)%8 != 0 {
		return fmt.Errorf("mesh message of %d bytes from member %x is cut short", len(data), uint64(from))
	}
	// What one member says stays in order: nothing overtakes what had to wait.
	if Index(binary.LittleEndian.Uint64(data[17:])) > b.applied || b.earlyFrom[from] > 0 {
		if len(b.early) >= maxEarly {
			return fmt.Errorf("more than %d mesh messages ahead of the order, the last from member %x", maxEarly, uint64(from))
		}
		b.early = append(b.early, earlyMesh{from, append([]byte(nil), data...)})
		b.earlyFrom[from]++
		return nil
	}
	if !slices.Contains(b.members, from) {
		return nil // it has left, and what it holds is known to be free
	}
	epoch := Index(binary.LittleEndian.Uint64(data[9:]))
	q := b.byID[QueueID(binary.LittleEndian.Uint64(data[1:]))]
	if q == nil || q.deleted || q.epoch != epoch {
		return nil
	}
	body := data[meshHead:]
	switch data[0] {
	case meshWant:
		if len(body) != 16 {
			return fmt.Errorf("want of %d bytes from member %x", len(data), uint64(from))
		}
		p := q.peerOf(b, from)
		p.limit = binary.LittleEndian.Uint64(body)
		p.drain = max(p.drain, newDrain(p, binary.LittleEndian.Uint64(body[8:])))
		q.usedAt = now
	case meshAssign:
		if len(body) == 0 {
			return fmt.Errorf("assignment of %d bytes from member %x", len(data), uint64(from))
		}
		q.left = binary.LittleEndian.Uint64(body)
		for body = body[8:]; len(body) > 0; body = body[8:] {
			q.assignments = append(q.assignments, Index(binary.LittleEndian.Uint64(body)))
			q.assigned++
		}
	case meshDrained:
		if len(body) == 8 {
			q.drained = max(q.drained, binary.LittleEndian.Uint64(body))
		}
	case meshReturn:
		b.returned(q, from, body)
	default:
		return fmt.Errorf("mesh message of unknown kind %d from member %x", data[0], uint64(from))
	}
	q.shard.mark(q)
	return nil
}

// newDrain is the drain to answer, if it was not answered before.
func newDrain(p *peer, drain uint64) uint64 {
	if drain <= p.lastDrain {
		return 0
	}
	p.lastDrain = drain
	return drain
}

func (b *Broker) returned(q *Queue, from MemberID, body []byte) {
	p := q.peerOf(b, from)
	for ; len(body) > 0; body = body[8:] {
		pos, ok := q.find(Index(binary.LittleEndian.Uint64(body)))
		if ok && q.at(pos).holder == p.handle {
			q.shard.release(q, pos, false)
		}
	}
}

// peerOf returns the entry of a member at the dispatcher.
func (q *Queue) peerOf(b *Broker, m MemberID) *peer {
	for i := range q.peers {
		if q.peers[i].member == m {
			return &q.peers[i]
		}
	}
	q.peers = append(q.peers, peer{member: m, handle: b.peerHandle(m)})
	return &q.peers[len(q.peers)-1]
}

// maxEarly bounds what is kept of messages that ran ahead of the order: each member has at
// most a few for a queue that just changed hands.
const maxEarly = 1 << 16

type earlyMesh struct {
	from MemberID
	data []byte
}

// replayEarly takes up the messages whose time has come.
func (b *Broker) replayEarly(now time.Duration) {
	if len(b.early) == 0 {
		return
	}
	list := b.early
	b.early = nil
	clear(b.earlyFrom)
	for _, e := range list {
		// A malformed one was counted when it came.
		_ = b.Mesh(now, e.from, e.data)
	}
}
