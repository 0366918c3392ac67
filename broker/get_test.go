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

// The release of what was given back comes before the dispatcher's answer to the get, but that was
// made before it came to the dispatcher.
func TestGetAsksAgain(t *testing.T) {
	o := newBench(2)
	dispatcher, m := o.members[0], o.members[1]
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
	r.Reset()
	r.Settle(1, q.id, q.at(q.head).index, Requeued)
	r.Get(2, "q", false)
	m.do(1, &r)
	o.out.Reset()
	m.b.Run(o.now)
	m.b.Collect(m)
	for _, x := range m.mesh {
		if err := dispatcher.b.Mesh(o.now, m.id, x.Data); err != nil {
			t.Fatal(err)
		}
	}
	m.mesh = nil
	dispatcher.b.Run(o.now)
	dispatcher.b.Collect(dispatcher)
	if len(dispatcher.mesh) != 1 || o.out.Len() > 0 {
		t.Fatalf("%d mesh messages of the dispatcher, expected its answer; %s", len(dispatcher.mesh), &o.out)
	}
	o.apply(m, m.pending)
	m.pending = nil
	if err := m.b.Mesh(o.now, dispatcher.id, dispatcher.mesh[0].Data); err != nil {
		t.Fatal(err)
	}
	dispatcher.mesh = nil
	m.b.Run(o.now)
	m.b.Collect(m)
	o.run()
	if got, want := o.out.String(), "deliver 1.2: 3 x again=1\n"; got != want {
		t.Errorf("%q, expected %q: %s", got, want, m.b.Describe("q"))
	}
}
