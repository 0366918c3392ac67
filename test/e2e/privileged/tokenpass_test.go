package privileged

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// ringStatus is what qpid-cluster ring tells of a broker.
func ringStatus(t *testing.T, c *harness.Cluster, i int) (string, error) {
	t.Helper()
	b := c.Brokers[i]
	line := b.Host.Line(harness.Program(t, "qpid-cluster"), "ring", net.JoinHostPort(b.IP(), strconv.Itoa(b.Port)))
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	return string(out), err
}

// awaitPasses waits until the kernel has passed tokens on for a broker, with the program on some hook.
func awaitPasses(t *testing.T, c *harness.Cluster, i int, hook string) {
	t.Helper()
	harness.Eventually(t, load.Patience, fmt.Sprintf("tokens that the kernel passes on, on %s", hook), func() error {
		out, err := ringStatus(t, c, i)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if !strings.Contains(out, "passed on by the kernel, on "+hook) || strings.Contains(out, " 0 passed on by the kernel") {
			return errors.New(out)
		}
		return nil
	})
}

// metricsAt is where brokers tell their figures, each on its own host.
const metricsAt = "9419"

// kernelTold: the program's counts and times are among the broker's metrics.
func kernelTold(t *testing.T, b *harness.Broker, hook string) {
	t.Helper()
	m, err := harness.Scrape(t.Context(), b, net.JoinHostPort(b.IP(), metricsAt))
	if err != nil {
		t.Fatal(err)
	}
	positive := func(v float64) bool { return v > 0 }
	if err := m.Check(map[string]func(float64) bool{
		fmt.Sprintf("qpidd_ring_token_passes_total{hook=%q}", hook): positive,
		`qpidd_ring_tokens_total{by="kernel"}`:                      positive,
	}); err != nil {
		t.Error(err)
	}
	hop, rotation := m.Histogram("qpidd_ring_hop_seconds", "kernel"), m.Histogram("qpidd_ring_rotation_seconds", "")
	if hop.GetSampleCount() == 0 || hop.GetSampleCount() > rotation.GetSampleCount() || hop.GetSampleSum() > 1e-3*float64(hop.GetSampleCount()) {
		t.Errorf("hops %v, rotations %v", hop, rotation)
	}
	if strings.HasSuffix(hook, "XDP") {
		if n := m.Value(fmt.Sprintf("qpidd_ring_guard_packets_total{hook=%q}", hook)); n == 0 {
			t.Error("the guard has counted nothing")
		}
	}
}

// TestTokenPass: on each hook the kernel passes tokens on for members that are silent, with others whose
// members do, whose packets go other ways. The interfaces of the bridge end checksums that are only begun,
// so that each that a program makes is looked at. A broker is killed, and all goes on.
func TestTokenPass(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync passes its tokens itself")
	}
	for _, x := range []struct {
		name  string
		own   [2][]string // of the brokers that are silent
		hooks [2]string
	}{
		{"TC and native XDP", [2][]string{{"--ring-datapath=udp"}, {"--ring-datapath=udp", "--ring-guard=xdp"}}, [2]string{"TC", "native XDP"}},
		{"generic XDP, before UDP and AF_PACKET", [2][]string{{"--ring-datapath=udp", "--ring-guard=xdp-generic"}, {"--ring-datapath=packet", "--ring-guard=xdp-generic"}}, [2]string{"generic XDP", "generic XDP"}},
		{"the program that steers", [2][]string{{"--ring-datapath=xdp"}, {"--ring-datapath=packet", "--ring-guard=xdp"}}, [2]string{"native XDP", "native XDP"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			w.Coalesce(true)
			w.EndChecksums()
			own := [][]string{{"--ring-datapath=udp"}, append(x.own[0], "--ring-token-pass"), append(x.own[1], "--ring-token-pass")}
			c := harness.StartMixed(t, w, []string{"--token=" + token.String(), "--metrics-listen=" + metricsAt}, own...)
			s := load.NewStage(t, c)
			s.Run(s.Publishing, 0, s.Publish091("publisher"))
			s.Run(s.Consuming, 0, s.Consume091("consumer", false))
			s.Await(t, "load at one host", 1000, 1000, 0)
			for i, hook := range x.hooks {
				awaitPasses(t, c, i+1, hook)
				kernelTold(t, c.Brokers[i+1], hook)
			}
			for i := range c.Brokers {
				if log := c.LogText(i); strings.Contains(log, "member left") || strings.Contains(log, "do not arrive") {
					t.Errorf("broker %d saw a member leave, or tokens lost", i)
				}
			}
			c.Kill(1)
			s.Await(t, "load without a host", 500, 500, 0)
			c.Restart(1)
			s.Await(t, "load with all", 500, 500, 0)
			s.Settle(t)
		})
	}
}

// TestTokenPassElsewhere: where the other end of a veth takes nothing that native XDP sends, the token is passed on
// on TC. Where it ceases to take it under way, the members notice and do it themselves, and nobody is lost.
func TestTokenPassElsewhere(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync passes its tokens itself")
	}
	for _, later := range []bool{false, true} {
		t.Run(fmt.Sprintf("later %v", later), func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			w.Coalesce(later)
			own := []string{"--ring-datapath=udp", "--ring-guard=xdp", "--ring-token-pass"}
			c := harness.StartMixed(t, w, []string{"--token=" + token.String()}, own, own, own)
			s := load.NewStage(t, c)
			s.Run(s.Publishing, 0, s.Publish091("publisher"))
			s.Run(s.Consuming, 0, s.Consume091("consumer", false))
			s.Await(t, "load at one host", 200, 200, 0)
			if !later {
				awaitPasses(t, c, 1, "TC")
				if text := c.LogText(1); !strings.Contains(text, "takes nothing from XDP") {
					t.Errorf("it does not say why:\n%s", text)
				}
			} else {
				awaitPasses(t, c, 1, "native XDP")
				w.Coalesce(false)
				c.AwaitLog(1, 1, "do not arrive")
				s.Await(t, "load after that", 500, 500, 0)
				for i := range c.Brokers {
					if strings.Contains(c.LogText(i), "member left") {
						t.Errorf("broker %d saw a member leave", i)
					}
				}
			}
			s.Settle(t)
		})
	}
}

// TestHungProcess: the kernel does not pass tokens on for a process that is stopped for longer than what it
// said counts. The others lose the token, as without the program, and go on; when it is continued it joins again.
func TestHungProcess(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync passes its tokens itself")
	}
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartAcross(t, w, "--token="+token.String(), "--ring-datapath=udp", "--ring-token-pass")
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("publisher"))
	s.Run(s.Consuming, 0, s.Consume091("consumer", false))
	s.Await(t, "load at one host", 500, 500, 0)
	awaitPasses(t, c, 2, "TC")
	begin := time.Now()
	c.Signal(syscall.SIGSTOP, 2)
	c.AwaitLog(0, 1, "member left")
	took := time.Since(begin)
	c.Signal(syscall.SIGCONT, 2)
	t.Logf("it was missed after %v, with a token timeout of %v", took, token)
	// What counts at most, the token's timeout, and consensus, which is 1.2 times that; and a second for a machine at work.
	if most := 250*time.Millisecond + token*22/10 + time.Second; took > most {
		t.Errorf("it was missed after %v, and not after %v", took, most)
	}
	s.Await(t, "load without it", 500, 500, 0)
	c.AwaitLog(2, 2, "joined cluster "+c.Name)
	s.Settle(t)
}
