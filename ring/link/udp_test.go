package link

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testPort = 15407

func open(t *testing.T, change ...func(*Config)) *UDP {
	t.Helper()
	cfg := Config{
		Address: netip.MustParseAddr("127.0.0.1"),
		Group:   MulticastAddr(t.Name(), false, 0), Port: testPort,
	}
	for _, f := range change {
		f(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*UDP)
}

// receive waits for n packets and returns copies of them.
func receive(t *testing.T, u *UDP, n int) [][]byte {
	t.Helper()
	var got [][]byte
	var packets [16]wire.Packet
	deadline := time.Now().Add(5 * time.Second)
	for len(got) < n && time.Now().Before(deadline) {
		k := u.Recv(packets[:])
		for _, p := range packets[:k] {
			got = append(got, append([]byte(nil), p.Data...))
			p.Release()
		}
		if k == 0 {
			wait(u, 10)
		}
	}
	if len(got) < n {
		t.Fatalf("%d of %d packets came; %+v", len(got), n, u.Stats())
	}
	return got
}

func wait(u Link, ms int) bool {
	var fds []unix.PollFd
	for _, fd := range u.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	n, _ := unix.Poll(fds, ms)
	return n > 0
}

func mcast(from wire.NodeID, seq wire.Seq, size int) []byte {
	b := make([]byte, wire.McastBytes+size)
	wire.PutMcast(b, from, seq, 0, wire.RingID{Rep: 1, Seq: 5}, false)
	for i := wire.McastBytes; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b
}

func join(from wire.NodeID) []byte {
	j := wire.Join{Node: from, From: from, RingSeq: 1, Proc: []wire.NodeID{from}}
	return j.Append(nil)
}

func token(from wire.NodeID) []byte {
	tok := wire.Token{From: from, Ring: wire.RingID{Rep: 1, Seq: 5}}
	return tok.Append(nil)
}

// exchange: packets of all sizes, in one piece of memory or several, with and without the
// kernel's help, come in order, and our own do not come.
func exchange(t *testing.T, change func(*Config)) (a, b *UDP) {
	a, b = open(t, change), open(t, change)
	var sizes []int
	for i := range 150 {
		sizes = append(sizes, 1410)
		if i%50 == 49 {
			sizes = append(sizes, 700, 1, 9000)
		}
	}
	block := make([]byte, 0, 1<<20)
	var send []wire.Datagram
	for i, n := range sizes {
		p := mcast(1, wire.Seq(i+1), n)
		if i%7 != 0 {
			at := len(block)
			block = append(block, p...)
			p = block[at:]
		}
		send = append(send, wire.Datagram{Data: p[:wire.McastBytes+n]})
	}
	a.Send(send)
	for i, p := range receive(t, b, len(send)) {
		m, err := wire.ParseMcast(p)
		if err != nil || m.Seq != wire.Seq(i+1) || len(m.Payload) != sizes[i] || m.Payload[len(m.Payload)-1] != byte(len(p)-1) {
			t.Fatalf("packet %d is %d with %d bytes, %v", i+1, m.Seq, len(m.Payload), err)
		}
	}
	if wait(a, 0) && a.Recv(make([]wire.Packet, 1)) != 0 {
		t.Error("our own packets came back")
	}
	if s := a.Stats(); s.Sent != uint64(len(send)) || s.SendErrors != 0 {
		t.Errorf("%+v", s)
	}
	return a, b
}

func TestExchange(t *testing.T) {
	a, _ := exchange(t, func(*Config) {})
	if s := a.Stats(); a.tx.segment && s.SendCalls > 5 {
		t.Errorf("%d calls for a batch: %+v", s.SendCalls, s)
	}
}

func TestExchangeWithoutOffloads(t *testing.T) {
	exchange(t, func(c *Config) { c.NoSegmentation, c.NoCoalescing = true, true })
}

func TestExchangeBroadcast(t *testing.T) {
	exchange(t, func(c *Config) { c.Broadcast, c.Group = true, netip.Addr{} })
}

func TestExchangeOnThisHost(t *testing.T) {
	exchange(t, func(c *Config) { c.TTL = TTLHost })
}

// TestExchangeIPv6 needs an interface, as Linux does not deliver IPv6 multicast on lo. In a
// network namespace:
//
//	ip link add d0 type dummy; ip link set d0 up; ip addr add fd00:1::1/64 dev d0 nodad
//	RING_TEST_IPV6=fd00:1::1 go test -run IPv6 ./ring/link
func TestExchangeIPv6(t *testing.T) {
	address := os.Getenv("RING_TEST_IPV6")
	if address == "" {
		t.Skip("RING_TEST_IPV6 names no address of an interface to use")
	}
	exchange(t, func(c *Config) {
		c.Address = netip.MustParseAddr(address)
		c.Group = MulticastAddr(t.Name(), true, 0)
	})
}

// TestTokenFollows: a token goes to where its node's packets came from, also if that is not
// the port; and it is not handed out before multicasts that came before it.
func TestTokenFollows(t *testing.T) {
	a, b := open(t), open(t)
	if a.Address().Port() != testPort || b.Address().Port() == testPort {
		t.Fatalf("ports %v and %v", a.Address(), b.Address())
	}
	a.Send([]wire.Datagram{{To: 2, Data: token(1)}})
	if a.Stats().NoAddress != 1 {
		t.Error("a token left for a node of which nothing is known")
	}
	b.Send([]wire.Datagram{{Data: join(2)}})
	receive(t, a, 1)
	a.Send([]wire.Datagram{{Data: mcast(1, 1, 10)}, {Data: mcast(1, 2, 10)}, {To: 2, Data: token(1)}})
	var types []wire.Type
	for _, p := range receive(t, b, 3) {
		h, _ := wire.ParseHeader(p)
		types = append(types, h.Type)
	}
	if types[2] != wire.TypeToken {
		t.Errorf("order %v", types)
	}
}

// TestForeign: what is no ring packet is counted and costs nothing else; a corosync peer is
// answered at the port above the one it sends from; a repeated multicast teaches nothing.
func TestForeign(t *testing.T) {
	u := open(t)
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(u.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range [][]byte{nil, {1}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 4000), mcast(7, 1, 1), join(8)} {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, u, 2)
	if s := u.Stats(); s.Foreign != 4 {
		t.Errorf("%+v", s)
	}
	known := u.Peers()
	if _, found := known[7]; found {
		t.Error("learned an address from a multicast")
	}
	if known[8] != c.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("learned %v", known)
	}
	from := makeSockaddr(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), testPort-1), 0)
	u.learn(&wire.Header{Type: wire.TypeJoin, Node: 9}, &from)
	if got := u.Peers()[9]; got != netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), testPort) {
		t.Errorf("corosync peer at %v", got)
	}
	for id := range wire.NodeID(wire.MaxMembers + 10) {
		u.learn(&wire.Header{Type: wire.TypeJoin, Node: 100 + id}, &from)
	}
	if n := len(u.Peers()); n != wire.MaxMembers {
		t.Errorf("%d addresses learned", n)
	}
}

