package sim

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// mesh carries what members say outside the order: in order between two of them, delayed,
// held up while a partition lies between them, and lost when one leaves the other's view.
type mesh struct {
	w     *world
	queue []meshItem
}

type meshItem struct {
	from, to broker.MemberID
	data     []byte
	at       time.Duration
}

func (h *mesh) send(from, to broker.MemberID, data []byte) {
	delay := time.Duration(h.w.net.Rand.Int64N(int64(h.w.meshDelay)))
	h.queue = append(h.queue, meshItem{from, to, slices.Clone(data), h.w.net.Now() + delay})
	h.w.net.WakeAt(worldHost, h.w.net.Now()+delay)
}

// members drops what is under way between a member and those not in its view.
func (h *mesh) members(m broker.MemberID, view []broker.MemberID) {
	h.queue = slices.DeleteFunc(h.queue, func(x meshItem) bool {
		return x.from == m && !slices.Contains(view, x.to) || x.to == m && !slices.Contains(view, x.from)
	})
}

// deliver hands over what is due.
func (h *mesh) deliver(now time.Duration) {
	blocked := map[[2]broker.MemberID]bool{}
	for i := 0; i < len(h.queue); {
		x := h.queue[i]
		pair := [2]broker.MemberID{x.from, x.to}
		from, to := h.w.member(x.from), h.w.member(x.to)
		switch {
		case to == nil:
			h.queue = slices.Delete(h.queue, i, i+1)
			continue
		case blocked[pair] || x.at > now || from != nil && !h.w.reaches(from.slot, to.slot) || !slices.Contains(to.view, x.from):
			blocked[pair] = true
			i++
			continue
		}
		h.queue = slices.Delete(h.queue, i, i+1)
		to.node.Mesh(now, x.from, x.data)
		to.touch()
		i = 0 // what was said may have changed the queue
		clear(blocked)
	}
}

func (h *mesh) next() time.Duration {
	next := time.Duration(0)
	for _, x := range h.queue {
		if next == 0 || x.at < next {
			next = x.at
		}
	}
	if next != 0 {
		next = max(next, h.w.net.Now()+time.Millisecond/2)
	}
	return next
}
