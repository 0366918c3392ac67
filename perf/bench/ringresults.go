package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// summarise takes the medians, and holds them against what is asked.
func (r *ringResults) summarise() {
	for _, run := range r.Runs {
		if r.find(run.System, run.Size, run.Senders) == nil {
			r.Figures = append(r.Figures, r.median(run.System, run.Size, run.Senders))
		}
	}
	slices.SortStableFunc(r.Figures, func(a, b ringFigures) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Senders, b.Senders))
	})
	for _, f := range r.Figures {
		if f.System != ourRing {
			continue
		}
		for _, name := range []string{corosyncAsIs, corosyncTuned} {
			if c := r.find(name, f.Size, f.Senders); c != nil {
				r.against(&f, c)
			}
		}
	}
	if big, raw := r.find(ourRing, 65536, 1), r.find(rawLink, 1455, 1); big != nil && raw != nil {
		r.atLeast("64 KiB from 1, of the link without a protocol", big.BytesPerS/raw.BytesPerS, 0.5)
	}
	if ours, theirs := r.latency(ourRing), r.latency(corosyncAsIs); theirs.P50 > 0 {
		r.atMost("latency p50, of corosync's", ours.P50/theirs.P50, 0.5)
		r.atMost("latency p99, of corosync's", ours.P99/theirs.P99, 0.5)
	}
	r.below("idle, per cent of a core for each member", 100*r.Idle[ourRing], 0.5)
	if ours, theirs := r.Deaths[ourRing], r.Deaths[corosyncAsIs]; theirs > 0 {
		r.atMost("new view after a death without evidence, of corosync's time", ours/theirs, 1)
	}
	if n := len(r.Members); n > 1 {
		first, last := r.Members[0], r.Members[n-1]
		grown := (last.CPUMicros / first.CPUMicros) / (float64(last.Senders) / float64(first.Senders))
		r.atMost(fmt.Sprintf("cost of a message, from %d to %d members, of their number's growth", first.Senders, last.Senders), grown, 1)
	}
}

// against asks for ten times corosync's throughput, twenty for large messages, and a quarter of
// its CPU.
func (r *ringResults) against(f, c *ringFigures) {
	if c.PerSecond == 0 {
		return // nothing of theirs came through, which the runs tell
	}
	want := 10.0
	if f.Size >= 8192 {
		want = 20
	}
	what := fmt.Sprintf("%d B from %d, of %s's", f.Size, f.Senders, c.System)
	r.atLeast("throughput, "+what, f.PerSecond/c.PerSecond, want)
	r.atMost("CPU a message, "+what, f.CPUMicros/c.CPUMicros, 0.25)
}

func (r *ringResults) find(system string, size, senders int) *ringFigures {
	for i := range r.Figures {
		if f := &r.Figures[i]; f.System == system && f.Size == size && f.Senders == senders {
			return f
		}
	}
	return nil
}

// median takes each figure's of the runs of one kind.
func (r *ringResults) median(system string, size, senders int) ringFigures {
	var rate, bytes, cpu, load, rotation []float64
	for _, f := range r.Runs {
		if f.System == system && f.Size == size && f.Senders == senders {
			rate, bytes = append(rate, f.PerSecond), append(bytes, f.BytesPerS)
			cpu, load, rotation = append(cpu, f.CPUMicros), append(load, f.LoadCPUMicros), append(rotation, f.RotationUs)
		}
	}
	return ringFigures{
		System: system, Size: size, Senders: senders, PerSecond: middle(rate), BytesPerS: middle(bytes),
		CPUMicros: middle(cpu), LoadCPUMicros: middle(load), RotationUs: middle(rotation),
	}
}

func (r *ringResults) latency(system string) (l ringLatency) {
	var p50, p99 []float64
	for _, x := range r.Latencies {
		if x.System == system {
			p50, p99 = append(p50, x.P50), append(p99, x.P99)
		}
	}
	if len(p50) > 0 {
		l.P50, l.P99 = middle(p50), middle(p99)
	}
	return l
}

func (r *ringResults) print(w io.Writer) {
	r.printMachine(w)
	fmt.Fprintf(w, "%-24s %8s %8s %12s %10s %10s %10s\n", "", "bytes", "senders", "messages/s", "MB/s", "CPU us", "load us")
	for _, f := range r.Figures {
		fmt.Fprintf(w, "%-24s %8d %8d %12.0f %10.1f %10.2f %10.2f\n", f.System, f.Size, f.Senders, f.PerSecond, f.BytesPerS/1e6, f.CPUMicros, f.LoadCPUMicros)
	}
	fmt.Fprintln(w)
	for _, name := range []string{ourRing, corosyncAsIs, corosyncTuned} {
		l := r.latency(name)
		fmt.Fprintf(w, "%-24s own message at 100/s p50 %.0f us, p99 %.0f us; idle %.2f %% of a core", name, l.P50, l.P99, 100*r.Idle[name])
		if d := r.Deaths[name]; d > 0 {
			fmt.Fprintf(w, "; new view %.0f ms after a death", d)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, f := range r.Members {
		fmt.Fprintf(w, "%d members, all send 1 KiB: %9.0f/s, %.2f us CPU a message, rotation %.0f us\n", f.Senders, f.PerSecond, f.CPUMicros, f.RotationUs)
	}
	fmt.Fprintln(w)
	r.printTargets(w)
}

// plot draws throughput and rotation over the number of members.
func (o *ringOptions) plot(r *ringResults) error {
	if len(r.Members) == 0 {
		return nil
	}
	const width, height, left, bottom = 560, 280, 60, 240
	var mostRate, mostTime float64
	for _, f := range r.Members {
		mostRate, mostTime = max(mostRate, f.PerSecond), max(mostTime, f.RotationUs)
	}
	var b, rate, rotation strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><path d="M%d 20V%dH%d" stroke="black" fill="none"/>`+"\n", width, height, left, bottom, width-20)
	for i, f := range r.Members {
		x := left + 40 + i*(width-left-100)/max(1, len(r.Members)-1)
		y, z := bottom-int(200*f.PerSecond/mostRate), bottom-int(200*f.RotationUs/mostTime)
		fmt.Fprintf(&rate, "%d,%d ", x, y)
		fmt.Fprintf(&rotation, "%d,%d ", x, z)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%d</text><text x="%d" y="%d" fill="navy">%.0f/s</text><text x="%d" y="%d" fill="firebrick">%.0f us</text>`+"\n",
			x, bottom+16, f.Senders, x-20, y-6, f.PerSecond, x-20, z+16, f.RotationUs)
	}
	fmt.Fprintf(&b, `<polyline points="%s" stroke="navy" fill="none"/><polyline points="%s" stroke="firebrick" fill="none"/>`+"\n", rate.String(), rotation.String())
	fmt.Fprintf(&b, `<text x="%d" y="%d">members, all sending 1 KiB: messages/s (blue), rotation of the token (red)</text></svg>`+"\n", left, height-8)
	return os.WriteFile(o.Plot, []byte(b.String()), 0o644)
}
