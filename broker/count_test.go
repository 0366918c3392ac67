package broker

import (
	"slices"
	"testing"
)

// A dispatcher dies before it has done a purge that a client of another member waits for. Its
// successor does it, and only then is the client told; so is who asked how many messages there are.
func TestQuestionsOutliveTheDispatcher(t *testing.T) {
	for _, settled := range []bool{false, true} { // had the survivors heard of the purge's effect?
		o := newBench(3)
		asker, other, dispatcher := o.members[0], o.members[1], o.members[2]
		for _, m := range o.members {
			m.ports[1] = m.b.Connect(1)
		}
		var r Requests
		r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q"})
		r.Subscribe(&Subscribe{Conn: 1, Consumer: 1, Queue: "q"})
		dispatcher.do(1, &r)
		r.Reset()
		for range 5 {
			r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
		}
		other.do(1, &r)
		o.run()
		o.out.Reset()
		r.Reset()
		r.QueuePurge(&QueuePurge{Conn: 1, Name: "q"})
		r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("later")})
		r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q", Passive: true})
		asker.do(1, &r)
		if o.out.Len() > 0 {
			t.Errorf("answered before it was done: %s", &o.out)
		}
		if settled {
			dispatcher.b.Run(o.now)
			dispatcher.b.Collect(dispatcher)
			h, err := ParseHeader(dispatcher.pending)
			if err != nil || h.Kind != KindDequeue {
				t.Fatalf("%v, %v: a dequeue is expected first", h, err)
			}
			o.apply(dispatcher, dispatcher.pending[:h.Size])
		}
		o.members = o.members[:2]
		o.index++
		for _, m := range o.members {
			m.b.Members(&Entry{Index: o.index, Now: o.now}, []MemberID{1, 2})
		}
		o.run()
		want := "ok 1.1: messages=5 consumers=1\nok 1.3: messages=6 consumers=1\n"
		if settled {
			want = "ok 1.1: messages=0 consumers=1\nok 1.3: messages=1 consumers=1\n"
		}
		// The count was asked for while the purge was under way: either is right.
		if got := o.out.String(); got != want && got != swapped(want) {
			t.Errorf("settled %v: %q, expected %q", settled, got, want)
		}
		for _, m := range o.members {
			if n, _ := m.b.Depth("q"); n != 1 {
				t.Errorf("member %d has %d messages after the purge, expected the one that came behind it", m.id, n)
			}
			if q := m.b.order[0]; len(q.asked)+len(q.questions) > 0 {
				t.Errorf("member %d still waits for answers: %v %v", m.id, q.asked, q.questions)
			}
		}
	}
}

func swapped(lines string) string {
	half := len(lines) / 2
	return lines[half:] + lines[:half]
}

// Who waits for an answer gets one also if the queue is deleted.
func TestQuestionsOutliveTheQueue(t *testing.T) {
	o := newBench(2)
	asker, dispatcher := o.members[0], o.members[1]
	for _, m := range o.members {
		m.ports[1] = m.b.Connect(1)
	}
	var r Requests
	r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q"})
	r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("x")})
	dispatcher.do(1, &r)
	o.run()
	o.out.Reset()
	r.Reset()
	r.QueuePurge(&QueuePurge{Conn: 1, Name: "q"})
	asker.do(1, &r)
	r.Reset()
	r.QueueDelete(&QueueDelete{Conn: 1, Name: "q"})
	dispatcher.do(1, &r)
	o.run()
	if got, want := o.out.String(), "ok 1.3: messages=1 consumers=0\nok 1.1: messages=0 consumers=0\n"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}

// A purge that is replayed is over: what a consumer held then, and gave back later, is still there.
func TestReplayedPurgeIsOver(t *testing.T) {
	o := newBench(1)
	m := o.members[0]
	m.ports[1] = m.b.Connect(1)
	var history []Entry
	do := func(r *Requests) {
		for i := range r.List {
			if q := &r.List[i]; q.Kind == ReqSubmit {
				entry := slices.Clone(r.Data(q))
				history = append(history, Entry{Index: o.index + 1, From: m.id, Now: o.now, Record: entry})
			}
		}
		m.do(1, r)
		r.Reset()
	}
	var r Requests
	r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q", Options: QueueOptions{Durable: true}})
	r.Publish(&Publish{Conn: 1, Flags: FlagDurable, Format: FormatAMQP091, Key: []byte("q"), Body: []byte("held")})
	do(&r)
	m.b.Get(m.ports[1], o.now, &Request{Consumer: 1}, "q")
	o.run()
	r.QueuePurge(&QueuePurge{Conn: 1, Name: "q"})
	do(&r)
	o.run()
	again := New(Config{Self: m.id, Log: m.log, Headers: headerOf})
	for i := range history {
		e := &history[i]
		e.Ref = m.log.add(e.Record)
		if err := again.Replay(e); err != nil {
			t.Fatal(err)
		}
	}
	o.index++
	again.Revive(&Entry{Index: o.index, Now: o.now}, []MemberID{m.id})
	revived := &benchMember{b: again, o: o, id: m.id, log: m.log, ports: map[ConnID]*Port{}, numbers: map[ConnID]uint64{}}
	o.members[0] = revived
	o.run()
	if n, _ := again.Depth("q"); n != 1 {
		t.Errorf("%d messages after a restart, expected the one that was not purged", n)
	}
}
