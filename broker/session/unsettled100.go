package session

import (
	"sort"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// held100 is a delivery that was sent unsettled. link is nil once it is settled.
type held100 struct {
	link  *link100
	queue broker.QueueID
	index broker.Index
	id    amqp100.Seq
}

// unsettled100 holds a session's unsettled deliveries in the order of their ids, which is
// that of sending. Mostly the ids have no gaps and a delivery is found by subtraction;
// where settled ones have been squeezed out, or sent settled between, by bisection. A
// consumer that sits on one message while thousands pass therefore costs one entry.
type unsettled100 struct {
	list []held100
	head int // before it all are settled and gone
	live int
}

// squeezeAt is how many settled deliveries are carried along at most, beyond the live.
const squeezeAt = 64

func (u *unsettled100) add(h held100) {
	if dead := len(u.list) - u.head - u.live; len(u.list) == cap(u.list) && (u.head > 0 || dead > 0) {
		u.squeeze()
	}
	u.list = append(u.list, h)
	u.live++
}

// squeeze moves what is live to the front. It is called when the list is full, or half
// dead, so that each delivery pays for a constant number of moves.
func (u *unsettled100) squeeze() {
	kept := u.list[:0]
	for _, h := range u.list[u.head:] {
		if h.link != nil {
			kept = append(kept, h)
		}
	}
	clear(u.list[len(kept):])
	u.list, u.head = kept, 0
}

// from is the position of the first delivery that is not before id.
func (u *unsettled100) from(id amqp100.Seq) int {
	if u.head == len(u.list) {
		return u.head
	}
	first := u.list[u.head].id
	if id.Before(first) {
		return u.head
	}
	if i := int64(u.head) + int64(id-first); i < int64(len(u.list)) && u.list[i].id == id {
		return int(i)
	}
	return u.head + sort.Search(len(u.list)-u.head, func(i int) bool { return !u.list[u.head+i].id.Before(id) })
}

// settle marks a delivery settled.
func (u *unsettled100) settle(i int) {
	u.list[i].link = nil
	u.live--
}

// trim lets go of what is settled at the front, and squeezes when that is worth it.
func (u *unsettled100) trim() {
	for u.head < len(u.list) && u.list[u.head].link == nil {
		u.head++
	}
	if u.head == len(u.list) {
		u.list, u.head = u.list[:0], 0
		return
	}
	if len(u.list)-u.head-u.live > squeezeAt+u.live || u.head > squeezeAt+len(u.list)/2 {
		u.squeeze()
	}
}
