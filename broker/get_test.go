package broker

import "testing"

// A get finds what its connection has given back just before, though that is still on its way; on the
// member that dispatches the queue, and on one that does not.
func TestGetFindsWhatWasGivenBack(t *testing.T) {
	for i, name := range []string{"dispatcher", "another member"} {
		o := newBench(2)
		dispatcher, m := o.members[0], o.members[i]
		for _, x := range o.members {
			x.ports[1] = x.b.Connect(1)
		}
		var r Requests
		r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q"})
		r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
		dispatcher.do(1, &r)
		o.run()
		r.Reset()
		r.Get(1, "q", false)
		m.do(1, &r)
		o.run()
		q := m.b.order[0]
		message := q.at(q.head).index
		o.out.Reset()
		r.Reset()
		r.Settle(1, q.id, message, Requeued)
		r.Get(2, "q", false)
		m.do(1, &r)
		m.b.Run(o.now) // before the release has come
		o.run()
		if got, want := o.out.String(), "deliver 1.2: 3 x again=1\n"; got != want {
			t.Errorf("%s: %q, expected %q: %s", name, got, want, m.b.Describe("q"))
		}
		o.out.Reset()
		r.Reset()
		r.Get(3, "q", false)
		m.do(1, &r)
		o.run()
		if got := o.out.String(); got != "empty 1.3\n" {
			t.Errorf("%s: %q of a queue whose message is held", name, got)
		}
	}
}
