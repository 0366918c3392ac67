package link

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const fallbackPort = 15410

// inGroup is a member of the test's group with an address of its own.
func inGroup(self int) func(*Config) {
	return func(c *Config) {
		c.Address, c.Port, c.Merge = host(self), fallbackPort, time.Hour
	}
}

// drained is how many packets come until none is left.
func drained(u *UDP) (n int) {
	var p [16]wire.Packet
	for wait(u, 50) {
		k := u.Recv(p[:])
		for _, x := range p[:k] {
			x.Release()
		}
		n += k
	}
	return n
}

func mergeDetect(from wire.NodeID) wire.Datagram {
	d := wire.MergeDetect{Node: from, From: from, Ring: wire.RingID{Rep: from, Seq: 5}}
	return wire.Datagram{Data: d.Append(nil)}
}

// TestFallback: what is for everyone goes by unicast, too, to those whose address is known, when it
// may be missed: joins that lead to nothing, what looks for rings to those outside, and everything
// after Repeat.
func TestFallback(t *testing.T) {
	t.Run("plain", func(t *testing.T) { fallsBack(t, func(*Config) {}) })
	t.Run("protected", func(t *testing.T) { fallsBack(t, withKey("k")) })
}

func fallsBack(t *testing.T, change func(*Config)) {
	a, b, c := open(t, inGroup(1), change), open(t, inGroup(2), change), open(t, inGroup(3), change)
	all := []*UDP{a, b, c}
	for i, u := range all {
		u.Know(wire.NodeID(i + 1))
		u.Send([]wire.Datagram{{Data: join(wire.NodeID(i + 1))}})
	}
	for _, u := range all {
		if n := drained(u); n != 2 {
			t.Fatalf("%d packets, 2 joins were sent", n)
		}
	}
	sends := func(what string, each, fromA int, d ...wire.Datagram) {
		t.Helper()
		before := a.Stats().Copies
		a.Send(d)
		gotB, gotC := drained(b), drained(c)
		if gotB != each || gotC != fromA || a.Stats().Copies-before != uint64(gotB+gotC-2*len(d)) {
			t.Errorf("%s: node 2 got %d packets, expected %d, and node 3 %d, expected %d; copies %d", what, gotB, each, gotC, fromA, a.Stats().Copies-before)
		}
	}
	for range joinPatience - 1 { // one was sent above
		sends("a join", 1, 1, wire.Datagram{Data: join(1)})
	}
	sends("a join after many", 2, 2, wire.Datagram{Data: join(1)})
	ring := wire.RingID{Rep: 1, Seq: 5}
	a.Send([]wire.Datagram{{To: 2, Data: commit(ring, 1, 2)}})
	drained(b)
	sends("a join after a token", 1, 1, wire.Datagram{Data: join(1)})
	sends("merge detect", 1, 2, mergeDetect(1))
	sends("a packet of the order", 1, 1, wire.Datagram{Data: mcast(1, 1, 10)})
	a.fallback.told = time.Now().Add(-3 * time.Hour)
	sends("one after long", 1, 2, wire.Datagram{Data: mcast(1, 2, 10)})
	a.Repeat()
	block := append(mcast(1, 3, 10), mcast(1, 4, 10)...)
	n := len(block) / 2
	sends("packets of the order again and again", 4, 2, wire.Datagram{Data: block[:n:n]}, wire.Datagram{Data: block[n:]})
	a.fallback.until = time.Now()
	sends("after that", 1, 1, wire.Datagram{Data: mcast(1, 5, 10)})
	b.heard[a.Address()].last = time.Now().Add(-2 * freshFor)
	if at := a.Address(); b.worth(1, &a.own, time.Now()) {
		t.Errorf("%v is worth a packet though nothing has come from there for long", at)
	}
}

// TestDeaf: who gets by unicast, again and again, what is for everyone, and nothing by multicast,
// knows that it is deaf to the sender, until it hears it.
func TestDeaf(t *testing.T) {
	u := open(t, inGroup(1))
	c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host(2), fallbackPort-1)), net.UDPAddrFromAddrPort(u.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at := netip.AddrPortFrom(host(2), fallbackPort)
	copies := func() {
		for range deafCopies {
			if _, err := c.Write(join(2)); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, u, deafCopies)
	}
	copies()
	if seen := u.Trouble(); len(seen.Deaf) != 0 {
		t.Errorf("at once %v", seen)
	}
	u.heard[at].since = time.Now().Add(-2 * deafTime)
	if seen := u.Trouble(); len(seen.Deaf) != 1 || seen.Deaf[0] != at {
		t.Errorf("after a while %v", seen)
	}
	b := open(t, inGroup(2))
	b.Send([]wire.Datagram{{Data: mcast(2, 1, 10)}}) // a packet of the order is looked at now, too
	receive(t, u, 1)
	if seen := u.Trouble(); len(seen.Deaf) != 0 {
		t.Errorf("after a multicast %v", seen)
	}
}

// TestTwin: packets with our node id that are not ours are counted; what others repeat is ours.
func TestTwin(t *testing.T) {
	a, b := open(t, inGroup(1)), open(t, inGroup(2))
	a.Know(7)
	b.Send([]wire.Datagram{{Data: join(8)}, {Data: mcast(7, 1, 10)}})
	receive(t, a, 2)
	if seen := a.Trouble(); seen.Twins != 0 {
		t.Errorf("%+v", seen)
	}
	b.Send([]wire.Datagram{{Data: join(7)}})
	receive(t, a, 1)
	if seen := a.Trouble(); seen.Twins != 1 || seen.Twin != b.Address() {
		t.Errorf("%+v", seen)
	}
	if at, known := a.Peer(7); known {
		t.Errorf("our own tokens would go to %v", at)
	}
	if at, _ := a.Peer(8); at != b.Address() {
		t.Errorf("node 8 is at %v", at)
	}
}
