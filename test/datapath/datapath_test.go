package datapath

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rotation is what a member sends when it has the token: full packets, a shorter one, and the token.
func rotation(first, packets, size int) (list []wire.Datagram, want [][]byte) {
	for i := range packets {
		n := size
		if i%40 == 39 {
			n = 1 + (first+i)*131%size
		}
		list = append(list, wire.Datagram{Data: mcast(1, wire.Seq(first+i), n)})
	}
	list = append(list, wire.Datagram{To: 2, Data: token(1, uint32(first+packets))})
	for _, d := range list {
		want = append(want, d.Data)
	}
	return list, want
}

// TestRotations: what is sent comes, byte for byte and in order, the token behind what was sent
// before it; over IPv4 and IPv6, and protected.
func TestRotations(t *testing.T) {
	kinds := map[string]func(h *netlab.Host) func(*link.Config){
		"IPv4": func(*netlab.Host) func(*link.Config) { return func(*link.Config) {} },
		"IPv6": func(h *netlab.Host) func(*link.Config) {
			return func(c *link.Config) {
				c.Address, c.Group = netip.MustParseAddr(h.IP6), netip.MustParseAddr("ff15::77")
			}
		},
		"sealed": func(*netlab.Host) func(*link.Config) {
			return func(c *link.Config) {
				c.Crypto = link.Crypto{Cipher: "aes256", Hash: "sha256", Key: make([]byte, 128), Cluster: "x"}
			}
		},
		"udpu": func(h *netlab.Host) func(*link.Config) {
			return func(c *link.Config) {
				c.Transport, c.Peers = link.Unicast, map[wire.NodeID]netip.AddrPort{}
				for i, ip := range []string{"10.77.0.1", "10.77.0.2"} {
					if ip != h.IP {
						c.Peers[wire.NodeID(i+1)] = netip.AddrPortFrom(netip.MustParseAddr(ip), port)
					}
				}
			}
		},
		"broadcast": func(*netlab.Host) func(*link.Config) { return func(c *link.Config) { c.Broadcast = true } },
	}
	for kind, change := range kinds {
		t.Run(kind, func(t *testing.T) {
			pairs(t, func(t *testing.T, w *netlab.Network, from, to datapath) {
				a := start(t, w.Hosts[0], from, change(w.Hosts[0]))
				b := start(t, w.Hosts[1], to, change(w.Hosts[1]))
				greet(a, b)
				enter(a, b)
				for round := range 40 {
					list, want := rotation(1+round*100, 70, 1350)
					a.send(list...)
					same(t, b.receive("a rotation", exactly(len(want))), want)
				}
				s, r := a.stats(), b.stats()
				if s.SendErrors != 0 || s.NoAddress != 0 || r.Truncated != 0 || r.Path.Dropped != 0 || r.Path.Malformed != 0 {
					t.Errorf("sender %+v\nreceiver %+v", s, r)
				}
				if from.open != nil && s.Path.Sent < 40*70 {
					t.Errorf("%d packets of %d went by the path: %+v", s.Path.Sent, s.Sent, s)
				}
				// Aggregates of segmentation do not fit into frames of AF_XDP. Native XDP has them cut up.
				if to.open != nil && to.name != "xdp generic" && r.Path.Received < 40*70 {
					t.Errorf("%d packets of %d came by the path", r.Path.Received, r.Received)
				}
			})
		})
	}
}

// TestLongerThanTheMTU: packets of recovery are, now and then. They come, if not in their place.
func TestLongerThanTheMTU(t *testing.T) {
	pairs(t, func(t *testing.T, w *netlab.Network, from, to datapath) {
		a, b := start(t, w.Hosts[0], from), start(t, w.Hosts[1], to)
		greet(a, b)
		enter(a, b)
		sizes := map[int]int{}
		var list []wire.Datagram
		for i, n := range []int{100, 1400, 1440, 3000, 1427, 1428, 60000, 1426} {
			list = append(list, wire.Datagram{Data: mcast(1, wire.Seq(i), n)})
			sizes[n]++
		}
		a.send(list...)
		for _, p := range b.receive("all lengths", exactly(len(list))) {
			sizes[len(p)-wire.McastBytes]--
		}
		for n, left := range sizes {
			if left != 0 {
				t.Errorf("%d bytes: %d times too few", n, left)
			}
		}
	})
}

