package datapath

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	choice "github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

var hooks = []bpf.Hook{bpf.Native, bpf.Generic, bpf.TC}

var group = netip.MustParseAddr("239.192.7.7")

// attach attaches a guard on a host.
func attach(h *netlab.Host, hook bpf.Hook, taken bool) (g *bpf.Guard, err error) {
	done := make(chan struct{})
	go h.Within(func(bad error) {
		defer close(done)
		i, failed := net.InterfaceByName("eth0")
		if bad != nil || failed != nil {
			err = fmt.Errorf("%v, %v", bad, failed)
			return
		}
		g, err = bpf.Attach(bpf.Config{Interface: i.Index, Hook: hook, Drop: true, Taken: taken, Group: group,
			Own: netip.AddrPortFrom(netip.MustParseAddr(h.IP), port)})
	})
	<-done
	return g, err
}

func attached(t *testing.T, h *netlab.Host, hook bpf.Hook, taken bool) *bpf.Guard {
	t.Helper()
	g, err := attach(h, hook, taken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// shown is what the system says of a host's interface.
func shown(t *testing.T, h *netlab.Host) string {
	t.Helper()
	line := h.Line("ip", "-d", "link", "show", "eth0")
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func counted(t *testing.T, g *bpf.Guard, c bpf.Cause) uint64 {
	t.Helper()
	list, err := g.Counts()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if x.Cause == c {
			return x.Packets
		}
	}
	t.Fatalf("%v is not counted", c)
	return 0
}

// TestGuard: with a guard at each hook, over each datapath, the ring's packets come and others do not.
func TestGuard(t *testing.T) {
	for _, hook := range hooks {
		for _, d := range datapaths[:2] {
			t.Run(fmt.Sprintf("%s before %s", hook, d.name), func(t *testing.T) {
				w := network(t, 2, ethernet)
				a, b := start(t, w.Hosts[0], datapaths[0]), start(t, w.Hosts[1], d)
				g := attached(t, w.Hosts[1], hook, hook == bpf.TC && d.name == "packet")
				greet(a, b)
				a.send(wire.Datagram{Data: []byte("no packet of a ring's, but for the ring's port")})
				a.send(wire.Datagram{Data: []byte("x")})
				list, want := rotation(1, 100, 1300)
				a.send(list...)
				same(t, b.receive("a rotation", exactly(len(want))), want)
				// AF_PACKET comes before TC.
				if s := b.stats(); s.Foreign != 0 && !(hook == bpf.TC && d.name == "packet") {
					t.Errorf("%d foreign packets have come through", s.Foreign)
				}
				if n := counted(t, g, bpf.WrongMagic) + counted(t, g, bpf.WrongLength); n != 2 {
					t.Errorf("%d packets were dropped", n)
				}
				if n := counted(t, g, bpf.Ring); n < 3 {
					t.Errorf("%d ring packets were counted", n)
				}
			})
		}
	}
}

// TestAnotherProgram: a program of somebody else's on XDP is left alone, and named; on TC both are.
func TestAnotherProgram(t *testing.T) {
	h := network(t, 1, ethernet).Hosts[0]
	for _, hook := range hooks {
		attached(t, h, hook, false)
		before := shown(t, h)
		g, err := attach(h, hook, false)
		if hook == bpf.TC {
			if err != nil {
				t.Error(err)
			} else {
				g.Close()
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "another XDP program") {
			t.Errorf("%s: %v", hook, err)
		}
		if shown(t, h) != before {
			t.Errorf("%s: another program is there", hook)
		}
		break // native and generic XDP exclude each other, too
	}
}

// TestDropsAreTold: who sends what is dropped is named, with each datapath that a guard can be before.
func TestDropsAreTold(t *testing.T) {
	for _, x := range [][2]string{{"udp", "xdp-generic"}, {"packet", "xdp"}, {"xdp", "xdp"}, {"udp", "tc"}} {
		t.Run(x[0]+" behind "+x[1], func(t *testing.T) {
			w := network(t, 2, ethernet)
			a := start(t, w.Hosts[0], datapaths[0])
			said := make(chan string, 64)
			c := choice.New(x[0], x[1], func(_ bool, text string) { said <- text })
			b := start(t, w.Hosts[1], datapath{name: x[0]}, c.Configure)
			b.do(func() { c.Opened(b.link) })
			defer c.Close()
			a.send(wire.Datagram{Data: []byte("no packet of a ring's")})
			timeout := time.After(patience)
			for told := false; !told; {
				select {
				case text := <-said:
					told = strings.Contains(text, "has dropped 1 packets") && strings.Contains(text, w.Hosts[0].IP) && strings.Contains(text, "magic")
				case <-timeout:
					t.Fatalf("nobody is told; the guard is %s", c.Guard())
				}
			}
			if !strings.Contains(c.Guard(), "wrong magic 1, the last from "+w.Hosts[0].IP) {
				t.Errorf("the guard is %s", c.Guard())
			}
		})
	}
}

// TestFallsBack: a link whose program finds another one there goes by UDP, and says so.
func TestFallsBack(t *testing.T) {
	h := network(t, 1, ethernet).Hosts[0]
	attached(t, h, bpf.Native, false)
	m := start(t, h, datapaths[0], func(c *link.Config) { c.OpenPath = datapaths[2].open })
	if len(m.said) != 1 || !strings.Contains(m.said[0], "another XDP program") {
		t.Errorf("it said %q", m.said)
	}
}

// holderVariable has the test binary be a process that holds a program and waits for its end.
const holderVariable = "QPIDD_TEST_HOLDS"

func TestHolder(t *testing.T) {
	hook := os.Getenv(holderVariable)
	if hook == "" {
		t.Skip("it is a part of TestCrash")
	}
	i, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	// What nobody refers to is closed by the collector, and the program is gone with it.
	held, err = bpf.Attach(bpf.Config{Interface: i.Index, Hook: bpf.Hook(hook), Own: netip.MustParseAddrPort("10.77.0.1:5405")})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("attached")
	// Without a system call under way the runtime may take all of it for a deadlock, and end it.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

var held any

// TestCrash: a process that is killed leaves no program behind.
func TestCrash(t *testing.T) {
	h := network(t, 1, ethernet).Hosts[0]
	for _, hook := range hooks[:2] {
		line := h.Line(os.Args[0], "-test.run=^TestHolder$")
		c := exec.Command(line[0], line[1:]...)
		c.Env = append(os.Environ(), holderVariable+"="+string(hook))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stderr = c.Stdout
		if _, err := c.StdinPipe(); err != nil { // which stays open
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if said, _ := bufio.NewReader(out).ReadString('\n'); said != "attached\n" {
			rest, _ := io.ReadAll(out)
			t.Fatalf("%s: no program is attached: %s%s", hook, said, rest)
		}
		for end := time.Now().Add(patience); !strings.Contains(shown(t, h), "prog/xdp"); {
			if time.Now().After(end) {
				t.Fatalf("%s: no program is attached: %s", hook, shown(t, h))
			}
		}
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		// The kernel detaches it after the process has ended, soon.
		for end := time.Now().Add(patience); strings.Contains(shown(t, h), "prog/xdp"); {
			if time.Now().After(end) {
				t.Fatalf("%s: it is still there: %s", hook, shown(t, h))
			}
		}
	}
}
