package broker

import (
	"testing"
	"time"
)

// FuzzApply applies arbitrary entries to a broker that has some state: none may do more than
// be refused, and the state must survive a snapshot.
func FuzzApply(f *testing.F) {
	var r Requests
	r.QueueDeclare(&QueueDeclare{Name: "q", Options: QueueOptions{Durable: true, MessageTTL: new(uint64)}})
	r.ExchangeDeclare(&ExchangeDeclare{Name: "x", Options: ExchangeOptions{Type: Headers}})
	r.Bind(&Bind{Exchange: "x", Target: "q", Fields: []Field{{"a", Value{Kind: ValueString, Str: "b"}}}, HasFields: true})
	r.Publish(&Publish{Format: FormatAMQP091, Key: []byte("q"), Body: []byte("hello")})
	r.Subscribe(&Subscribe{Queue: "q", Consumer: 1})
	r.Cancel(&Cancel{Consumer: 1})
	r.QueuePurge(&QueuePurge{Name: "q"})
	r.ExchangeDelete(&ExchangeDelete{Name: "x"})
	r.QueueDelete(&QueueDelete{Name: "q"})
	for i := range r.List {
		f.Add(r.Data(&r.List[i]))
	}
	f.Add(appendDequeue(nil, []Done{{2, 3, false}, {2, 4, true}, {7, 1, true}}, true))
	f.Add(appendRelease(nil, []Done{{2, 3, true}}, true))
	f.Fuzz(func(t *testing.T, entry []byte) {
		o := newBench(1)
		m := o.members[0]
		for i := range 4 {
			o.apply(m, r.Data(&r.List[i]))
		}
		o.run()
		before := m.b.Hash()
		e := Entry{Index: o.index + 1, From: 1, Now: o.now, Record: entry, Ref: m.log.add(entry)}
		if _, err := m.b.Apply(&e); err != nil && m.b.Hash() != before {
			t.Fatalf("a refused entry changed the state: %v", err)
		}
		o.index++
		m.b.Run(o.now)
		m.b.Collect(m)
		c := New(Config{Self: 9, Log: m.log, Headers: headerOf})
		if err := c.RestoreWhole(whole(m.b, o.now), o.now, Same); err != nil {
			t.Fatalf("restore: %v", err)
		}
	})
}

// FuzzMesh gives a broker arbitrary messages of another member.
func FuzzMesh(f *testing.F) {
	q := &Queue{id: 2, shard: &shard{b: &Broker{applied: 3}}}
	q.epoch = 2
	f.Add(meshDrain(q, 1))
	f.Add(meshAssignment(q, []Index{3, 4}))
	f.Add(meshReturned(q, []Index{3}))
	f.Add(append(meshBegin(meshWant, q), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := newBench(2)
		var r Requests
		r.QueueDeclare(&QueueDeclare{Name: "q"})
		r.Publish(&Publish{Format: FormatAMQP091, Key: []byte("q")})
		o.apply(o.members[0], r.Data(&r.List[0]))
		o.apply(o.members[0], r.Data(&r.List[1]))
		o.run()
		for _, m := range o.members {
			_ = m.b.Mesh(o.now, 3-m.id, data) // malformed ones are refused, that is all
			for range 3 {
				m.b.Run(o.now + time.Second)
				m.b.Collect(m)
			}
		}
	})
}

// FuzzRestore takes arbitrary snapshots.
func FuzzRestore(f *testing.F) {
	o := newBench(1)
	var r Requests
	r.QueueDeclare(&QueueDeclare{Name: "q"})
	r.Bind(&Bind{Exchange: "amq.topic", Target: "q", Key: "a.#"})
	r.Publish(&Publish{Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
	r.Subscribe(&Subscribe{Queue: "q", Consumer: 1})
	for i := range r.List {
		o.apply(o.members[0], r.Data(&r.List[i]))
	}
	o.run()
	f.Add(whole(o.members[0].b, o.now))
	f.Fuzz(func(t *testing.T, data []byte) {
		log := &benchLog{}
		log.add([]byte("record"))
		b := New(Config{Self: 1, Log: log, Headers: headerOf})
		err := b.RestoreWhole(data, time.Second, func(Ref, QueueID, Index, bool) (Ref, bool) { return Ref{Length: 6}, true })
		if err == nil {
			b.Hash()
		}
	})
}