// TestFlaps: the cable is pulled, the interface goes down, and the MTU changes, and it goes on.
func TestFlaps(t *testing.T) {
	pairs(t, func(t *testing.T, w *netlab.Network, from, to datapath) {
		a, b := start(t, w.Hosts[0], from), start(t, w.Hosts[1], to)
		greet(a, b)
		for what, flap := range map[string]func(){
			"the cable":              func() { w.Hosts[1].Unplug(); w.Hosts[1].Plug() },
			"the receiver is down":   func() { w.Hosts[1].SetUp(false); w.Hosts[1].SetUp(true) },
			"the sender is down":     func() { w.Hosts[0].SetUp(false); w.Hosts[0].SetUp(true) },
			"the MTU is smaller":     func() { w.Hosts[0].SetMTU(1300); w.Hosts[1].SetMTU(1300) },
			"the MTU is as before":   func() { w.Hosts[0].SetMTU(ethernet); w.Hosts[1].SetMTU(ethernet) },
			"neighbours are unknown": func() { w.Hosts[0].ForgetNeighbours() },
			// As a bond does that changes to its other card, and tells everybody.
			"another card": func() {
				on(t, w.Hosts[1], "sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1")
				on(t, w.Hosts[1], "ip", "link", "set", "eth0", "address", "02:00:00:00:77:01")
			},
		} {
			flap()
			// What was sent meanwhile is lost, so it is sent until it comes, as a ring would.
			end := time.Now().Add(patience)
			for came := false; !came; {
				if time.Now().After(end) {
					t.Fatalf("%s: nothing comes; sender %+v, receiver %+v", what, a.stats(), b.stats())
				}
				a.send(wire.Datagram{Data: mcast(1, 7, 1200)}, wire.Datagram{To: 2, Data: token(1, 8)})
				var multicasts, tokens int
				deadline := time.Now().Add(100 * time.Millisecond)
				b.receive(what, func(got [][]byte) bool {
					multicasts, tokens = 0, 0
					for _, p := range got {
						if h, err := wire.ParseHeader(p); err == nil && h.Type == wire.TypeMcast {
							multicasts++
						} else {
							tokens++
						}
					}
					return multicasts > 0 && tokens > 0 || time.Now().After(deadline)
				})
				came = multicasts > 0 && tokens > 0
			}
		}
		before := a.stats().Path.Sent
		a.send(wire.Datagram{Data: mcast(1, 9, 1200)})
		b.receive("after all", exactly(1))
		if from.open != nil && a.stats().Path.Sent == before {
			t.Error("what is for everyone does not go by the path any more")
		}
	})
}

// TestMemberOnThisHost: another member on the host, which only sockets reach, hears everything, too.
func TestMemberOnThisHost(t *testing.T) {
	for _, d := range datapaths {
		t.Run(d.name, func(t *testing.T) {
			w := network(t, 2, ethernet)
			a, far := start(t, w.Hosts[0], d), start(t, w.Hosts[1], datapaths[0])
			near := start(t, w.Hosts[0], datapaths[0])
			near.send(wire.Datagram{Data: join(3)})
			a.receive("a join from this host", exactly(1))
			far.receive("a join from another", exactly(1))
			for range 3 {
				list, want := rotation(1, 50, 1300)
				a.send(list[:50]...)
				same(t, near.receive("on this host", exactly(50)), want[:50])
				same(t, far.receive("on another", exactly(50)), want[:50])
			}
			a.send(wire.Datagram{To: 3, Data: token(1, 1)})
			near.receive("a token on this host", exactly(1))
		})
	}
}

