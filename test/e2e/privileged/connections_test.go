package privileged

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestConnectionRate has a host connect as fast as it can. The kernel drops what is beyond the rate, and
// another host does not notice.
func TestConnectionRate(t *testing.T) {
	const (
		tries   = 60
		burst   = 16 // of a low rate
		timeout = 100 * time.Millisecond
	)
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartMixed(t, w, nil, []string{"--connection-rate=1"}, nil, nil)
	address := net.JoinHostPort(w.Hosts[0].IP, strconv.Itoa(c.Brokers[0].Port))
	connect := func(h *harness.Host, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := h.Dial(ctx, address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	came := 0
	begin := time.Now()
	for range tries {
		if connect(w.Hosts[1], timeout) == nil {
			came++
		}
	}
	// One more each second, and a SYN that is sent again counts as one.
	if most := burst + 2 + int(time.Since(begin).Seconds()); came < burst || came > most {
		t.Errorf("%d connections were let in, and should be %d to %d", came, burst, most)
	}
	if err := connect(w.Hosts[2], 5*time.Second); err != nil {
		t.Errorf("another host cannot connect: %v", err)
	}
	line := w.Hosts[2].Line(harness.Program(t, "qpid-cluster"), "ring", address)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "refused ") || !strings.Contains(string(out), "the last from "+w.Hosts[1].IP) {
		t.Errorf("qpid-cluster ring: %v: %s", err, out)
	}
}

// TestAcceptors has hosts connect over IPv4 and IPv6: each acceptor gets as many, and it is told.
func TestAcceptors(t *testing.T) {
	const acceptors, connections = 4, 40
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartMixed(t, w, nil, []string{fmt.Sprintf("--acceptors=%d", acceptors), "--metrics-listen=" + metricsAt}, nil)
	port := strconv.Itoa(c.Brokers[0].Port)
	for _, ip := range []string{w.Hosts[0].IP, w.Hosts[0].IP6} {
		for range connections {
			conn, err := w.Hosts[1].Dial(t.Context(), net.JoinHostPort(ip, port))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
	}
	line := w.Hosts[1].Line(harness.Program(t, "qpid-cluster"), "ring", net.JoinHostPort(w.Hosts[0].IP, port))
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("qpid-cluster ring: %v: %s", err, out)
	}
	_, after, found := strings.Cut(string(out), "in turn: ")
	var sum int
	for _, text := range strings.Fields(after) {
		n, err := strconv.Atoi(text)
		if err != nil {
			break
		}
		if sum += n; n < 2*connections/acceptors || n > 2*connections/acceptors+5 {
			t.Errorf("an acceptor got %d connections", n)
		}
	}
	if !found || sum < 2*connections {
		t.Errorf("qpid-cluster ring: %s", out)
	}
	m, err := harness.Scrape(t.Context(), c.Brokers[0], net.JoinHostPort(w.Hosts[0].IP, metricsAt))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m["qpidd_acceptor_connections_total"].GetMetric()); n != acceptors {
		t.Errorf("the metrics have %d acceptors", n)
	}
}
