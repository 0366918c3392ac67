package load

import (
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what came of a run.
type Report struct {
	Protocol  string  `json:"protocol"`
	Producers int     `json:"producers"`
	Consumers int     `json:"consumers"`
	Size      int     `json:"size_bytes"`
	Rate      float64 `json:"rate_per_s,omitempty"`
	InFlight  int     `json:"in_flight"`
	Seconds   float64 `json:"measured_s"`

	ConfirmedPerSecond float64 `json:"confirmed_per_s"`
	ConsumedPerSecond  float64 `json:"consumed_per_s"`

	Confirm  Latency `json:"confirm_latency_us"`
	EndToEnd Latency `json:"end_to_end_latency_us"`

	// The longest times between two of one producer, and of one consumer.
	ConfirmGaps  []Gap `json:"confirm_gaps,omitempty"`
	DeliveryGaps []Gap `json:"delivery_gaps,omitempty"`

	// DrainedPerSecond is the rate at which a backlog was consumed.
	DrainedPerSecond float64 `json:"drained_per_s,omitempty"`

	Sent       uint64 `json:"sent"`
	Confirmed  uint64 `json:"confirmed"`
	Refused    uint64 `json:"refused"`
	Consumed   uint64 `json:"consumed"`
	Lost       uint64 `json:"lost"` // confirmed, and never consumed
	Duplicates uint64 `json:"duplicates"`
	Reordered  uint64 `json:"reordered"`
	Failures   uint64 `json:"connection_failures"`
	// Interrupted runs do not tell what was lost.
	Interrupted bool `json:"interrupted,omitempty"`

	// CPU is what the process that made the load used for each message.
	CPU float64 `json:"load_cpu_us_per_message"`
}

// Latency is a distribution, in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   int64   `json:"p50"`
	P90   int64   `json:"p90"`
	P99   int64   `json:"p99"`
	P999  int64   `json:"p99_9"`
	Max   int64   `json:"max"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	return Latency{
		Count: h.TotalCount(), Mean: h.Mean(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
}

func (r *run) report(interrupted bool) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Report{
		Protocol: r.Protocol, Producers: r.Producers, Consumers: r.Consumers, Size: r.Size, Rate: r.Rate,
		InFlight: r.InFlight, Interrupted: interrupted, Confirm: latencyOf(r.confirmHist), EndToEnd: latencyOf(r.consumeHist),
		Sent: r.sent.Load(), Confirmed: r.confirmed.Load(), Refused: r.refused.Load(),
		Consumed: r.consumed.Load(), Reordered: r.reordered.Load(), Failures: r.failures.Load(),
		ConfirmGaps: r.confirmGaps.list, DeliveryGaps: r.consumeGaps.list,
	}
	if seconds := r.drained.Seconds(); seconds > 0 {
		p.DrainedPerSecond = float64(p.Consumed) / seconds
	}
	if seconds := (r.endAt - r.warmAt).Seconds(); seconds > 0 {
		p.Seconds = seconds
		p.ConfirmedPerSecond = float64(r.endConfirmed-r.warmConfirmed) / seconds
		p.ConsumedPerSecond = float64(r.endConsumed-r.warmConsumed) / seconds
	}
	if p.Sent > 0 {
		p.CPU = float64(r.cpu.Microseconds()) / float64(p.Sent)
	}
	for i := range r.tallies {
		p.Duplicates += r.tallies[i].duplicates
		if r.Consumers > 0 && !p.Interrupted {
			p.Lost += r.tallies[i].lost()
		}
	}
	return p
}

// Write prints the report for people.
func (p *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "%-12s%12s%12s%10s%10s%10s%10s%10s\n", "", "messages/s", "mean ms", "p50", "p90", "p99", "p99.9", "max")
	line := func(name string, rate float64, l Latency) {
		fmt.Fprintf(w, "%-12s%12.0f%12.3f%10s%10s%10s%10s%10s\n", name, rate, l.Mean/1000,
			ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
	}
	line("confirmed", p.ConfirmedPerSecond, p.Confirm)
	line("consumed", p.ConsumedPerSecond, p.EndToEnd)
	fmt.Fprintf(w, "sent %d, confirmed %d, refused %d, consumed %d, lost %d, duplicates %d, reordered %d\n",
		p.Sent, p.Confirmed, p.Refused, p.Consumed, p.Lost, p.Duplicates, p.Reordered)
	if p.Interrupted {
		fmt.Fprintln(w, "interrupted: what was under way is not counted as lost")
	}
	fmt.Fprintf(w, "this process used %.1f us of CPU a message\n", p.CPU)
	if p.Failures > 0 {
		fmt.Fprintf(w, "connections lost %d\n", p.Failures)
	}
}

func ms(us int64) string { return fmt.Sprintf("%.3f", float64(us)/1000) }
