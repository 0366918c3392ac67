package group

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// three is a world of three members that have a view.
func three(t *testing.T) (*world, []*member) {
	w := newWorld(t, 1)
	ring := w.newRing()
	for range 3 {
		w.join(ring)
	}
	w.settle()
	w.rested()
	return w, w.members
}

// TestExpelled stops a member: the others do without it, whether it keeps a message from being
// safe or a view from beginning, and it sees that when it wakes.
func TestExpelled(t *testing.T) {
	for name, disturb := range map[string]func(w *world, m *member){
		"no report": func(w *world, m *member) {
			if err := m.Push(make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
		},
		"no flush": func(w *world, m *member) { w.join(m.ring) },
	} {
		t.Run(name, func(t *testing.T) {
			w, list := three(t)
			list[2].still = true
			disturb(w, list[0])
			for end := w.now + 10*time.Second; w.now < end && list[0].Stats().Expelled == 0; {
				w.settle()
			}
			w.settle()
			for _, m := range w.members {
				if m == list[2] {
					continue
				}
				if m.view == nil || slices.Contains(m.view.Members, list[2].id) {
					t.Errorf("%s still has it: %+v", m.name(), m.view)
				}
				if m.Machine.safe != m.number {
					t.Errorf("%s: %d of %d messages are safe", m.name(), m.Machine.safe, m.number)
				}
			}
			list[2].still = false
			list[2].take(1000)
			if !errors.Is(list[2].Err(), ErrExpelled) {
				t.Errorf("it says %v when it wakes", list[2].Err())
			}
			late := w.join(list[0].ring) // learns who does not count
			w.end(list[2], wire.ReasonProcDown)
			w.settle()
			w.rested()
			if late.view == nil {
				t.Error("nobody could join after that")
			}
		})
	}
}

// TestStandstill has the ring stand still: nobody is expelled for that.
func TestStandstill(t *testing.T) {
	w, list := three(t)
	if err := list[0].Push(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	w.order(list[0])
	for _, m := range list {
		m.take(10)
	}
	for end := w.now + time.Minute; w.now < end; w.now += 10 * time.Millisecond {
		for _, m := range list {
			m.Tick(w.now)
		}
	}
	w.settle()
	w.rested()
	if n := list[0].Stats().Expelled; n != 0 {
		t.Errorf("%d members were expelled", n)
	}
}

// TestLost has corosync lose a message: who sent it gives up, and the others ignore what it sent
// after that.
func TestLost(t *testing.T) {
	w, list := three(t)
	for range 3 {
		if err := list[0].Push(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	w.order(list[0])
	if _, _, ok := list[0].Front(); !ok {
		t.Fatal("nothing to lose")
	}
	list[0].Sent(w.now)
	w.order(list[0])
	for _, m := range list {
		m.take(10)
		if m.number != 1 || m.Stats().Lost != 1 {
			t.Errorf("%s: %d messages, %d lost", m.name(), m.number, m.Stats().Lost)
		}
	}
	if !errors.Is(list[0].Err(), ErrLost) || list[1].Err() != nil {
		t.Errorf("the sender says %v, another %v", list[0].Err(), list[1].Err())
	}
}

// TestReports counts what safe costs: no reports for one's own messages, one a rotation for any
// number of others'.
func TestReports(t *testing.T) {
	w, list := three(t)
	const messages = 50
	for range messages {
		if err := list[0].Push(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
	for w.order(list[0]) {
	}
	for _, m := range list {
		m.take(2 * messages)
	}
	if _, _, ok := list[0].Front(); ok {
		t.Error("the only sender reports")
	}
	for _, m := range list[1:] {
		if !w.order(m) || w.order(m) {
			t.Error("a receiver should report once")
		}
	}
	list[0].take(10)
	if list[0].Machine.safe != messages {
		t.Errorf("%d of %d messages are safe", list[0].Machine.safe, messages)
	}
}

func TestForeign(t *testing.T) {
	_, list := three(t)
	for _, data := range []string{"", "x", "\x01\x00\x00\x00\x00\x00\x00\x00 another provider's"} {
		list[0].Message(1, list[1].id, []byte(data), nil)
		list[0].Message(1, cpg.Member{Node: 9, PID: 9}, list[1].Head(), nil)
	}
	if s := list[0].Stats(); s.Foreign != 3 || s.NoMember != 3 || s.Messages != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRoom(t *testing.T) {
	m := New(Config{Self: cpg.Member{Node: 1, PID: 1}, QueueBytes: 2 * MaxMessage})
	if err := m.Push(make([]byte, MaxMessage+1)); !errors.Is(err, cpg.ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	for range 2 {
		if err := m.Push(make([]byte, m.Room())); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Push([]byte{1}); !errors.Is(err, cpg.ErrFull) || m.Room() != 0 {
		t.Errorf("full: %v, room %d", err, m.Room())
	}
}

func TestQueue(t *testing.T) {
	var q queue
	for i := range 1000 {
		q.push([]byte{byte(i)}, []byte{byte(i >> 8)})
		if i%3 == 0 {
			q.pop()
		}
	}
	for i := 334; !q.empty(); i++ {
		if got := q.front(); !bytes.Equal(got, []byte{byte(i), byte(i >> 8)}) {
			t.Fatalf("%v where %d should be", got, i)
		}
		q.pop()
	}
	if q.bytes != 0 {
		t.Errorf("%d bytes are left", q.bytes)
	}
}

func TestFrames(t *testing.T) {
	who := cpg.Member{Node: 7, PID: 8}
	for _, f := range []frame{
		{kind: kindData, sequence: 3, view: 4, have: 5},
		{kind: kindReport, view: 1 << 60, have: 5},
		{kind: kindFlush, view: 4, have: 5, sum: 6, state: 7, expelled: []cpg.Member{who, who}},
		{kind: kindExpel, view: 4, have: 5, target: who},
	} {
		b := f.append(nil)
		var g frame
		n, err := g.parse(b)
		if err != nil || n != len(b) || !bytes.Equal(g.append(nil), b) {
			t.Errorf("%+v came back as %+v, %d of %d bytes: %v", f, g, n, len(b), err)
		}
		for i := range b {
			if _, err := g.parse(b[:i]); err == nil {
				t.Errorf("%+v: %d of %d bytes are taken for it", f, i, len(b))
			}
		}
	}
}

// FuzzMachine gives a machine whatever may be delivered: it must not panic, and safe must not
// pass what was delivered.
func FuzzMachine(f *testing.F) {
	who := cpg.Member{Node: 1, PID: 1}
	for _, x := range []frame{{kind: kindData, sequence: 1}, {kind: kindFlush}, {kind: kindExpel, target: who}} {
		f.Add(append([]byte{0, 1, byte(len(x.append(nil)))}, x.append(nil)...))
	}
	f.Add([]byte{1, 3, 2, 1, 3, 1, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New(Config{Self: who})
		now := time.Duration(1)
		next := func(n int) []byte {
			n = min(n, len(b))
			x := b[:n]
			b = b[n:]
			return x
		}
		for len(b) > 0 {
			now += time.Second
			switch op := next(1)[0] % 5; op {
			case 0:
				head := append(slices.Clone(next(2)), 0, 0)
				data := next(int(head[1]))
				m.Message(now, cpg.Member{Node: 1, PID: uint32(head[0] % 4)}, data[:len(data)/2], data[len(data)/2:])
			case 1:
				var list []cpg.Member
				for _, p := range next(3) {
					list = append(list, cpg.Member{Node: 1, PID: uint32(p % 4)})
				}
				m.Configuration(now, list, nil)
			case 2:
				m.Totem(now, wire.RingID{Rep: 1, Seq: uint64(len(b))}, []wire.NodeID{1})
			case 3:
				m.Tick(now)
			case 4:
				// What we send comes back.
				for head, data, ok := m.Front(); ok; head, data, ok = m.Front() {
					head, data = slices.Clone(head), slices.Clone(data)
					m.Sent(now)
					m.Message(now, who, head, data)
				}
				_ = m.Push([]byte{1}) // refused when it has left
			}
			if r := m.Ready(); r.Safe > m.number {
				t.Fatalf("%d messages are safe of %d", r.Safe, m.number)
			}
		}
	})
}
