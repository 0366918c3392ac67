package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// parse reads a page as Prometheus does.
func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	got, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return got
}

func TestPage(t *testing.T) {
	var p Page
	f := p.Counter("tokens_total", "Visits\nof the \\ token.")
	f.Add(12, "by", "kernel")
	f.Add(1e20, "by", "a \"member\\\n", "of", "x")
	p.Gauge("members", "").Add(-0.5)
	got := parse(t, string(p.text))
	tokens := got["tokens_total"]
	if tokens.GetType() != dto.MetricType_COUNTER || tokens.GetHelp() != "Visits\nof the \\ token." || len(tokens.Metric) != 2 {
		t.Errorf("%v", tokens)
	}
	if m := tokens.Metric[1]; m.Counter.GetValue() != 1e20 || m.Label[0].GetValue() != "a \"member\\\n" || m.Label[1].GetName() != "of" {
		t.Errorf("%v", m)
	}
	if m := got["members"]; m.GetType() != dto.MetricType_GAUGE || m.Metric[0].Gauge.GetValue() != -0.5 || len(m.Metric[0].Label) != 0 {
		t.Errorf("%v", m)
	}
}

// TestHistogram: each time is counted where it belongs, and quantiles are right but for a step, of which an octave
// has four.
func TestHistogram(t *testing.T) {
	var h Histogram
	var list []time.Duration
	for range 10000 {
		d := time.Duration(math.Exp2(rand.Float64() * 35))
		if i := bucket(d); d >= above(i) || i > 0 && d < above(i-1) {
			t.Fatalf("%v is counted between %v and %v", d, above(i-1), above(i))
		}
		h.Observe(d)
		list = append(list, d)
	}
	slices.Sort(list)
	times := h.Times()
	for _, share := range []float64{0.01, 0.5, 0.99, 1} {
		want := list[int(share*float64(len(list)-1))]
		if got := times.Quantile(share); got < want || got > max(want*5/4+1, 256) {
			t.Errorf("of %v it is %v, and not %v", share, got, want)
		}
	}
	if times.Most != list[len(list)-1] || times.Count() != uint64(len(list)) {
		t.Errorf("%v, %d", times.Most, times.Count())
	}
	h.Observe(time.Hour)
	h.Observe(0)
	if times = h.Times(); times.Counts[buckets-1] == 0 || times.Quantile(1) != time.Hour {
		t.Error("an hour is not counted")
	}
	if none := (&Times{}).Quantile(0.5); none != 0 {
		t.Errorf("of nothing it is %v", none)
	}
}

func TestHistogramOnPage(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{100, 300, 511, 512, time.Microsecond, time.Hour} {
		h.Observe(d)
	}
	var p Page
	p.Histogram("took_seconds", "It took.").Times(h.Times(), "by", "me")
	m := parse(t, string(p.text))["took_seconds"].Metric[0].Histogram
	for _, b := range m.Bucket {
		want := map[float64]uint64{256e-9: 1, 512e-9: 3, 1024e-9: 5}
		if n, told := want[b.GetUpperBound()]; told && b.GetCumulativeCount() != n {
			t.Errorf("up to %v there are %d, and not %d", b.GetUpperBound(), b.GetCumulativeCount(), n)
		}
	}
	if m.GetSampleCount() != 6 || m.GetSampleSum() < 3600 || m.Bucket[len(m.Bucket)-1].GetCumulativeCount() != 6 {
		t.Errorf("%v", m)
	}
}

func TestObserveAllocates(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Microsecond) }); n != 0 {
		t.Errorf("%v times", n)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fails := errors.New("the broker has ended")
	var failing bool
	s := Serve(l, func(_ context.Context, p *Page) error {
		if failing {
			return fails
		}
		p.Gauge("up", "It is.").Add(1)
		return nil
	})
	ask := func(method, path string) (int, string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%s%s", l.Addr(), path), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header.Get("Content-Type"), string(text)
	}
	if code, kind, text := ask(http.MethodGet, "/metrics"); code != 200 || kind != contentType || parse(t, text)["up"] == nil {
		t.Errorf("%d %s %s", code, kind, text)
	}
	if code, _, _ := ask(http.MethodPost, "/metrics"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", code)
	}
	if code, _, _ := ask(http.MethodGet, "/"); code != http.StatusNotFound {
		t.Errorf("/ is answered %d", code)
	}
	failing = true
	if code, _, text := ask(http.MethodGet, "/metrics"); code != http.StatusServiceUnavailable || !strings.Contains(text, fails.Error()) {
		t.Errorf("%d %s", code, text)
	}
	http.DefaultClient.CloseIdleConnections()
	s.Close()
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it listens still")
	}
}

// TestTooManyConnections: those beyond the limit are closed, and when others have gone there is room again.
func TestTooManyConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, func(context.Context, *Page) error { return nil })
	defer s.Close()
	var list []net.Conn
	alive := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") // the answer tells
		_ = c.SetReadDeadline(time.Now().Add(readTime))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
		return c
	}
	for range maxConnections {
		if !alive(dial()) {
			t.Fatal("a connection is closed that is not too many")
		}
	}
	if alive(dial()) {
		t.Error("one too many is served")
	}
	for _, c := range list {
		_ = c.Close()
	}
	for end := time.Now().Add(readTime); !alive(dial()); {
		if time.Now().After(end) {
			t.Fatal("there is no room, though all have gone")
		}
	}
}
