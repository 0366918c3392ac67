package cpg_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// wired is three machines without a network between them: what one sends, the others have.
type wired struct {
	m     []*cpg.Machine
	pools []*wire.Pool
	now   time.Duration
	got   int
}

func newWired(t testing.TB) *wired {
	w := &wired{now: time.Second}
	for id := wire.NodeID(1); id <= 3; id++ {
		m, err := cpg.New(cpg.Config{Totem: totem.Config{Node: id, Nodes: 3}, Group: "g", PID: 1}, w.now)
		if err != nil {
			t.Fatal(err)
		}
		w.m = append(w.m, m)
		w.pools = append(w.pools, wire.NewPool(2048, 1024))
	}
	for range 100 {
		w.now += 10 * time.Millisecond
		w.run()
	}
	if n := len(w.m[0].Members()); n != 3 {
		t.Fatalf("%d members", n)
	}
	return w
}

// run passes packets until nobody has any.
func (w *wired) run() {
	for busy := true; busy; {
		busy = false
		for i, m := range w.m {
			m.Tick(w.now)
			r := m.Ready()
			for _, e := range r.Events {
				if e.Message {
					w.got++
				}
			}
			for _, d := range r.Send {
				busy = true
				w.send(i, d)
			}
		}
	}
}

func (w *wired) send(from int, d wire.Datagram) {
	for i, m := range w.m {
		if i == from || d.To != 0 && int(d.To) != i+1 {
			continue
		}
		b := w.pools[i].Get()
		n := copy(b.Data, d.Data)
		m.Step(w.now, wire.Packet{Data: b.Data[:n], Block: b})
		b.Release()
	}
}

// TestNoAllocations: sending and delivering allocate nothing once queues and pools have
// their size, for messages that share packets as for such that span several.
func TestNoAllocations(t *testing.T) {
	for _, size := range []int{16, 256, 1024, 5000} {
		w := newWired(t)
		msg := make([]byte, size)
		round := func() {
			w.now += time.Millisecond
			for range 10 {
				for _, m := range w.m {
					if err := m.Multicast(msg); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.run()
		}
		for range 200 {
			round()
		}
		before := w.got
		allocs := testing.AllocsPerRun(100, round)
		if w.got-before != 101*30*3 {
			t.Errorf("%d bytes: %d messages delivered", size, w.got-before)
		}
		if allocs > 0 {
			t.Errorf("%d bytes: %.1f allocations for 30 messages", size, allocs)
		}
		for i, p := range w.pools {
			if p.Live() > 64 {
				t.Errorf("member %d holds %d packets after everything is safe", i+1, p.Live())
			}
		}
	}
}

// BenchmarkMachine is the work of three machines for a message, without a network.
func BenchmarkMachine(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newWired(b)
			msg := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for w.m[i%3].Multicast(msg) != nil {
					w.run()
				}
				if i%100 == 0 {
					w.run()
				}
			}
		})
	}
}
