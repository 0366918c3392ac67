package broker

import (
	"cmp"
	"maps"
	"slices"
)

// ties has for each connection the queues in which it may have a consumer, or which may be its own, so that
// its end does not have to look at every queue there is. What it has no more may still be listed, and a
// queue twice.
type ties map[Origin][]*Queue

// tidyTies is from how many on a list is tidied before it grows.
const tidyTies = 16

func (t ties) add(o Origin, q *Queue) {
	list := t[o]
	if len(list) == cap(list) && len(list) >= tidyTies {
		list = tidy(slices.DeleteFunc(list, func(q *Queue) bool { return !q.tied(o) }))
	}
	t[o] = append(list, q)
}

// take forgets a connection and lists its queues in order of declaration.
func (t ties) take(o Origin) []*Queue {
	list := t[o]
	delete(t, o)
	return tidy(list)
}

// forget forgets connections, in no order.
func (t ties) forget(gone func(Origin) bool) {
	maps.DeleteFunc(t, func(o Origin, _ []*Queue) bool { return gone(o) })
}

func tidy(list []*Queue) []*Queue {
	slices.SortFunc(list, func(a, b *Queue) int { return cmp.Compare(a.id, b.id) })
	return slices.Compact(list)
}

// tied tells whether a connection has a consumer in q, or q for itself.
func (q *Queue) tied(o Origin) bool {
	if q.deleted {
		return false
	}
	return q.options.Exclusive && q.owner == o || slices.ContainsFunc(q.consumers, func(c consumer) bool { return c.origin == o })
}
