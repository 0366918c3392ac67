package broker

import (
	"slices"
	"strings"
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

// Messages that were assigned to a member are still to be read from its disk when the dispatcher says
// that there is nothing more: who takes one, or waits for a drain, gets them first.
func TestDrainWaitsForTheDisk(t *testing.T) {
	o := newBench(2)
	far, dispatcher := o.members[0], o.members[1]
	for _, m := range o.members {
		m.ports[1] = m.b.Connect(1)
	}
	var r Requests
	r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q"})
	r.Subscribe(&Subscribe{Conn: 1, Consumer: 9, Queue: "q"})
	for range 3 {
		r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
	}
	dispatcher.do(1, &r)
	r.Reset()
	r.Subscribe(&Subscribe{Conn: 1, Consumer: 2, Queue: "q"})
	far.do(1, &r)
	o.run()
	far.log.away = true
	o.out.Reset()
	r.Reset()
	r.Get(1, "q", true)
	r.Credit(2, 10, true)
	far.do(1, &r)
	o.run()
	if o.out.Len() > 0 {
		t.Errorf("said before the messages have come: %s", &o.out)
	}
	far.log.away = false
	far.b.Arrived()
	o.run()
	got := o.out.String()
	if strings.Count(got, "deliver") != 3 || !strings.Contains(got, "deliver 1.1:") || strings.Contains(got, "empty") ||
		!strings.HasSuffix(got, "drained 1.2: 2\n") {
		t.Errorf("%s", got)
	}
}

func putApplied(message []byte, i Index) {
	for k := range 8 {
		message[17+k] = byte(i >> (8 * k))
	}
}
