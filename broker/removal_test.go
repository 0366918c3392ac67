package broker

import (
	"slices"
	"testing"
)

// TestManyAtOnce purges and deletes queues that have more than is taken out in one run.
func TestManyAtOnce(t *testing.T) {
	const many = 3*discardMessages + 7
	o := newBench(1)
	m := o.members[0]
	apply := func(make func(*Requests)) {
		var r Requests
		make(&r)
		for i := range r.List {
			o.apply(m, r.Data(&r.List[i]))
		}
	}
	publish := func(n int) {
		apply(func(r *Requests) {
			for range n {
				r.Publish(&Publish{Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
			}
		})
	}
	apply(func(r *Requests) { r.QueueDeclare(&QueueDeclare{Name: "q"}) })
	publish(many)
	o.run()
	m.b.Crowded = true
	apply(func(r *Requests) { r.QueuePurge(&QueuePurge{Name: "q"}) })
	publish(5)
	o.run()
	if n, _ := m.b.Depth("q"); n != many+5 {
		t.Errorf("%d messages are left of %d while the ring is crowded", n, many+5)
	}
	m.b.Crowded = false
	o.run()
	if n, _ := m.b.Depth("q"); n != 5 {
		t.Errorf("%d messages are left where 5 came after the purge", n)
	}
	publish(many)
	o.run()
	apply(func(r *Requests) { r.QueueDelete(&QueueDelete{Name: "q"}) })
	o.run()
	for m.b.Carrying() { // what it has carried so far stays until it is through
		if _, err := m.b.Carry(many); err != nil {
			t.Fatal(err)
		}
	}
	if i := slices.IndexFunc(m.log.live, func(n int) bool { return n != 0 }); i >= 0 {
		t.Errorf("record %d is still held %d times when no queue is left", i, m.log.live[i])
	}
}
