package link

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const unicastPort = 15408

// host is the address of a node in these tests: all of 127/8 is on this host.
func host(node int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 0, 0, byte(node)})
}

// among makes a configuration a node's, with peers 1 to 3.
func among(self int, transport Transport, port uint16) func(*Config) {
	return func(c *Config) {
		c.Transport, c.Address, c.Port, c.Group = transport, host(self), port, netip.Addr{}
		c.Peers = map[wire.NodeID]netip.AddrPort{}
		for n := 1; n <= 3; n++ {
			if n != self {
				c.Peers[wire.NodeID(n)] = netip.AddrPortFrom(host(n), port)
			}
		}
	}
}

func commit(ring wire.RingID, members ...wire.NodeID) []byte {
	c := wire.Commit{From: 1, Ring: ring, Members: members, Slots: make([]wire.Slot, len(members))}
	return c.Append(nil)
}

// TestUnicastExchange: packets of all sizes go to each peer, in order, as one buffer where the
// kernel can cut it.
func TestUnicastExchange(t *testing.T) {
	for _, plain := range []bool{false, true} {
		a, b, c := open(t, among(1, Unicast, unicastPort), func(c *Config) { c.NoSegmentation = plain }),
			open(t, among(2, Unicast, unicastPort)), open(t, among(3, Unicast, unicastPort))
		send := []wire.Datagram{{To: 2, Data: commit(wire.RingID{Rep: 1, Seq: 5}, 1, 2, 3)}}
		block := make([]byte, 0, 1<<20)
		for i := range 150 {
			at := len(block)
			block = append(block, mcast(1, wire.Seq(i+1), []int{1410, 1410, 1410, 700, 9000}[i%5])...)
			send = append(send, wire.Datagram{Data: block[at:len(block):len(block)]})
		}
		send = append(send, wire.Datagram{To: 3, Data: token(1)})
		a.Send(send)
		for _, x := range []struct {
			u    *UDP
			want []wire.Datagram
		}{{b, send[:151]}, {c, send[1:]}} {
			for i, p := range receive(t, x.u, len(x.want)) {
				if string(p) != string(x.want[i].Data) {
					t.Fatalf("packet %d of %d has %d bytes, not %d", i, len(x.want), len(p), len(x.want[i].Data))
				}
			}
		}
		if s := a.Stats(); s.Sent != 302 || s.SendErrors != 0 || a.tx.segment && s.SendCalls > 10 {
			t.Errorf("%+v", s)
		}
		for _, u := range []*UDP{a, b, c} {
			u.Close()
		}
	}
}

// TestUnicastMembers: packets of a ring go to its members only, but for one now and then; what
// forms rings goes to all.
func TestUnicastMembers(t *testing.T) {
	a := open(t, among(1, Unicast, unicastPort), func(c *Config) { c.Merge = time.Hour })
	b, c := open(t, among(2, Unicast, unicastPort)), open(t, among(3, Unicast, unicastPort))
	ring := wire.RingID{Rep: 1, Seq: 5} // as mcast has it
	count := func(want ...uint64) {
		t.Helper()
		for i, u := range []*UDP{b, c} {
			receive(t, u, int(want[i]-u.Stats().Received))
			if k := u.Recv(make([]wire.Packet, 1)); k != 0 {
				t.Errorf("node %d got more than %d packets", i+2, want[i])
			}
		}
	}
	a.Send([]wire.Datagram{{Data: mcast(1, 1, 1)}, {Data: mcast(1, 2, 1)}})
	count(0, 0) // a ring of one
	a.Send([]wire.Datagram{{Data: join(1)}})
	count(1, 1)
	a.Send([]wire.Datagram{{To: 2, Data: commit(ring, 1, 2)}, {Data: mcast(1, 1, 1)}, {Data: mcast(1, 2, 1)}})
	count(4, 1)
	a.unicast.told = time.Now().Add(-3 * time.Hour)
	a.Send([]wire.Datagram{{Data: mcast(1, 3, 1)}, {Data: mcast(1, 4, 1)}})
	count(6, 2)
	a.Send([]wire.Datagram{{Data: mcast(1, 5, 1)}, {Data: join(1)}})
	count(8, 3)
	alone := mcast(1, 1, 1)
	wire.PutMcast(alone, 1, 1, 0, wire.RingID{Rep: 1, Seq: 9}, false)
	a.Send([]wire.Datagram{{Data: alone}})
	count(8, 3)
}

// TestUnlisted: a sender that is no peer is not heard, unless that is asked for; nor is there
// another port to be had.
func TestUnlisted(t *testing.T) {
	for _, accept := range []bool{false, true} {
		u := open(t, among(1, Unicast, unicastPort), func(c *Config) { c.AcceptUnlisted = accept })
		for n, listed := range map[int]bool{2: true, 9: false} {
			c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host(n), 0)), net.UDPAddrFromAddrPort(u.Address()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(join(wire.NodeID(n))); err != nil {
				t.Fatal(err)
			}
			c.Close()
			before := u.Stats().Unlisted
			wait(u, 5000)
			got := u.Recv(make([]wire.Packet, 1))
			if (got == 1) != (listed || accept) || u.Stats().Unlisted-before != uint64(1-got) {
				t.Errorf("accept %v, from %d: %d packets; %+v", accept, n, got, u.Stats())
			}
		}
		if len(u.Peers()) != 2 {
			t.Errorf("peers %v", u.Peers())
		}
		cfg := Config{}
		among(1, Unicast, unicastPort)(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d of 127.0.0.1 is in use", unicastPort)) {
			t.Errorf("opened twice: %v", err)
		}
		u.Close()
	}
}
