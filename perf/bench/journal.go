package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// The journal benchmark: what the journal gets out of a disk, against what fio does in the same
// directory, by turns.

type journalOptions struct {
	Rounds   int
	Seconds  float64
	Messages int
	common
}

// What is asked of the journal.
const (
	wantOfSequential = 0.85
	wantOfFlushes    = 0.80
	wantOfReading    = 0.60
	wantGrouped      = 50 // times the flush rate, with 128 publishers
)

// appendSizes are the messages that are appended.
var appendSizes = []int{1 << 10, 16 << 10, 256 << 10}

// publishers are how many have one message each under way.
var publishers = []int{1, 16, 128}

func journalCommand() *cobra.Command {
	o := journalOptions{Rounds: 3, Seconds: 3, Messages: 10_000_000, common: common{Binary: "bin/qpidd", Dir: ".", Output: "perf/results/journal.json"}}
	c := benchCommand("journal", "The journal against fio on the same file system", o.run)
	f := c.Flags()
	f.IntVar(&o.Rounds, "rounds", o.Rounds, "how often each is measured, by turns")
	f.Float64Var(&o.Seconds, "seconds", o.Seconds, "how long each time")
	f.IntVar(&o.Messages, "messages", o.Messages, "how many messages are recovered")
	o.flags(f, "the journal's files, on the file system to be measured,")
	return c
}

type journalResults struct {
	record
	Fio        string             `json:"fio"`
	Disk       string             `json:"disk"`
	Sequences  []sequence         `json:"sequential"`
	Groups     []group            `json:"publishers_on_the_journal"`
	Messages   int                `json:"messages_recovered,omitempty"`
	Recoveries []recoveryFigures  `json:"recoveries,omitempty"`
	Brokers    []brokerFigures    `json:"publishers_on_brokers,omitempty"`
	Medians    map[string]float64 `json:"median_ratios"`
}

// sequence is one round of messages of one size: ours, and fio's with blocks as long as our runs.
type sequence struct {
	logFigures
	FioBytesPerS float64 `json:"fio_bytes_per_s"`
	Ratio        float64 `json:"ratio"`
}

// group is one round of so many publishers, and fio's flushes.
type group struct {
	Publishers int `json:"publishers"`
	logFigures
	FioPerS float64 `json:"fio_flushes_per_s"`
	Ratio   float64 `json:"messages_per_fio_flush"`
}

func (o *journalOptions) run(ctx context.Context) error {
	return inDirectory(o.Dir, func(dir string) error {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		res, err := o.measure(ctx, dir)
		if err != nil {
			return err
		}
		res.judge()
		return o.Output.keep(res, os.Stdout)
	})
}

