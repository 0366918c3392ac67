package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestSnapshotStandsStill reads snapshots bit by bit while messages come, go, are released and
// carried, and queues are deleted: each is of the moment when it was begun.
func TestSnapshotStandsStill(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := newBench(1)
		m := o.members[0]
		apply := func(make func(*Requests)) {
			var q Requests
			make(&q)
			for i := range q.List {
				o.apply(m, q.Data(&q.List[i]))
			}
			o.run()
		}
		queues := 1 + r.IntN(4)
		declare := func() {
			apply(func(q *Requests) {
				for k := range queues {
					q.QueueDeclare(&QueueDeclare{Name: fmt.Sprint("q", k)})
				}
			})
		}
		declare()
		type reading struct {
			s          *Snapshot
			want, have []byte
		}
		var under []*reading
		for range 200 {
			switch r.IntN(8) {
			case 0, 1, 2:
				apply(func(q *Requests) {
					for range r.IntN(600) {
						q.Publish(&Publish{Format: FormatAMQP091, Key: fmt.Appendf(nil, "q%d", r.IntN(queues)), Body: []byte("x")})
					}
				})
			case 3, 4:
				b := m.b
				if len(b.order) == 0 {
					break
				}
				q := b.order[r.IntN(len(b.order))]
				var done []Done
				q.each(func(_ uint64, s *slot) bool {
					if r.IntN(3) > 0 {
						done = append(done, Done{Queue: q.id, Index: s.index})
					}
					return len(done) < 700
				})
				if len(done) == 0 {
					break
				}
				if r.IntN(4) == 0 {
					o.apply(m, appendRelease(nil, done, true))
				} else {
					o.apply(m, appendDequeue(nil, done, false))
				}
				o.run()
			case 5:
				if r.IntN(10) == 0 {
					apply(func(q *Requests) { q.QueueDelete(&QueueDelete{Name: fmt.Sprint("q", r.IntN(queues))}) })
					declare()
				}
			case 6:
				if len(under) < 3 {
					x := &reading{want: whole(m.b, o.now)}
					x.have, x.s = m.b.Snapshot(nil, o.now, All)
					under = append(under, x)
				}
			case 7:
				if len(under) == 0 {
					break
				}
				x := under[0]
				for range r.IntN(20) {
					x.have = x.s.Next(x.have, len(x.have)+r.IntN(2000))
				}
				if x.s.Done() {
					under = under[1:]
					if !bytes.Equal(x.have, x.want) {
						t.Fatalf("seed %d: a snapshot has changed while it was read", seed)
					}
				} else if r.IntN(10) == 0 {
					x.s.Close()
					under = under[1:]
				}
			}
		}
		for _, x := range under {
			for !x.s.Done() {
				x.have = x.s.Next(x.have, len(x.have)+1000)
			}
			if !bytes.Equal(x.have, x.want) {
				t.Fatalf("seed %d: a snapshot has changed while it was read", seed)
			}
		}
		for _, q := range m.b.order {
			for _, k := range q.chunks {
				if k.users != nil && *k.users > 1 {
					t.Fatalf("seed %d: a chunk has %d users when no snapshot is left", seed, *k.users)
				}
			}
		}
	}
}
