package link

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/seal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// withKey protects packets.
func withKey(key string) func(*Config) {
	return func(c *Config) {
		c.Crypto = Crypto{Cipher: "aes256", Hash: "sha256", Key: []byte(strings.Repeat(key, 128)), Cluster: "test"}
	}
}

// TestSealedExchange: the exchanges of unprotected packets, with a key.
func TestSealedExchange(t *testing.T) {
	a, _ := exchange(t, withKey("k"))
	if s := a.Stats(); a.tx.segment && s.SendCalls > 6 {
		t.Errorf("%d calls for a batch: %+v", s.SendCalls, s)
	}
}

func TestSealedUnicast(t *testing.T) {
	a, b, c := open(t, among(1, Unicast, unicastPort), withKey("k")), open(t, among(2, Unicast, unicastPort), withKey("k")), open(t, among(3, Unicast, unicastPort), withKey("k"))
	send := []wire.Datagram{{To: 2, Data: commit(wire.RingID{Rep: 1, Seq: 5}, 1, 2, 3)}}
	for i := range 100 {
		send = append(send, wire.Datagram{Data: mcast(1, wire.Seq(i+1), []int{1370, 1370, 60000}[i%3])})
	}
	a.Send(send)
	for _, x := range []struct {
		u    *UDP
		want []wire.Datagram
	}{{b, send}, {c, send[1:]}} {
		for i, p := range receive(t, x.u, len(x.want)) {
			if !bytes.Equal(p, x.want[i].Data) {
				t.Fatalf("packet %d of %d has %d bytes, not %d", i, len(x.want), len(p), len(x.want[i].Data))
			}
		}
	}
}

// TestSealedRefused: who has another key, or none, is not heard, nor are packets heard again that
// were recorded; it is counted, and named once.
func TestSealedRefused(t *testing.T) {
	var said []string
	u := open(t, withKey("k"), func(c *Config) { c.Report = func(_ bool, text string) { said = append(said, text) } })
	others := []*UDP{open(t, withKey("o")), open(t)}
	for range 10 {
		for _, o := range others {
			o.Send([]wire.Datagram{{Data: join(7)}})
		}
	}
	refused := func(n uint64) {
		t.Helper()
		for u.Stats().NotAuthentic < n {
			if !wait(u, 5000) {
				t.Fatalf("%+v", u.Stats())
			}
			if k := u.Recv(make([]wire.Packet, 1)); k != 0 {
				t.Fatal("a packet was taken")
			}
		}
	}
	refused(20)
	if len(said) != 2 || !strings.Contains(said[0]+said[1], "not authentic") || !strings.Contains(said[0]+said[1], "not encrypted") {
		t.Errorf("it said %q", said)
	}
	if len(u.Peers()) != 0 {
		t.Errorf("learned %v", u.Peers())
	}

	// A sender that a test can have repeat itself, and another that repeats what it said.
	first, second := dial(t, u), dial(t, u)
	s, err := seal.NewSealer(bytes.Repeat([]byte("k"), 128), "test", first.LocalAddr().(*net.UDPAddr).AddrPort(), seal.Instance{})
	if err != nil {
		t.Fatal(err)
	}
	recorded := s.Seal(nil, join(7))
	write := func(c *net.UDPConn) {
		t.Helper()
		if _, err := c.Write(recorded); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	receive(t, u, 1)
	write(second)
	refused(21)
	write(first)
	for u.Stats().Replayed == 0 && wait(u, 5000) {
		if k := u.Recv(make([]wire.Packet, 1)); k != 0 {
			t.Fatal("a packet was taken twice")
		}
	}
	if got := u.Peers()[7]; got != first.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("tokens go to %v", got)
	}
}

func dial(t *testing.T, u *UDP) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(u.Address()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPacketBytes: what fits an interface, in which protection and headers take their part.
func TestPacketBytes(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00::1")
	key := Crypto{Cipher: "aes256", Hash: "sha256", Key: make([]byte, 128)}
	for _, x := range []struct {
		c    Config
		want int
	}{
		{Config{Transport: Multicast, Address: v4}, 1472},
		{Config{Transport: Unicast, Address: v6}, 1452},
		{Config{Transport: Multicast, Address: v4, Crypto: key}, 1432},
		{Config{Transport: Knet, Address: v4}, 1458},
		// 1500 - 28 - 16 - 32 = 1424, 89 blocks, less one byte of padding and 14 of header.
		{Config{Transport: Knet, Address: v4, Crypto: key}, 1409},
	} {
		if got := x.c.PacketBytes(1500); got != x.want {
			t.Errorf("%+v: %d, want %d", x.c, got, x.want)
		}
	}
}
