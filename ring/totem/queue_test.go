package totem

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TestQueue compares the queue with a map, also across the wrap of places, and counts
// references.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := wire.Seq(rapid.SampledFrom([]uint32{0, 1000, 0xFFFFFFF0, 0x7FFFFFF0}).Draw(t, "start"))
		q, out := newQueue(), NewOutput()
		q.base, q.top = start, start
		model := map[wire.Seq]bool{}
		block := wire.NewBlock(make([]byte, 8))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			s := q.base + wire.Seq(rapid.IntRange(-2, 40).Draw(t, "place"))
			if rapid.IntRange(0, 400).Draw(t, "far") == 0 {
				s += queueSlots
			}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				if d := s - q.base; d <= queueSlots {
					for r := q.base; r != s; {
						r++
						delete(model, r)
					}
					q.release(s, out)
				}
			case 1:
				if q.inRange(s) && !q.has(s) {
					q.miss(s)
				}
			case 2:
				q.reset(out)
				clear(model)
				for i := range q.slots {
					if c := &q.slots[i]; c.present || c.misses != 0 || c.packet.Data != nil {
						t.Fatal("reset left something")
					}
				}
				q.base, q.top = start, start
			default:
				d := s - q.base - 1
				want := d < queueSlots && !model[s]
				if q.put(s, wire.Packet{Data: block.Data, Block: block}) != want {
					t.Fatalf("put of %d with base %d was %v", s, q.base, !want)
				}
				if want {
					model[s] = true
				}
			}
			for r := q.base - 3; r != q.base+50; r++ {
				if q.has(r) != model[r] {
					t.Fatalf("has %d is %v", r, q.has(r))
				}
			}
			out.Reset()
			if block.Refs() != len(model)+1 {
				t.Fatalf("%d references for %d packets", block.Refs(), len(model))
			}
		}
	})
}
