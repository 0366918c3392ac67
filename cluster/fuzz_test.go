package cluster

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// pair is a node with a cluster of two, of which the other is the fuzzer.
func pair(t *testing.T) *testNode {
	o := newOrder(t, 1)
	n := o.start(1, 0)
	for range 300 {
		o.step()
	}
	if n.State() != Active {
		t.Fatal("not active")
	}
	n.Connect(1)
	n.ask(1, func(r *broker.Requests) {
		r.QueueDeclare(&broker.QueueDeclare{Name: "q"})
		r.Publish(publish("q", "hello"))
	})
	o.settle()
	return n
}

// settleQuietly lets things take effect without wanting the member to stay in its cluster.
func (n *testNode) settleQuietly() {
	for range 5 {
		n.o.now += 10 * time.Millisecond
		n.Tick(n.o.now)
		n.Flush(n.o.now)
		n.take()
	}
}

// FuzzMessage delivers arbitrary group messages of another member.
func FuzzMessage(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0}, []byte{})
	f.Add(append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, (&hello{state: Active, url: "a:1"}).encode()...), []byte{1})
	var r broker.Requests
	r.Publish(publish("q", "x"))
	f.Add(append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, r.Bytes...), r.Bytes)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) >= 12 && binary.LittleEndian.Uint32(a[8:]) > 1<<20 || len(b) >= 12 && binary.LittleEndian.Uint32(b[8:]) > 1<<20 {
			return // it would only reserve that much
		}
		n := pair(t)
		for i, m := range [][]byte{a, b, a} {
			cut := len(m) / 2
			n.Message(n.o.now, uint64(100+i), 2, [][]byte{m[:cut], m[cut:]})
			n.settleQuietly()
		}
	})
}

// FuzzTransfer gives a joiner arbitrary pieces of a state.
func FuzzTransfer(f *testing.F) {
	o := newOrder(&testing.T{}, 1)
	donor := o.start(1, 0)
	for range 300 {
		o.step()
	}
	state, messages := donor.snapshot(0)
	token := viewID{1, 2, 3}
	head := append(transferMessage(meshState, token, 0), state...)
	f.Add(head, transferMessage(meshEnd, token, 0), []byte{})
	f.Add(head, messages.Next(transferMessage(meshMessages, token, 0), 1<<20), transferMessage(meshAsk, token, 0))
	f.Add(head, transferMessage(meshAsk, token, 0), append(transferMessage(meshExtent, token, 0), 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4))
	f.Add(append(transferMessage(meshNeed, token, 0), 1, 0, 0, 0, 0), []byte{meshBroker}, transferMessage(meshGot, token, 0))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		for _, p := range [][]byte{a, b, c} {
			if len(p) >= extentHead && binary.LittleEndian.Uint32(p[transferHead+4:]) > 1<<20 {
				return // it would only reserve that much
			}
		}
		o := newOrder(t, 1)
		n := o.start(1, 0)
		n.join = joiner{donor: 2, token: token, receiving: true}
		for _, p := range [][]byte{a, b, c} {
			n.Mesh(o.now, 2, p)
		}
		n.settleQuietly()
	})
}
