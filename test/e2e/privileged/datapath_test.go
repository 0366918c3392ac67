package privileged

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestDatapaths has clusters work whose members' packets go by each datapath, with guards before
// them, and by different ones. A host is cut off, a broker killed, and nobody is thrown out otherwise.
func TestDatapaths(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync has datapaths of its own")
	}
	all := func(arguments ...string) [][]string { return [][]string{arguments, arguments, arguments} }
	for _, x := range []struct {
		name string
		own  [][]string
		says []string // in the log, where it starts
	}{
		{"auto", all("--ring-datapath=auto"), []string{"datapath is udp", "measured for a packet: udp", "datapath is udp"}},
		{"packet", all("--ring-datapath=packet"), []string{"datapath is packet", "UDP segmentation", "datapath is packet"}},
		{"packet behind tc", all("--ring-datapath=packet", "--ring-guard=tc"), []string{"datapath is packet", "datapath is packet", "datapath is packet"}},
		{"xdp", all("--ring-datapath=xdp"), []string{"datapath is xdp", "native XDP", "datapath is xdp"}},
		{"token pass", all("--ring-datapath=udp", "--ring-token-pass"), []string{"passes the ring's token on", "passes the ring's token on", "passes the ring's token on"}},
		{"token pass of one", [][]string{{"--ring-datapath=udp"}, {"--ring-datapath=udp"}, {"--ring-datapath=udp", "--ring-token-pass", "--ring-guard=tc"}},
			[]string{"datapath is udp", "datapath is udp", "passes the ring's token on"}},
		{"each another", [][]string{{"--ring-datapath=udp", "--ring-guard=xdp-generic"}, {"--ring-datapath=packet"}, {"--ring-datapath=xdp"}},
			[]string{"datapath is udp", "datapath is packet", "datapath is xdp"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			const victim = 1
			w := harness.NewNetwork(t, 3, ethernet)
			c := harness.StartMixed(t, w, []string{"--token=" + token.String()}, x.own...)
			for i, text := range x.says {
				if log := c.LogText(i); !strings.Contains(log, text) {
					t.Errorf("no %q in the log of broker %d:\n%s", text, i, log)
				}
			}
			s := load.NewStage(t, c)
			everywhere(s, victim)
			s.Await(t, "load on every host", 2000, 2000, 0)
			large(t, c, 1<<20)
			for i := range c.Brokers {
				if strings.Contains(c.LogText(i), "member left") {
					t.Errorf("broker %d saw a member leave", i)
				}
			}
			c.Kill(victim)
			s.Await(t, "load without a host", 1000, 1000, 0)
			c.Restart(victim)
			s.Await(t, "load with all", 1000, 1000, 0)
			s.Settle(t)
			line := c.Brokers[0].Host.Line(harness.Program(t, "qpid-cluster"), "ring", net.JoinHostPort(c.Brokers[0].IP(), strconv.Itoa(c.Brokers[0].Port)))
			out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Datapath: ") {
				t.Errorf("qpid-cluster ring: %v: %s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// TestInterfaceMadeAnew removes the ring's interface of a host and makes it again, in less than the token
// timeout. With each datapath it costs a pause and nothing else.
func TestInterfaceMadeAnew(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync looks after its interface itself")
	}
	for name, own := range map[string][]string{
		"udp": {"--ring-datapath=udp", "--ring-guard=tc", "--ring-token-pass", "--connection-rate=1000"}, "packet": {"--ring-datapath=packet"}, "xdp": {"--ring-datapath=xdp", "--ring-guard=xdp"},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			c := harness.StartMixed(t, w, nil, own, own, own) // with the default token timeout, of 3 s
			s := load.NewStage(t, c)
			everywhere(s, nobody)
			s.Await(t, "load on every host", 1000, 1000, 0)
			// Each question is a connection that the limit lets in, where there is one.
			ask := func() (let int) {
				line := w.Hosts[0].Line(harness.Program(t, "qpid-cluster"), "ring", net.JoinHostPort(w.Hosts[1].IP, strconv.Itoa(c.Brokers[1].Port)))
				out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
				if err != nil {
					t.Fatalf("qpid-cluster ring: %v: %s", err, out)
				}
				_, after, _ := strings.Cut(string(out), "let in ")
				_, _ = fmt.Sscan(strings.SplitN(after, ",", 2)[0], &let) // there is none with most datapaths
				return let
			}
			ask()
			before := ask()
			for range 3 {
				s.Ledger.Watch()
				w.Hosts[1].Remove()
				w.Hosts[1].Insert(ethernet, 0)
				s.Await(t, "load after it", 1000, 1000, 0)
				t.Logf("longest time without a confirm: %v", s.Ledger.Gaps())
			}
			s.Settle(t)
			if ask(); before > 0 && ask() < before+2 {
				t.Error("connections are not limited any more")
			}
			for i := range c.Brokers {
				log := c.LogText(i)
				if strings.Contains(log, "member left") {
					t.Errorf("broker %d saw a member leave", i)
				}
				if back := strings.Contains(log, "interface eth0 is back"); back != (i == 1) || strings.Contains(log, "datapath is udp from now on") || strings.Contains(log, "do not reach") || strings.Contains(log, "any more") {
					t.Errorf("the log of broker %d:\n%s", i, log)
				}
			}
		})
	}
}
