package datapath

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// tokenTimeout is the ring's default: what takes less costs no member its place.
const tokenTimeout = 3 * time.Second

// meet has two members send to each other, to all and by token, until either has heard the other, and tells
// how long that took.
func meet(t *testing.T, what string, a, b *member, size int) time.Duration {
	t.Helper()
	begin := time.Now()
	for i, x := range []*member{a, b} {
		y, from, to := []*member{b, a}[i], wire.NodeID(i+1), wire.NodeID(2-i)
		for multicasts, tokens := 0, 0; multicasts == 0 || tokens == 0; {
			if time.Since(begin) > patience {
				t.Fatalf("%s: nothing comes; sender %+v, which said %q, receiver %+v, which said %q", what, x.stats(), x.said, y.stats(), y.said)
			}
			x.send(wire.Datagram{Data: mcast(from, 7, size)}, wire.Datagram{To: to, Data: token(from, 8)})
			x.do(func() { x.link.Tick() })
			deadline := time.Now().Add(50 * time.Millisecond)
			got := y.receive(what, func(got [][]byte) bool { return len(got) >= 2 || time.Now().After(deadline) })
			for _, p := range got {
				if h, err := wire.ParseHeader(p); err == nil && h.Type == wire.TypeMcast {
					multicasts++
				} else {
					tokens++
				}
			}
		}
	}
	return time.Since(begin)
}

// TestReset: the interface is renamed, removed and made again, with another MTU and other queues, and it goes
// on, by the same datapath, before the ring would have lost its token.
func TestReset(t *testing.T) {
	for _, d := range datapaths {
		t.Run(d.name, func(t *testing.T) {
			resets(t, d, func(*netlab.Host) func(*link.Config) { return func(*link.Config) {} })
		})
	}
	t.Run("IPv6", func(t *testing.T) {
		resets(t, datapaths[0], func(h *netlab.Host) func(*link.Config) {
			return func(c *link.Config) {
				c.Address, c.Group = netip.MustParseAddr(h.IP6), netip.MustParseAddr("ff15::77")
			}
		})
	})
	t.Run("broadcast", func(t *testing.T) {
		resets(t, datapaths[0], func(*netlab.Host) func(*link.Config) { return func(c *link.Config) { c.Broadcast = true } })
	})
}

func resets(t *testing.T, d datapath, change func(*netlab.Host) func(*link.Config)) {
	w := network(t, 2, ethernet)
	// Addresses of IPv6 are lost otherwise when it is down.
	on(t, w.Hosts[1], "sysctl", "-qw", "net.ipv6.conf.all.keep_addr_on_down=1", "net.ipv6.conf.eth0.keep_addr_on_down=1")
	a, b := start(t, w.Hosts[0], d, change(w.Hosts[0])), start(t, w.Hosts[1], d, change(w.Hosts[1]))
	greet(a, b)
	h := w.Hosts[1]
	reset := func(mtu, queues int) func() {
		return func() {
			h.Remove()
			b.do(func() { b.link.Tick() }) // who is away for long
			h.Insert(mtu, queues)
		}
	}
	for _, x := range []struct {
		what string
		do   func()
		size int
	}{
		{"renamed", func() {
			on(t, h, "ip", "link", "set", "eth0", "down")
			on(t, h, "ip", "link", "set", "eth0", "name", "ring0")
			on(t, h, "ip", "link", "set", "ring0", "up")
		}, 1200},
		{"named as before", func() {
			on(t, h, "ip", "link", "set", "ring0", "down")
			on(t, h, "ip", "link", "set", "ring0", "name", "eth0")
			on(t, h, "ip", "link", "set", "eth0", "up")
		}, 1200},
		{"removed and made again", reset(ethernet, 0), 1200},
		{"again, with four queues", reset(ethernet, 4), 1200},
		{"again, with one", reset(ethernet, 1), 1200},
		{"again, with a longer MTU", reset(9000, 2), 1200},
		{"the other, too", func() { w.Hosts[0].Remove(); w.Hosts[0].Insert(9000, 2) }, 8000},
	} {
		x.do()
		took := meet(t, x.what, a, b, x.size)
		t.Logf("%s: %v", x.what, took)
		if took > tokenTimeout {
			t.Errorf("%s: it took %v", x.what, took)
		}
	}
	for _, m := range []*member{a, b} {
		before := m.stats()
		m.send(wire.Datagram{Data: mcast(1, 9, 1200)})
		if after := m.stats(); after.Datapath != before.Datapath || d.open != nil && after.Path.Sent == before.Path.Sent {
			t.Errorf("what is for everyone does not go by the path any more: %+v; it said %q", after, m.said)
		}
	}
	if d.name == "xdp" && !strings.Contains(a.stats().Path.Detail, "2 queues") {
		t.Errorf("not both queues are served: %s", a.stats().Path.Detail)
	}
}

