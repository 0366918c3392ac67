package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// brokerFigures are of so many publishers, each of whom has one durable message under way.
type brokerFigures struct {
	Nodes      int     `json:"nodes"`
	FlushMS    float64 `json:"flush_made_to_take_ms,omitempty"`
	Publishers int     `json:"publishers"`
	PerSecond  float64 `json:"messages_per_s"`
	P50        int64   `json:"confirm_p50_us"`
	P99        int64   `json:"confirm_p99_us"`
	FioPerS    float64 `json:"fio_flushes_per_s"`
	Ratio      float64 `json:"messages_per_fio_flush"`
	// Floor is what a server reaches that only flushes and answers.
	Floor float64 `json:"server_that_only_flushes_per_s"`
}

// clusterNodes is how many members the cluster has that a broker alone is compared with.
const clusterNodes = 3

// brokers measures a broker alone, and a cluster, by turns with fio's flushes.
func (o *journalOptions) brokers(ctx context.Context, dir string, f *fio, res *journalResults) error {
	for _, nodes := range []int{1, clusterNodes} {
		if err := o.cluster(ctx, filepath.Join(dir, fmt.Sprintf("brokers%d", nodes)), nodes, 0, f, res); err != nil {
			return err
		}
	}
	return nil
}

func (o *journalOptions) cluster(ctx context.Context, dir string, nodes int, flush time.Duration, f *fio, res *journalResults) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	c, err := peers.StartQpidd(ctx, peers.Options{Dir: dir, Nodes: nodes, Alone: nodes == 1, Binary: o.Binary,
		Args: []string{"--store-dir=" + filepath.Join(dir, "store%n")}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	for range o.Rounds {
		for _, n := range publishers {
			l := load.Defaults()
			l.ProducerURLs, l.DeclareURL, l.Consumers = c.URLs()[:1], c.URLs()[0], 0
			l.Producers, l.InFlight = n, 1
			l.WarmUp, l.Duration = 500*time.Millisecond, time.Duration(o.Seconds*float64(time.Second))
			report, err := load.Run(ctx, l)
			if err != nil {
				return err
			}
			theirs, err := f.flush(ctx, o.Seconds)
			if err != nil {
				return err
			}
			least, err := floor(ctx, filepath.Join(dir, "floor"), n, l.WarmUp, l.Duration)
			if err != nil {
				return err
			}
			b := brokerFigures{nodes, flush.Seconds() * 1000, n, report.ConfirmedPerSecond, report.Confirm.P50, report.Confirm.P99, theirs.PerSecond, report.ConfirmedPerSecond / theirs.PerSecond, least}
			fmt.Fprintf(os.Stderr, "%d brokers, %3d publishers: %.0f messages/s, confirmed in %d us, p99 %d; fio %.0f flushes/s; ratio %.2f; a server that only flushes %.0f/s\n",
				nodes, n, b.PerSecond, b.P50, b.P99, b.FioPerS, b.Ratio, b.Floor)
			res.Brokers = append(res.Brokers, b)
		}
	}
	return wrote(filepath.Join(dir, "store1"))
}

// wrote makes sure that what was measured was on a disk.
func wrote(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*.segment"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("the broker has written nothing to %s", dir)
	}
	return err
}

// judgeBrokers holds a broker alone against what is wanted, and compares it with a cluster.
func (res *journalResults) judgeBrokers() {
	of := func(nodes, n int, flush time.Duration, figure func(*brokerFigures) float64) (list []float64) {
		for i := range res.Brokers {
			if b := &res.Brokers[i]; b.Nodes == nodes && b.Publishers == n && b.FlushMS == flush.Seconds()*1000 {
				list = append(list, figure(b))
			}
		}
		return list
	}
	rate := func(b *brokerFigures) float64 { return b.PerSecond }
	ratio := func(b *brokerFigures) float64 { return b.Ratio }
	least := func(b *brokerFigures) float64 { return b.Floor / b.FioPerS }
	for _, n := range publishers {
		ratios := of(1, n, 0, ratio)
		if len(ratios) == 0 {
			continue
		}
		res.groupTarget(fmt.Sprintf("%d publishers at a broker, messages for each of fio's flushes", n), n, ratios)
		res.Medians[fmt.Sprintf("%d clients of a server that only flushes and answers, for each of fio's flushes", n)] = middle(of(1, n, 0, least))
		res.Medians[fmt.Sprintf("%d publishers, three brokers against one", n)] = middle(of(clusterNodes, n, 0, rate)) / middle(of(1, n, 0, rate))
		if ratios = of(1, n, slowFlush, ratio); len(ratios) > 0 {
			res.groupTarget(fmt.Sprintf("%d publishers at a broker, a flush takes %v, messages for each of fio's flushes", n, slowFlush), n, ratios)
			res.Medians[fmt.Sprintf("%d clients of a server that only flushes and answers, a flush takes %v, for each of fio's flushes", n, slowFlush)] = middle(of(1, n, slowFlush, least))
		}
	}
}
