package broker

import "testing"

// TestApartOutlivesSnapshots fills a queue whose bytes are limited and takes it over from a snapshot: what counts there
// is the same, of messages with whatever beside their bodies.
func TestApartOutlivesSnapshots(t *testing.T) {
	limit := uint64(1 << 20)
	o := newBench(1)
	m := o.members[0]
	m.ports[1] = m.b.Connect(1)
	var r Requests
	for _, name := range []string{"bodies", "records"} {
		options := QueueOptions{MaxLengthBytes: &limit, CountBodies: name == "bodies", Overflow: OverflowReject}
		r.QueueDeclare(&QueueDeclare{Conn: 1, Name: name, Options: options})
		for i := range 50 {
			p := Publish{Conn: 1, Format: FormatAMQP091, Key: []byte(name), Body: make([]byte, i), Props: make([]byte, 100*i)}
			r.Publish(&p)
		}
	}
	m.do(1, &r)
	o.run()
	c := New(Config{Self: 99, Shards: 2, Log: m.log, Headers: headerOf})
	if err := c.RestoreWhole(whole(m.b, o.now), o.now, Same); err != nil {
		t.Fatal(err)
	}
	const bodies = 49 * 50 / 2
	if got := m.b.queues["bodies"].bytes; got != bodies {
		t.Errorf("bodies count %d bytes, expected %d", got, bodies)
	}
	for name, q := range m.b.queues {
		if p := c.queues[name]; p.bytes != q.bytes || p.readyBytes != q.readyBytes || p.count != q.count {
			t.Errorf("%s: %d messages of %d bytes, %d ready, were restored as %d of %d, %d ready",
				name, q.count, q.bytes, q.readyBytes, p.count, p.bytes, p.readyBytes)
		}
	}
	var s slot
	s.setApart(1 << 30)
	if s.getApart() != maxApart {
		t.Errorf("%d bytes apart became %d", 1<<30, s.getApart())
	}
}