// TestLongerMTU: the MTU grows under way, and so do packets.
func TestLongerMTU(t *testing.T) {
	for _, d := range datapaths {
		t.Run(d.name, func(t *testing.T) {
			w := network(t, 2, ethernet)
			for _, h := range w.Hosts { // the bridge, which no interface can exceed
				h.Remove()
				h.Insert(9000, 0)
				h.SetMTU(ethernet)
			}
			a, b := start(t, w.Hosts[0], d), start(t, w.Hosts[1], d)
			greet(a, b)
			w.Hosts[0].SetMTU(9000)
			w.Hosts[1].SetMTU(9000)
			meet(t, "with a longer MTU", a, b, 8500)
			before := a.stats().Path.Sent
			meet(t, "with a longer MTU", a, b, 8500)
			if d.open != nil && a.stats().Path.Sent == before {
				t.Errorf("long packets do not go by the path: %+v", a.stats())
			}
		})
	}
}

// TestJumbo: packets of 9000 bytes come, whichever datapath is at either end, and go by it.
func TestJumbo(t *testing.T) {
	const mtu, size = 9000, 8800
	for _, from := range datapaths {
		for _, to := range datapaths {
			t.Run(fmt.Sprintf("%s to %s", from.name, to.name), func(t *testing.T) {
				w := network(t, 2, mtu)
				a, b := start(t, w.Hosts[0], from), start(t, w.Hosts[1], to)
				greet(a, b)
				enter(a, b)
				for round := range 10 {
					list, want := rotation(1+round*100, 50, size)
					a.send(list...)
					same(t, b.receive("a rotation", exactly(len(want))), want)
				}
				s, r := a.stats(), b.stats()
				if s.SendErrors != 0 || r.Truncated != 0 || r.Path.Dropped != 0 || r.Path.Malformed != 0 {
					t.Errorf("sender %+v\nreceiver %+v", s, r)
				}
				if from.open != nil && s.Path.Sent < 10*50 {
					t.Errorf("%d packets of %d went by the path: %+v", s.Path.Sent, s.Sent, s)
				}
				if to.open != nil && to.name != "xdp generic" && r.Path.Received < 10*50 {
					t.Errorf("%d packets of %d came by the path", r.Path.Received, r.Received)
				}
			})
		}
	}
}

// used is by how many queues of a host frames have come to a program.
func used(t *testing.T, h *netlab.Host) (n int) {
	t.Helper()
	line := h.Line("ethtool", "-S", "eth0")
	out, err := exec.Command(line[0], line[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(text), ": ")
		if strings.HasPrefix(name, "rx_queue_") && strings.HasSuffix(name, "_xdp_packets") && value != "0" {
			n++
		}
	}
	return n
}

// TestQueues: with several queues everything comes, tokens behind what was sent before them; and queues
// that the interface gets under way are served, too.
func TestQueues(t *testing.T) {
	const senders = 3
	w := network(t, senders+1, ethernet)
	receiver := w.Hosts[senders]
	receiver.Remove()
	receiver.Insert(ethernet, 4)
	receiver.Receive(2)
	xdp := datapaths[2]
	m := start(t, receiver, xdp)
	m.do(func() { m.link.Know(senders + 1) })
	var list []*member
	for i, h := range w.Hosts[:senders] {
		x := start(t, h, datapaths[0])
		x.do(func() { x.link.Know(wire.NodeID(i + 1)) })
		list = append(list, x)
	}
	hear := func(inOrder bool) {
		t.Helper()
		for i, x := range list {
			m.send(wire.Datagram{Data: join(senders + 1)})
			x.receive("a join", exactly(1))
			packets, _ := rotation(1, 40, 1300)
			packets[40].To = senders + 1
			x.send(packets...)
			got := m.receive("a rotation", exactly(len(packets)))
			if h, err := wire.ParseHeader(got[len(got)-1]); inOrder && (err != nil || h.Type != wire.TypeToken) {
				t.Errorf("the token of sender %d is not the last", i)
			}
		}
	}
	hear(true)
	if s := m.stats(); !strings.Contains(s.Path.Detail, "2 queues") {
		t.Errorf("%s", s.Path.Detail)
	}
	receiver.Receive(4)
	for end := time.Now().Add(patience); !strings.Contains(m.stats().Path.Detail, "4 queues"); {
		if hear(false); time.Now().After(end) {
			t.Fatalf("%s: %q", m.stats().Path.Detail, m.said)
		}
	}
	before := m.stats()
	hear(true)
	if after := m.stats(); after.Path.Received-before.Path.Received < senders*41 || after.Path.Dropped != 0 {
		t.Errorf("not all came by the path: %d of %d, before %+v, after %+v", after.Path.Received-before.Path.Received, after.Received-before.Received, before.Path, after.Path)
	}
	// The kernel refuses to take queues away that are served, or does it; neither keeps packets away.
	line := receiver.Line("ethtool", "-L", "eth0", "rx", "1")
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	t.Logf("from four queues to one: %v %s", err, out)
	hear(false)
	if n := used(t, receiver); n < 2 {
		t.Errorf("packets have come by %d queues", n)
	}
}
