package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestEndLeavesNothing has connections subscribe, cancel, declare queues of their own, delete them and end at
// random: one that has ended has nothing left anywhere, and what is kept of the others does not grow.
func TestEndLeavesNothing(t *testing.T) {
	const conns, queues = 6, 12
	r := rand.New(rand.NewPCG(1, 1))
	o := newBench(2)
	member := func(c ConnID) *benchMember { return o.members[int(c)%2] }
	apply := func(c ConnID, make func(*Requests)) {
		var q Requests
		make(&q)
		for i := range q.List {
			o.apply(member(c), q.Data(&q.List[i]))
		}
	}
	end := func(c ConnID) {
		w := BeginEntry(nil, KindConnClosed, c)
		o.apply(member(c), w.End())
	}
	for i := range queues {
		apply(1, func(q *Requests) { q.QueueDeclare(&QueueDeclare{Name: fmt.Sprint(i)}) })
	}
	for range 20000 {
		c := ConnID(1 + r.IntN(conns))
		name, own := fmt.Sprint(r.IntN(queues)), fmt.Sprintf("own-%d-%d", c, r.IntN(3))
		switch r.IntN(12) {
		case 0:
			end(c)
			for _, m := range o.members {
				if slices.ContainsFunc(m.b.order, func(q *Queue) bool { return q.tied(Origin{member(c).id, c}) }) {
					t.Fatalf("connection %d has ended, and has something in a queue", c)
				}
			}
		case 1, 2, 3:
			apply(c, func(q *Requests) {
				q.QueueDeclare(&QueueDeclare{Conn: c, Name: own, Options: QueueOptions{Exclusive: true}})
			})
		case 4, 5:
			apply(c, func(q *Requests) { q.QueueDelete(&QueueDelete{Conn: c, Name: own}) })
		case 6:
			apply(c, func(q *Requests) { q.Cancel(&Cancel{Conn: c, Consumer: ConsumerID(r.IntN(40))}) })
		default:
			apply(c, func(q *Requests) {
				q.Subscribe(&Subscribe{Conn: c, Consumer: ConsumerID(r.IntN(40)), Queue: name})
			})
		}
	}
	for _, m := range o.members {
		for origin, list := range m.b.ties {
			if len(list) > 20000/conns/4 {
				t.Errorf("%d queues are kept for connection %v", len(list), origin)
			}
		}
	}
}

// TestEndAmongManyQueues cancels consumers and ends connections where there are many queues that are none of
// theirs. When a member with a thousand clients was stopped, all members looked at each queue for each of them,
// and the ring stood. It takes about as long as among few.
func TestEndAmongManyQueues(t *testing.T) {
	const few, many, most = 100, 50000, 20
	among := func(queues int) time.Duration {
		o := newBench(1)
		m := o.members[0]
		var r Requests
		for i := range queues {
			r.QueueDeclare(&QueueDeclare{Name: fmt.Sprint(i)})
		}
		for i := range r.List {
			o.apply(m, r.Data(&r.List[i]))
		}
		began := time.Now()
		for c := range 2000 {
			var r Requests
			r.Subscribe(&Subscribe{Conn: ConnID(c + 1), Consumer: 1, Queue: fmt.Sprint(c % few)})
			r.Cancel(&Cancel{Conn: ConnID(c + 1), Consumer: 1})
			for i := range r.List {
				o.apply(m, r.Data(&r.List[i]))
			}
			w := BeginEntry(nil, KindConnClosed, ConnID(c+1))
			o.apply(m, w.End())
		}
		return time.Since(began)
	}
	if one, other := among(few), among(many); other > most*one {
		t.Errorf("among %d queues it took %v, among %d %v", few, one, many, other)
	}
}