// TestRelease: blocks come back when nobody holds a packet any more.
func TestRelease(t *testing.T) {
	a, b := open(t), open(t)
	before := b.pool.Live()
	var held []wire.Packet
	for i := range 200 {
		a.Send([]wire.Datagram{{Data: mcast(1, wire.Seq(i), 20000)}})
		var p [1]wire.Packet
		for b.Recv(p[:]) == 0 {
			wait(b, 100)
		}
		held = append(held, p[0])
	}
	if b.pool.Live() <= before {
		t.Error("large packets are not held")
	}
	for _, p := range held {
		p.Release()
	}
	if n := b.pool.Live(); n > before+1 {
		t.Errorf("%d blocks held, %d before", n, before)
	}
}

func TestConfig(t *testing.T) {
	group, addr := netip.MustParseAddr("239.192.0.1"), netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]Config{
		"no address":   {Group: group},
		"no group":     {Address: addr},
		"group":        {Address: addr, Group: addr},
		"families":     {Address: addr, Group: netip.MustParseAddr("ff15::1")},
		"ttl":          {Address: addr, Group: group, TTL: 256},
		"no broadcast": {Address: netip.MustParseAddr("fd00::1"), Broadcast: true},
		"interface":    {Address: addr, Group: group, Interface: "nonesuch0"},
		"not our own":  {Address: netip.MustParseAddr("192.0.2.200"), Group: group},
		"any address":  {Address: netip.IPv4Unspecified(), Group: group},
		"multicast ip": {Address: group, Group: group},
		"transport":    {Address: addr, Group: group, Transport: "tcp"},
		"peer":         {Address: addr, Transport: Unicast, Peers: map[wire.NodeID]netip.AddrPort{2: netip.MustParseAddrPort("[fd00::1]:5405")}},
	} {
		if u, err := Open(c); err == nil {
			u.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestMulticastAddr: the hash of section 1 of docs/ring-protocol.md, worked out by hand for
// "ab": 2*'a'+'b' = 292.
func TestMulticastAddr(t *testing.T) {
	for _, x := range []struct {
		name string
		v6   bool
		link int
		want string
	}{
		{"ab", false, 0, "239.192.1.37"},
		{"ab", false, 1, "239.192.1.38"},
		{"ab", true, 0, "ff15::124"},
		{"", false, 0, "239.192.0.0"},
	} {
		if got := MulticastAddr(x.name, x.v6, x.link); got != netip.MustParseAddr(x.want) {
			t.Errorf("%q: %v, want %v", x.name, got, x.want)
		}
	}
}

// TestDowncheck: an interface that is gone is looked for that often.
func TestDowncheck(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: 50 * time.Millisecond, time.Minute: time.Minute} {
		u := open(t, func(c *Config) { c.Downcheck = given })
		now := time.Now().Add(time.Hour)
		if wait := u.look(now); wait != lookEvery {
			t.Errorf("it is there, and looked for after %v", wait)
		}
		u.ifindex, u.device.name = 1<<30, "no-such-device"
		if wait := u.look(now.Add(lookEvery)); wait != want || !u.device.gone {
			t.Errorf("with %v it is looked for after %v", given, wait)
		}
		u.Close()
	}
}
