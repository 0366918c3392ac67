package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestMetrics: what brokers tell Prometheus is what is the case: three that hold messages in a queue, of which one
// has been killed in the end.
func TestMetrics(t *testing.T) {
	harness.OwnRing(t, "corosync counts for itself")
	c := harness.Start(t, 0)
	var at []string
	for range 3 {
		port := harness.FreePort(t)
		at = append(at, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		c.Add("--metrics-listen=" + at[len(at)-1])
	}
	s := load.NewStage(t, c)
	s.RunOnce(s.Publishing, 0, s.Publish091("publisher"))
	s.Await(t, "load", 500, 0, 0)
	s.StopPublishing()
	s.Wait()
	promised, _, _ := s.Ledger.Count()
	for i, b := range c.Brokers {
		harness.Eventually(t, load.Patience, fmt.Sprintf("what broker %d tells", i), func() error {
			m, err := harness.Scrape(t.Context(), b, at[i])
			if err != nil {
				return err
			}
			// A message may have been taken that was not promised any more.
			if n := m.Value("qpidd_messages"); n < float64(promised) || n > float64(promised)+float64(load.InFlight) {
				return fmt.Errorf("%v messages, and %d were promised", n, promised)
			}
			return m.Check(map[string]func(float64) bool{
				"qpidd_queues":                               func(v float64) bool { return v >= 1 },
				"qpidd_members":                              func(v float64) bool { return v == 3 },
				`qpidd_state{state="active"}`:                func(v float64) bool { return v == 1 },
				"qpidd_log_live_bytes":                       func(v float64) bool { return v > 0 },
				"process_resident_memory_bytes":              func(v float64) bool { return v > 1<<20 },
				"qpidd_ring_members":                         func(v float64) bool { return v == 3 },
				`qpidd_ring_datapath{datapath="udp"}`:        func(v float64) bool { return v == 1 },
				`qpidd_ring_tokens_total{by="member"}`:       func(v float64) bool { return v > 20 },
				`qpidd_ring_packets_total{direction="sent"}`: func(v float64) bool { return v > 20 },
				"qpidd_ring_messages_total":                  func(v float64) bool { return v > 0 },
			})
		})
	}
	t.Run("times", func(t *testing.T) { timesAgree(t, c.Brokers[0], at[0]) })
	c.Kill(2)
	harness.Eventually(t, load.Patience, "a member less", func() error {
		m, err := harness.Scrape(t.Context(), c.Brokers[1], at[1])
		if err != nil {
			return err
		}
		return m.Check(map[string]func(float64) bool{"qpidd_members": func(v float64) bool { return v == 2 }})
	})
}

// timesAgree: the token's times are counted, make sense, and are what qpid-cluster shows.
func timesAgree(t *testing.T, b *harness.Broker, at string) {
	m, err := harness.Scrape(t.Context(), b, at)
	if err != nil {
		t.Fatal(err)
	}
	mean := func(name, by string) float64 {
		t.Helper()
		h := m.Histogram(name, by)
		if h == nil || h.GetSampleCount() < 10 {
			t.Fatalf("%s: %v", name, h)
		}
		ends(t, name, h)
		return h.GetSampleSum() / float64(h.GetSampleCount())
	}
	rotation, hop, wait := mean("qpidd_ring_rotation_seconds", ""), mean("qpidd_ring_hop_seconds", "member"), mean("qpidd_ring_token_wait_seconds", "")
	if wait <= 0 || hop <= 0 || wait > rotation || hop > rotation || rotation > 10 {
		t.Errorf("the token waits for %v s, is here for %v s, and goes round in %v s", wait, hop, rotation)
	}
	r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{"ring", b.Address(), "--json"}}).Run(t)
	var shown struct {
		Times []struct {
			What string        `json:"what"`
			N    uint64        `json:"count"`
			P50  time.Duration `json:"p50_ns"`
			P99  time.Duration `json:"p99_ns"`
			Max  time.Duration `json:"max_ns"`
		} `json:"ring_times"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &shown); err != nil || len(shown.Times) < 3 {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	for _, x := range shown.Times {
		if x.N < 10 || x.P50 <= 0 || x.P99 < x.P50 || x.Max < x.P99 {
			t.Errorf("%+v", x)
		}
	}
	plain := (&harness.Command{Program: "qpid-cluster", Arguments: []string{"ring", b.Address()}}).Run(t)
	if !strings.Contains(plain.Stdout, "Times: rotation") || !strings.Contains(plain.Stdout, "waiting to be read") {
		t.Errorf("%s", plain.Stdout)
	}
	t.Logf("%s", plain.Stdout)
}

// ends looks at a histogram's buckets, which grow, and end with all.
func ends(t *testing.T, name string, h *dto.Histogram) {
	t.Helper()
	n, end := uint64(0), math.Inf(-1)
	for _, b := range h.Bucket {
		if b.GetCumulativeCount() < n || b.GetUpperBound() <= end {
			t.Errorf("%s: %v", name, h)
		}
		n, end = b.GetCumulativeCount(), b.GetUpperBound()
	}
	if n != h.GetSampleCount() || !math.IsInf(end, 1) {
		t.Errorf("%s ends with %d up to %v of %d", name, n, end, h.GetSampleCount())
	}
}

// TestMetricsRefused: an address that cannot be listened on ends the start, and says what to do.
func TestMetricsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, at := range []string{l.Addr().String(), "127.0.0.1:x", "host:1"} {
		r := (&harness.Command{Program: "qpidd", Arguments: []string{"--port=0", "--interface=127.0.0.1", "--no-data-dir", "--auth=no", "--config=/dev/null", "--metrics-listen=" + at}, Limit: 10 * time.Second}).Run(t)
		if r.Status == 0 || !strings.Contains(r.Stderr, "metrics") {
			t.Errorf("%s: %d, %s", at, r.Status, r.Stderr)
		}
	}
}
