package cpg_test

import (
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// arrivals is what node 1 hears while a ring of three forms, works, loses a node and takes
// it back: packets that mean something to a node 1 in the same situation.
func arrivals(t testing.TB) (packets [][]byte) {
	net := ringtest.New(1)
	net.Trace = func(_ time.Duration, _, to wire.NodeID, data []byte) {
		if to == 1 && len(packets) < 4096 {
			packets = append(packets, data)
		}
	}
	all := ring(t, net, 3)
	for i := range 10 {
		_ = all[i%3].Multicast(make([]byte, i*i*50))
	}
	net.Run(10 * time.Millisecond)
	net.Partition([]wire.NodeID{1, 2}, []wire.NodeID{3})
	all[0].Machine.Suspect(net.Now(), 3)
	all[0].Do()
	net.Run(10 * time.Millisecond)
	net.Heal()
	net.Run(10 * time.Millisecond)
	return packets
}

// FuzzStep: a machine survives any sequence of packets that are nearly right. Each four bytes
// of the input are a packet to take, a place in it to change, what to change it by, and the
// time that passes.
func FuzzStep(f *testing.F) {
	packets := arrivals(f)
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 13, 1, 0, 4, 0, 0, 200})
	inOrder := []byte{}
	for i := range 250 {
		inOrder = append(inOrder, byte(i), 0, 0, 0)
	}
	f.Add(inOrder)
	f.Fuzz(func(t *testing.T, script []byte) {
		cfg := cpg.Config{Totem: totem.Config{Node: 1, Nodes: 3}, Group: "g", PID: 11}
		now := time.Millisecond
		m, err := cpg.New(cfg, now)
		if err != nil {
			t.Fatal(err)
		}
		base := 0
		for len(script) >= 4 {
			op := script[:4]
			script = script[4:]
			// Scripts walk through the recording; the byte says how far from here.
			base = (base + int(op[0])/8) % len(packets)
			data := append([]byte(nil), packets[base]...)
			if op[2] != 0 {
				data[int(op[1])%len(data)] ^= op[2]
			}
			now += time.Duration(op[3]) * time.Duration(op[3]) * 50 * time.Microsecond
			b := wire.NewBlock(data)
			m.Step(now, wire.Packet{Data: data, Block: b})
			b.Release()
			m.Tick(now)
			_ = m.Multicast(op)
			r := m.Ready()
			if len(r.Send) > 1000 || len(r.Events) > 20000 {
				t.Fatalf("%d datagrams, %d events from one packet", len(r.Send), len(r.Events))
			}
		}
	})
}
