package session

import (
	"sort"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// unacked is a delivery that the client has not yet settled.
type unacked struct {
	tag      uint64
	queue    broker.QueueID
	index    broker.Index
	consumer *consumer091 // nil: settled, a gap that is closed later
}

// unacked091 is a channel's unsettled deliveries in the order of their tags: a ring. Clients
// settle mostly in order; what they settle out of it leaves gaps, which are squeezed out
// when they are the larger part, so that memory stays within twice of what is held.
type unacked091 struct {
	ring  []unacked // a power of two long
	head  int
	count int // gaps included
	gaps  int
}

func (u *unacked091) at(i int) *unacked { return &u.ring[(u.head+i)&(len(u.ring)-1)] }

func (u *unacked091) push(e unacked) {
	if u.count == len(u.ring) {
		u.resize(max(16, 2*len(u.ring)))
	}
	u.count++
	*u.at(u.count - 1) = e
}

// resize moves what is held into a ring of n, and closes the gaps.
func (u *unacked091) resize(n int) {
	ring := make([]unacked, n)
	held := 0
	for i := range u.count {
		if e := u.at(i); e.consumer != nil {
			ring[held] = *e
			held++
		}
	}
	*u = unacked091{ring: ring, count: held}
}

// find returns the position of a tag, or -1. Where every delivery is to be acknowledged tags
// have no gaps, and the first guess is right.
func (u *unacked091) find(tag uint64) int {
	if u.count == 0 || tag < u.at(0).tag {
		return -1
	}
	i := int(min(tag-u.at(0).tag, uint64(u.count-1)))
	if u.at(i).tag != tag {
		i = sort.Search(u.count, func(i int) bool { return u.at(i).tag >= tag })
	}
	if i == u.count || u.at(i).tag != tag || u.at(i).consumer == nil {
		return -1
	}
	return i
}

// pop takes the oldest that is held.
func (u *unacked091) pop() (unacked, bool) {
	u.trim()
	if u.count == 0 {
		return unacked{}, false
	}
	e := *u.at(0)
	u.drop(0)
	return e, true
}

// drop makes a gap of the delivery at i.
func (u *unacked091) drop(i int) {
	u.at(i).consumer = nil
	u.gaps++
	u.trim()
	if n := len(u.ring); n > 64 && u.gaps > n/2 {
		u.resize(n)
	}
}

// trim takes gaps off the front, where there is nearly always one only.
func (u *unacked091) trim() {
	for u.count > 0 && u.at(0).consumer == nil {
		u.head = (u.head + 1) & (len(u.ring) - 1)
		u.count--
		u.gaps--
	}
}