// TestDownIsQuiet: while the interface is down, nothing keeps the member awake.
func TestDownIsQuiet(t *testing.T) {
	for _, d := range datapaths {
		t.Run(d.name, func(t *testing.T) {
			w := network(t, 1, ethernet)
			m := start(t, w.Hosts[0], d)
			w.Hosts[0].SetUp(false)
			end := time.Now().Add(patience)
			for quiet := false; !quiet; {
				if time.Now().After(end) {
					t.Fatal("a descriptor is ready all the time")
				}
				m.do(func() {
					m.link.Recv(make([]wire.Packet, 8))
					begin := time.Now()
					m.wait(200)
					quiet = time.Since(begin) > 150*time.Millisecond
				})
			}
		})
	}
}

// TestVLAN: a ring on a VLAN's interface hears nobody beside it, nor do those beside it hear the ring.
func TestVLAN(t *testing.T) {
	for _, d := range datapaths {
		if d.name == "xdp" {
			continue // no driver of a VLAN's interface has XDP
		}
		t.Run(d.name, func(t *testing.T) {
			w := network(t, 2, ethernet)
			inside := func(h *netlab.Host, ip string) func(*link.Config) {
				if !vlan(t, h, 5) && d.name == "xdp generic" {
					t.Skip("generic XDP passes over what a program has redirected, as that of the cable in place of a VLAN does")
				}
				on(t, h, "ip", "addr", "add", ip+"/24", "dev", "eth0.5")
				on(t, h, "ip", "link", "set", "eth0.5", "up")
				return func(c *link.Config) { c.Address, c.Interface = netip.MustParseAddr(ip), "eth0.5" }
			}
			a := start(t, w.Hosts[0], d, inside(w.Hosts[0], "10.78.0.1"))
			b := start(t, w.Hosts[1], d, inside(w.Hosts[1], "10.78.0.2"))
			beside := start(t, w.Hosts[1], d)
			greet(a, b)
			enter(a, b)
			list, want := rotation(1, 60, 1300)
			a.send(list...)
			same(t, b.receive("a rotation", exactly(len(want))), want)
			if s := beside.stats(); s.Received != 0 {
				t.Errorf("%d packets have left the VLAN", s.Received)
			}
			if d.open != nil && a.stats().Path.Sent < 60 {
				t.Errorf("%d packets went by the path", a.stats().Path.Sent)
			}
		})
	}
}

// TestBehindARouter: unicasts to another network go to the router's Ethernet address.
func TestBehindARouter(t *testing.T) {
	for _, d := range datapaths {
		t.Run(d.name, func(t *testing.T) {
			w := network(t, 3, ethernet)
			// The middle host joins 10.77.0.0/24, where the first is, and 10.79.0.0/24, where the last is.
			on(t, w.Hosts[1], "ip", "addr", "add", "10.79.0.1/24", "dev", "eth0")
			on(t, w.Hosts[1], "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0")
			on(t, w.Hosts[2], "ip", "addr", "del", w.Hosts[2].IP+"/24", "dev", "eth0")
			on(t, w.Hosts[2], "ip", "addr", "add", "10.79.0.3/24", "dev", "eth0")
			on(t, w.Hosts[0], "ip", "route", "add", "10.79.0.0/24", "via", w.Hosts[1].IP)
			on(t, w.Hosts[2], "ip", "route", "add", "10.77.0.0/24", "via", "10.79.0.1")
			udpu := func(own, peer string, node wire.NodeID) func(*link.Config) {
				return func(c *link.Config) {
					c.Transport, c.Address = link.Unicast, netip.MustParseAddr(own)
					c.Peers = map[wire.NodeID]netip.AddrPort{node: netip.AddrPortFrom(netip.MustParseAddr(peer), port)}
				}
			}
			a := start(t, w.Hosts[0], d, udpu(w.Hosts[0].IP, "10.79.0.3", 2))
			b := start(t, w.Hosts[2], d, udpu("10.79.0.3", w.Hosts[0].IP, 1))
			greet(a, b)
			for i := range 20 {
				a.send(wire.Datagram{To: 2, Data: token(1, uint32(i))})
				b.receive("a token", exactly(1))
			}
			if d.open != nil && a.stats().Path.Sent == 0 {
				t.Error("nothing went by the path")
			}
		})
	}
}
