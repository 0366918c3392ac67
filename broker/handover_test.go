package broker

import "testing"

// A consumer releases a message when its queue has just changed hands, before its member's
// report of what is held has left. The new dispatcher hears of the release last, and does not
// think for ever that the message is held.
func TestReleaseAtHandover(t *testing.T) {
	o := newBench(2)
	old, heir := o.members[0], o.members[1]
	old.ports[1], heir.ports[1] = old.b.Connect(1), heir.b.Connect(1)
	var r Requests
	r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q"})
	r.Subscribe(&Subscribe{Conn: 1, Consumer: 1, Queue: "q"})
	r.Credit(1, 1, false)
	r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("m")})
	old.do(1, &r)
	o.run()
	q := old.b.order[0]
	message := q.at(q.head).index
	r.Reset()
	r.Subscribe(&Subscribe{Conn: 1, Consumer: 1, Queue: "q"})
	r.Subscribe(&Subscribe{Conn: 1, Consumer: 2, Queue: "q"})
	r.Credit(1, 1, false)
	heir.do(1, &r)
	if q.dispatcher != heir.id {
		t.Fatalf("the queue is dispatched by %d", q.dispatcher)
	}
	r.Reset()
	r.Settle(1, q.id, message, Released)
	old.do(1, &r)
	o.out.Reset()
	o.run()
	if got, want := o.out.String(), "deliver 1.1: 4 m\n"; got != want {
		t.Errorf("%q, expected %q: %s", got, want, heir.b.Describe("q"))
	}
}
