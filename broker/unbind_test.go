package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestUnbindLeavesTheOthers makes and removes bindings at random: what a message reaches is what an
// exchange says that has only those that are left, and in the end there is nothing left of any.
func TestUnbindLeavesTheOthers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	words := []string{"a", "b", "*", "#"}
	key := func() string {
		k := words[r.IntN(len(words))]
		for r.IntN(3) > 0 {
			k += "." + words[r.IntN(len(words))]
		}
		return k
	}
	var router router
	for _, kind := range []ExchangeType{Direct, Fanout, Topic} {
		x := newExchange("x", ExchangeOptions{Type: kind})
		var queues []*Queue
		for i := range 8 {
			queues = append(queues, &Queue{name: fmt.Sprint(i)})
		}
		var bound []*binding
		for step := range 2000 {
			b := &binding{queue: queues[r.IntN(len(queues))], key: key()}
			switch r.IntN(5) {
			case 0:
				x.remove(func(c *binding) bool { return c.queue == b.queue })
				bound = slices.DeleteFunc(bound, func(c *binding) bool { return c.queue == b.queue })
			case 1, 2:
				if len(bound) > 0 {
					b = bound[r.IntN(len(bound))]
				}
				if x.remove(b.same) != slices.ContainsFunc(bound, b.same) {
					t.Fatalf("exchange of type %d, step %d: %q is removed, or is not, against what is known", kind, step, b.key)
				}
				bound = slices.DeleteFunc(bound, b.same)
			default:
				if x.add(b) {
					bound = append(bound, b)
				}
			}
			fresh := newExchange("x", x.options)
			for _, c := range bound {
				if !fresh.add(c) {
					t.Fatalf("exchange of type %d, step %d: %q is bound twice", kind, step, c.key)
				}
			}
			if !slices.Equal(x.bindings, bound) {
				t.Fatalf("exchange of type %d, step %d: the order of bindings has changed", kind, step)
			}
			p := &Publish{Key: []byte(key())}
			router.route(x, p, nil)
			have := slices.Clone(router.found)
			router.route(fresh, p, nil)
			if !sameQueues(have, router.found) {
				t.Fatalf("exchange of type %d, step %d: %q reaches %d queues, %d expected", kind, step, p.Key, len(have), len(router.found))
			}
		}
		x.remove(func(*binding) bool { return true })
		if len(x.bindings)+len(x.direct) > 0 || !x.topic.empty() {
			t.Errorf("exchange of type %d: something is left of bindings that are gone", kind)
		}
	}
}

func sameQueues(a, b []*Queue) bool {
	if len(a) != len(b) {
		return false
	}
	for _, q := range a {
		if !slices.Contains(b, q) {
			return false
		}
	}
	return true
}

// BenchmarkDeleteQueue deletes one of many queues that are bound to one exchange, and makes it anew.
func BenchmarkDeleteQueue(b *testing.B) {
	o := newBench(1)
	m := o.members[0]
	do := func(make func(r *Requests)) {
		var r Requests
		make(&r)
		for i := range r.List {
			entry := r.Data(&r.List[i])
			o.index++
			if _, err := m.b.Apply(&Entry{Index: o.index, From: m.id, Now: o.now, Record: entry}); err != nil {
				b.Fatal(err)
			}
		}
	}
	bound := func(i int) func(*Requests) {
		return func(r *Requests) {
			name := fmt.Sprintf("q%d", i)
			r.QueueDeclare(&QueueDeclare{Name: name})
			r.Bind(&Bind{Exchange: "amq.topic", Target: name, Key: "a." + name})
		}
	}
	const many = 20000
	for i := range many {
		do(bound(i))
	}
	for i := 0; b.Loop(); i++ {
		do(func(r *Requests) { r.QueueDelete(&QueueDelete{Name: fmt.Sprintf("q%d", i%many)}) })
		do(bound(i % many))
	}
}