func (o *journalOptions) measure(ctx context.Context, dir string) (*journalResults, error) {
	f, err := findFio(dir)
	if err != nil {
		return nil, err
	}
	res := &journalResults{record: newRecord(o.Binary), Fio: f.version, Medians: map[string]float64{}}
	res.How = fmt.Sprintf("the journal with its own disk, in one process without a broker, and fio, by turns, %d rounds of %gs; "+
		"fio writes a file over and over with direct I/O, blocks as long as the journal's runs were on average and %d in flight, "+
		"or 4 KiB and one fdatasync each. Recovery is without a checkpoint, from files that are not in memory. Then publishers with "+
		"one durable message each under way, at one broker and at one of three, which all write to this disk, load generator on the "+
		"same host; each beside a server that only writes, flushes and answers, on the same disk; and once more on a disk of which nothing else is slow but that a flush takes %v. Ratios are of one round, and their medians count",
		o.Rounds, o.Seconds, disk.DefaultDepth, slowFlush)
	err = o.withLog(filepath.Join(dir, "journal"), func(d *logDriver) error {
		_, res.Disk, _ = strings.Cut(d.disk.Describe(), ": ")
		for range o.Rounds {
			if err := errors.Join(o.sequences(ctx, d, f, res), o.groups(ctx, d, f, res)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && o.Messages > 0 {
		err = o.recover(ctx, filepath.Join(dir, "recovery"), f, res)
	}
	if err == nil && o.Binary != "" {
		err = errors.Join(o.brokers(ctx, dir, f, res), o.slowly(ctx, filepath.Join(dir, "slow"), res))
	}
	return res, errors.Join(err, f.clean())
}

// withLog gives do a log whose files are used for the second time, as those of a broker are that
// has run for a while.
func (o *journalOptions) withLog(dir string, do func(*logDriver) error) (err error) {
	d, err := openLog(dir, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if _, err := d.start(&keeper{log: d.log}); err != nil {
		return err
	}
	if err := d.fill(64<<10, 3<<30); err != nil {
		return err
	}
	// The files that the log has removed meanwhile keep the file system busy for a while.
	if _, err := d.measure(64<<10, 0, 2*time.Second); err != nil {
		return err
	}
	return do(d)
}

func (o *journalOptions) sequences(ctx context.Context, d *logDriver, f *fio, res *journalResults) error {
	for _, size := range appendSizes {
		ours, err := d.measure(size, 0, time.Duration(o.Seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		const block = 4096
		theirs, err := f.write(ctx, (ours.RunBytes+block-1)/block*block, disk.DefaultDepth, o.Seconds)
		if err != nil {
			return err
		}
		s := sequence{ours, theirs.BytesPerSecond, ours.BytesPerSecond / theirs.BytesPerSecond}
		fmt.Fprintf(os.Stderr, "%4d KiB: %s; fio %.0f MiB/s; ratio %.2f\n", size>>10, &s.logFigures, theirs.BytesPerSecond/mib, s.Ratio)
		res.Sequences = append(res.Sequences, s)
	}
	return nil
}

func (o *journalOptions) groups(ctx context.Context, d *logDriver, f *fio, res *journalResults) error {
	for _, n := range publishers {
		const size = 256
		ours, err := d.measure(size, n, time.Duration(o.Seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		theirs, err := f.flush(ctx, o.Seconds)
		if err != nil {
			return err
		}
		g := group{n, ours, theirs.PerSecond, ours.PerSecond / theirs.PerSecond}
		fmt.Fprintf(os.Stderr, "%4d publishers: %s; fio %.0f flushes/s; ratio %.2f\n", n, &g.logFigures, g.FioPerS, g.Ratio)
		res.Groups = append(res.Groups, g)
	}
	return nil
}

func (f *logFigures) String() string {
	return fmt.Sprintf("%.0f messages/s, %.0f MiB/s in runs of %d KiB, %.0f flushes/s, %.2f us of CPU and %.3f allocations a message, %.3f bytes a byte",
		f.PerSecond, f.BytesPerSecond/mib, f.RunBytes>>10, f.FlushesPerS, f.CPU, f.Allocations, f.Amplification)
}

func (res *journalResults) judge() {
	allocations := 0.0
	for _, size := range appendSizes {
		var ratios []float64
		for i := range res.Sequences {
			if s := &res.Sequences[i]; s.Size == size {
				ratios = append(ratios, s.Ratio)
				if size == 1<<10 {
					allocations = max(allocations, s.Allocations)
				}
			}
		}
		name := fmt.Sprintf("appending %d KiB, of fio's speed", size>>10)
		res.Medians[name] = middle(ratios)
		res.atLeast(name, middle(ratios), wantOfSequential)
	}
	for _, n := range publishers {
		var ratios []float64
		for i := range res.Groups {
			if g := &res.Groups[i]; g.Publishers == n {
				ratios = append(ratios, g.Ratio)
			}
		}
		res.groupTarget(fmt.Sprintf("%d appenders, messages for each of fio's flushes", n), n, ratios)
	}
	res.below("allocations per message of 1 KiB", allocations, 0.01)
	var ofReading []float64
	for i := range res.Recoveries {
		ofReading = append(ofReading, res.Recoveries[i].OfReading)
	}
	if len(ofReading) > 0 {
		res.atLeast("recovery, of the speed of reading the files", middle(ofReading), wantOfReading)
	}
	res.judgeBrokers()
}

// groupTarget holds what n publishers reach against what is wanted.
func (res *journalResults) groupTarget(name string, n int, ratios []float64) {
	res.Medians[name] = middle(ratios)
	switch n {
	case 1:
		res.atLeast(name, middle(ratios), wantOfFlushes)
	case 128:
		res.atLeast(name, middle(ratios), wantGrouped)
	}
}

func (res *journalResults) print(w io.Writer) {
	res.printMachine(w)
	fmt.Fprintf(w, "%s; %s\n\n", res.Disk, res.Fio)
	for _, name := range slices.Sorted(maps.Keys(res.Medians)) {
		fmt.Fprintf(w, "%8.2f  %s\n", res.Medians[name], name)
	}
	fmt.Fprintln(w)
	res.printTargets(w)
}
