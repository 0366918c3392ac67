package datapath

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	choice "github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// echoVariable has the test binary be a process that gives up its capabilities and answers packets.
const echoVariable = "QPIDD_TEST_ECHOES"

// TestEcho is that process: "datapath guard address", and "broadcast" in place of a group.
func TestEcho(t *testing.T) {
	what := strings.Fields(os.Getenv(echoVariable))
	if len(what) < 3 {
		t.Skip("it is a part of TestWithoutCapabilities")
	}
	say := func(_ bool, text string) { fmt.Println("said", text) }
	c := choice.New(what[0], what[1], say)
	cfg := link.Config{Address: netip.MustParseAddr(what[2]), Interface: "eth0", Port: port, Group: group, Report: say}
	if len(what) > 3 {
		cfg.Broadcast, cfg.Group = true, netip.Addr{}
	}
	c.Configure(&cfg)
	l, err := link.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Opened(l)
	dropCapabilities(t)
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff:") {
			fmt.Print(line)
		}
	}
	fmt.Println("datapath", l.Stats().Datapath)
	m := &member{t: t, link: l}
	packets := make([]wire.Packet, 64)
	for {
		l.Tick()
		for n := l.Recv(packets); n > 0; n = l.Recv(packets) {
			for i := range packets[:n] {
				if asked, err := wire.ParseMcast(packets[i].Data); err == nil {
					l.Send([]wire.Datagram{{Data: mcast(2, asked.Seq, 100)}})
				}
				packets[i].Release()
			}
			fmt.Println("datapath", l.Stats().Datapath)
			fmt.Println("guard", c.Guard())
		}
		m.wait(20)
	}
}

// dropCapabilities gives up all of them, in this thread, which does all that the link does.
func dropCapabilities(t *testing.T) {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
}

// TestWithoutCapabilities: what takes capabilities is done when a link is open. It works on, and its
// guard can be asked, while cables are pulled, and interfaces go down or are made again.
func TestWithoutCapabilities(t *testing.T) {
	for _, x := range [][3]string{{"packet", "tc"}, {"xdp", "xdp"}, {"udp", "xdp-generic"}, {"udp", "tc", "broadcast"}, {"packet", "tc", "broadcast"}} {
		t.Run(strings.TrimSpace(x[0]+" "+x[2]), func(t *testing.T) {
			w := network(t, 2, ethernet)
			a := start(t, w.Hosts[0], datapaths[0], func(c *link.Config) {
				if x[2] != "" {
					c.Broadcast, c.Group = true, netip.Addr{}
				}
			})
			line := w.Hosts[1].Line(os.Args[0], "-test.run=^TestEcho$")
			c := exec.CommandContext(t.Context(), line[0], line[1:]...)
			c.Env = append(os.Environ(), echoVariable+"="+strings.Join([]string{x[0], x[1], w.Hosts[1].IP, x[2]}, " "))
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Wait() }() // it is killed
			defer func() { _ = c.Process.Kill() }()
			var text strings.Builder
			lines := bufio.NewScanner(out)
			await := func(want string) {
				t.Helper()
				for lines.Scan() {
					fmt.Fprintln(&text, lines.Text())
					if strings.HasPrefix(lines.Text(), want) {
						return
					}
				}
				t.Fatalf("it ended, and did not say %q: %s", want, &text)
			}
			await("CapEff:\t0000000000000000")
			await("datapath " + x[0])
			for number, flap := range []func(){
				func() {},
				func() { w.Hosts[1].Unplug(); w.Hosts[1].Plug() },
				func() { w.Hosts[1].SetUp(false); w.Hosts[1].SetUp(true) },
				func() { w.Hosts[1].Remove(); w.Hosts[1].Insert(ethernet, 0) },
				func() { w.Hosts[1].Remove(); w.Hosts[1].Insert(ethernet, 1) }, // more take more locked memory than some test machines allow
			} {
				flap()
				end := time.Now().Add(patience)
				for came := false; !came; {
					if time.Now().After(end) {
						t.Fatalf("it does not answer; it said %s", &text)
					}
					a.send(wire.Datagram{Data: mcast(1, wire.Seq(number), 100)})
					deadline := time.Now().Add(50 * time.Millisecond)
					a.receive("an answer", func(got [][]byte) bool {
						for _, p := range got {
							answer, err := wire.ParseMcast(p)
							came = came || err == nil && answer.Seq == wire.Seq(number)
						}
						return came || time.Now().After(deadline)
					})
				}
			}
			_ = c.Process.Kill()
			for lines.Scan() {
				fmt.Fprintln(&text, lines.Text())
			}
			last := text.String()
			if !strings.Contains(last[strings.LastIndex(last, "\nguard "):], ": ring ") {
				t.Errorf("its guard cannot be asked: %s", last)
			}
			if !strings.HasPrefix(last[strings.LastIndex(last, "\ndatapath ")+1:], "datapath "+x[0]+"\n") || strings.Count(last, "eth0 is back") != 2 {
				t.Errorf("its datapath is not as at first: %s", last)
			}
		})
	}
}
