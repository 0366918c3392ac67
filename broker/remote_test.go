package broker

import (
	"slices"
	"testing"
)

// A message from another member that runs ahead of the order waits, and what that member says
// next waits behind it, even if the order has caught up by then.
func TestMeshMessagesDoNotOvertake(t *testing.T) {
	o := newBench(2)
	w := BeginEntry(nil, KindQueueDelete, 0) // an entry, of whatever kind, moves the order on
	w.Text("none")
	w.bool(false)
	w.bool(false)
	w.Uint(0)
	entry := w.End()
	m, other := o.members[0], o.members[1]
	var r Requests
	r.QueueDeclare(&QueueDeclare{Name: "q"})
	other.ports[1] = other.b.Connect(1)
	other.do(1, &r)
	o.run()
	q := m.b.order[0]
	assign := func(i Index) []byte {
		there := *other.b.order[0]
		there.epoch = q.epoch
		return meshAssignment(&there, []Index{i})
	}
	first := assign(100)
	putApplied(first, m.b.applied+1)
	if err := m.b.Mesh(o.now, other.id, first); err != nil {
		t.Fatal(err)
	}
	o.apply(other, entry)
	if err := m.b.Mesh(o.now, other.id, assign(101)); err != nil {
		t.Fatal(err)
	}
	m.b.replayEarly(o.now)
	if !slices.Equal(q.assignments, []Index{100, 101}) {
		t.Errorf("assigned %v", q.assignments)
	}
}

func putApplied(message []byte, i Index) {
	for k := range 8 {
		message[17+k] = byte(i >> (8 * k))
	}
}
