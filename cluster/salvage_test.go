package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// salvager is a node that is asked for nothing but Salvage.
func salvager(t *testing.T, d *faulty.Disk, store byte) *Node {
	t.Helper()
	n := New(Config{Self: 9, Alone: true, Memory: journal.Heap{}, Disk: d, Files: d, Store: journal.UUID{store},
		SegmentBytes: journal.BlockBytes + 2*journal.ExtentBytes, Broker: broker.Config{Shards: 2, Unix: 1}}, &Alone{})
	if _, err := n.Recover(time.Second); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSalvage damages a record here and there that a checkpoint knows of, in an extent with many others: those
// are moved, the damaged ones given up, and named, and the rest is there, in its order.
func TestSalvage(t *testing.T) {
	for seed := range uint64(20) {
		o := newOrder(t, seed)
		d := o.newDisk()
		n := o.startOn(1<<32|1, Quorum{}, d, 2)
		o.settle()
		n.Connect(1)
		n.ask(1, func(r *broker.Requests) {
			for _, q := range []string{"q", "other"} {
				r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: q, Options: broker.QueueOptions{Durable: true}})
				r.Bind(&broker.Bind{Conn: 1, Exchange: "amq.fanout", Target: q})
			}
		})
		o.settle()
		const messages = 700 // of which a queue's chunk holds fewer
		n.ask(1, func(r *broker.Requests) {
			for i := range messages {
				p := durable("", fmt.Sprintf("%d %*s", i, 400, ""))
				p.Conn, p.Exchange = 1, []byte("amq.fanout")
				r.Publish(p)
			}
		})
		o.settle()
		n.beginCheckpoint()
		o.settle()
		refs := map[int]broker.Ref{}
		for i := range messages {
			refs[i], _ = n.broker.Locate(n.broker.ID("q"), n.index-messages+broker.Index(i)+1)
		}
		o.powerLoss()
		var want []int
		var lost []broker.Index
		for i := range messages {
			if o.rand.IntN(100) > 0 {
				want = append(want, i)
				continue
			}
			ref := refs[i]
			e := n.log.Place(journal.Ref(ref))
			d.Flip(e.File, e.Offset+int64(o.rand.IntN(int(ref.Length))), 4)
			lost = append(lost, n.index-messages+broker.Index(i)+1)
		}
		s := salvager(t, d, 2)
		gone, err := s.Salvage(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var named []broker.Index
		for _, m := range gone {
			if m.Queue == "q" {
				named = append(named, m.Index)
			}
		}
		if !slices.Equal(named, lost) || len(gone) != 2*len(lost) {
			t.Fatalf("seed %d: %v are given up, %v are damaged", seed, gone, lost)
		}
		for now := time.Second; ; now += time.Millisecond {
			d.Step()
			s.Flush(now)
			s.Done()
			if over, well := s.Saved(); over && well {
				break
			} else if over || now > time.Minute {
				t.Fatalf("seed %d: over %v, well %v", seed, over, well)
			}
		}
		o.items = nil
		n = o.startOn(1<<32|2, Quorum{}, d, 2)
		o.settle()
		for _, q := range []string{"q", "other"} {
			var got []int
			for _, body := range o.drain(n, q) {
				var i int
				fmt.Sscan(body, &i)
				got = append(got, i)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: of %d messages of %s %d are there, %d are not damaged", seed, messages, q, len(got), len(want))
			}
		}
	}
}

// TestSalvageIsForThoseAlone: what others have, too, is not given up.
func TestSalvageIsForThoseAlone(t *testing.T) {
	o := newOrder(t, 1)
	members, disks := stored(o, 1)
	o.publish(members[0], 0, 10, 100)
	o.powerLoss()
	if _, err := salvager(t, disks[1], 2).Salvage(time.Second); !errors.Is(err, ErrOthers) {
		t.Error(err)
	}
}
