package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
)

// results are what is kept of a comparison of systems.
type results struct {
	record
	Systems []about    `json:"systems"`
	Cells   []cell     `json:"cells"`
	Medians []median   `json:"medians"`
	Runs    []measured `json:"runs"`
}

type about struct {
	Name      string  `json:"name"`
	Version   string  `json:"version"`
	Settings  string  `json:"settings"`
	IdleCores float64 `json:"idle_cores"`
}

// median is over the rounds of a cell.
type median struct {
	System     string  `json:"system"`
	Cell       string  `json:"cell"`
	Throughput float64 `json:"per_s"`
	ConfirmP50 float64 `json:"confirm_p50_us"`
	ConfirmP99 float64 `json:"confirm_p99_us"`
	EndP50     float64 `json:"end_to_end_p50_us"`
	EndP99     float64 `json:"end_to_end_p99_us"`
	CPU        float64 `json:"cluster_cpu_us_per_message"`
	LoadCPU    float64 `json:"load_cpu_us_per_message"`
	Wrong      uint64  `json:"lost_duplicated_reordered"`
}

func (o *compareOptions) results(systems []*system, runs []measured) *results {
	r := &results{
		record: newRecord(o.Binary), Cells: o.cells(), Runs: runs,
	}
	where := "three nodes of each on one host over loopback, all up at once, files in %s; one producer with" +
		" %d unconfirmed on one member, one consumer on another that acknowledges every %d"
	if o.alone {
		where = "one node of each on one host over loopback, all up at once, files in %s; one producer with" +
			" %d unconfirmed, one consumer that acknowledges every %d where the protocol can"
	}
	r.How = fmt.Sprintf(where+"; load generator on the same host; medians of %d rounds of %v",
		o.Dir, load.Defaults().InFlight, o.AckEvery, o.Rounds, o.Duration)
	for _, s := range systems {
		r.Systems = append(r.Systems, about{s.name, s.cluster.Name(), s.cluster.Settings(), s.idle})
		for _, c := range r.Cells {
			r.Medians = append(r.Medians, medianOf(s.name, c.Name, runs))
		}
	}
	if !o.alone {
		r.targets()
	}
	return r
}

func medianOf(system, cell string, runs []measured) median {
	m := median{System: system, Cell: cell}
	of := func(f func(*measured) float64) float64 {
		var values []float64
		for i := range runs {
			if runs[i].System == system && runs[i].Cell == cell {
				values = append(values, f(&runs[i]))
			}
		}
		slices.Sort(values)
		if n := len(values); n%2 == 1 {
			return values[n/2]
		} else if n > 0 {
			return (values[n/2-1] + values[n/2]) / 2
		}
		return 0
	}
	m.Throughput = of((*measured).throughput)
	m.ConfirmP50 = of(func(r *measured) float64 { return float64(r.Load.Confirm.P50) })
	m.ConfirmP99 = of(func(r *measured) float64 { return float64(r.Load.Confirm.P99) })
	m.EndP50 = of(func(r *measured) float64 { return float64(r.Load.EndToEnd.P50) })
	m.EndP99 = of(func(r *measured) float64 { return float64(r.Load.EndToEnd.P99) })
	m.CPU = of(func(r *measured) float64 { return r.CPU })
	m.LoadCPU = of(func(r *measured) float64 { return r.Load.CPU })
	for i := range runs {
		if l := runs[i].Load; runs[i].System == system && runs[i].Cell == cell {
			m.Wrong += l.Lost + l.Duplicates + l.Reordered
		}
	}
	return m
}

func (r *results) median(system, cell string) *median {
	for i := range r.Medians {
		if r.Medians[i].System == system && r.Medians[i].Cell == cell {
			return &r.Medians[i]
		}
	}
	return nil
}

// The ratios that are asked for.
const (
	wantOverRabbitMQ = 4.0
	wantOverNATS     = 1.5
)

func (r *results) targets() {
	for _, c := range r.Cells {
		ours := r.median(qpidd, c.Name)
		if ours == nil {
			continue
		}
		if c.Rate == 0 {
			r.ratio(ours, rabbitmq, c.Name, wantOverRabbitMQ)
			r.ratio(ours, natsName, c.Name, wantOverNATS)
			continue
		}
		r.latency(c.Name+", confirmed p99", ours, func(m *median) float64 { return m.ConfirmP99 })
		r.latency(c.Name+", end to end p99", ours, func(m *median) float64 { return m.EndP99 })
	}
	wrong := uint64(0)
	for i := range r.Medians {
		if r.Medians[i].System == qpidd {
			wrong += r.Medians[i].Wrong
		}
	}
	if r.median(qpidd, r.Cells[0].Name) != nil {
		r.Targets = append(r.Targets, target{"qpidd: lost, duplicated or reordered", float64(wrong), "0", wrong == 0})
	}
}

func (r *results) ratio(ours *median, other, cell string, want float64) {
	m := r.median(other, cell)
	if m == nil || m.Throughput == 0 {
		return
	}
	figure := ours.Throughput / m.Throughput
	r.Targets = append(r.Targets, target{
		Name: fmt.Sprintf("%s, of %s's", cell, other), Figure: figure, Want: fmt.Sprintf(">= %.1f", want), Met: figure >= want,
	})
}

func (r *results) latency(name string, ours *median, of func(*median) float64) {
	best := 0.0
	for _, other := range []string{rabbitmq, natsName} {
		if m := r.median(other, ours.Cell); m != nil && (best == 0 || of(m) < best) {
			best = of(m)
		}
	}
	if best == 0 {
		return
	}
	figure := of(ours) / best
	r.Targets = append(r.Targets, target{Name: name + ", of the better peer's", Figure: figure, Want: "<= 1.0", Met: figure <= 1})
}

func (r *results) print(w io.Writer) {
	r.printMachine(w)
	fmt.Fprintf(w, "%-20s%-10s%10s%12s%12s%12s%12s%10s%10s%7s\n", "", "", "per s",
		"conf p50", "conf p99", "e2e p50", "e2e p99", "CPU us", "load us", "wrong")
	for _, c := range r.Cells {
		for _, s := range r.Systems {
			m := r.median(s.Name, c.Name)
			fmt.Fprintf(w, "%-20s%-10s%10.0f%9.3f ms%9.3f ms%9.3f ms%9.3f ms%10.1f%10.1f%7d\n", c.Name, s.Name, m.Throughput,
				m.ConfirmP50/1000, m.ConfirmP99/1000, m.EndP50/1000, m.EndP99/1000, m.CPU, m.LoadCPU, m.Wrong)
		}
	}
	fmt.Fprintln(w)
	for _, s := range r.Systems {
		fmt.Fprintf(w, "%-10s %s; %s; idle %.2f cores\n", s.Name, s.Version, s.Settings, s.IdleCores)
	}
	fmt.Fprintln(w)
	r.printTargets(w)
}
