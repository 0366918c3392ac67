package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// The join benchmark: two members with stores and a deep queue, a producer at a fixed rate on one, a
// consumer on the other. A third member joins, with nothing; later it is killed, and comes back with
// what its store has. The clients of the two should hardly notice.

type joinOptions struct {
	Messages uint64
	Size     int
	Rounds   int
	Rate     float64
	Quiet    time.Duration
	common
}

// wantWait is how long a client of the others may wait at most, in milliseconds: half of what it takes
// until a token is given up for lost.
const wantWait = 500

func joinCommand() *cobra.Command {
	o := joinOptions{Messages: 2_000_000, Size: 1024, Rounds: 2, Rate: 500, Quiet: 5 * time.Second,
		common: common{Binary: "bin/qpidd", Dir: ".", Output: "perf/results/join.json"}}
	c := benchCommand("join", "What clients notice when a member joins a cluster with a deep queue", o.run)
	f := c.Flags()
	f.Uint64Var(&o.Messages, "messages", o.Messages, "in the deep queue")
	f.IntVar(&o.Size, "size", o.Size, "bytes of each")
	f.IntVar(&o.Rounds, "rounds", o.Rounds, "how often a member joins, and comes back")
	f.Float64Var(&o.Rate, "rate", o.Rate, "messages a second of the clients that should not notice")
	o.flags(f, "stores and logs, on a disk,")
	return c
}

// joinRound is one measurement.
type joinRound struct {
	What string       `json:"what"`
	Took float64      `json:"joined_after_ms,omitempty"`
	Load *load.Report `json:"load"`
}

type joinResults struct {
	record
	Version  string       `json:"version"`
	Messages uint64       `json:"messages"`
	Size     int          `json:"size_bytes"`
	Rounds   []*joinRound `json:"rounds"`
}

func (o *joinOptions) run(ctx context.Context) error {
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

func (o *joinOptions) measure(ctx context.Context, dir string) (res *joinResults, err error) {
	c, err := peers.StartQpidd(ctx, peers.Options{Dir: dir, Nodes: 2, Binary: o.Binary, Args: []string{"--store-dir=" + filepath.Join(dir, "store%n")}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	res = &joinResults{record: newRecord(o.Binary), Version: c.Name(), Messages: o.Messages, Size: o.Size}
	res.How = fmt.Sprintf("two members with stores on one host over loopback, %d durable messages of %d bytes in a queue; a producer on one at"+
		" %g durable messages a second in an open loop, a consumer on the other, all in one process on the same host; a third member"+
		" joins with an empty store, is killed, and comes back", o.Messages, o.Size, o.Rate)
	if err := o.fill(ctx, c.URLs()[0]); err != nil {
		return nil, err
	}
	third := filepath.Join(dir, "store3")
	for range o.Rounds {
		join := func(ctx context.Context) error { return c.Start(ctx, 2) }
		if len(c.URLs()) == 2 {
			join = c.Add
		} else if err := errors.Join(c.Kill(2), os.RemoveAll(third)); err != nil {
			return nil, err
		}
		for _, round := range []struct {
			what string
			do   func(context.Context) error
		}{{"quiet", nil}, {"a member joins", join}, {"it comes back", func(ctx context.Context) error { return c.Start(ctx, 2) }}} {
			if round.what == "it comes back" {
				if err := c.Kill(2); err != nil {
					return nil, err
				}
			}
			r, err := o.round(ctx, c.URLs(), round.what, round.do)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", round.what, err)
			}
			fmt.Fprintf(os.Stderr, "%-16s %s\n", r.What, r)
			res.Rounds = append(res.Rounds, r)
		}
	}
	return res, nil
}

// fill makes the deep queue.
func (o *joinOptions) fill(ctx context.Context, url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if _, err := ch.QueueDeclare("deep", true, false, false, false, nil); err != nil {
		return err
	}
	l := load.Defaults()
	l.ProducerURLs, l.Queue, l.Declare = []string{url}, "deep", false
	l.Producers, l.Consumers, l.InFlight, l.Size, l.Count = 2, 0, 1024, o.Size, o.Messages
	l.WarmUp, l.Duration = 0, time.Hour
	_, err = load.Run(ctx, l)
	return err
}

// round measures while something is done, and a moment longer.
func (o *joinOptions) round(ctx context.Context, urls []string, what string, do func(context.Context) error) (r *joinRound, err error) {
	r = &joinRound{What: what}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := load.Defaults()
	l.ProducerURLs, l.ConsumerURLs, l.Rate = urls[:1], urls[1:2], o.Rate
	l.WarmUp, l.Duration = time.Second, o.Quiet
	if do == nil {
		r.Load, err = load.Run(ctx, l)
		return r, err
	}
	// How long it takes is not known before: the run ends when it is over.
	l.Duration = time.Hour
	over := make(chan error, 1)
	l.Started = func() {
		go func() {
			defer cancel()
			err := pause(ctx, l.WarmUp+time.Second)
			begin := time.Now()
			if err == nil {
				err = do(ctx)
			}
			r.Took = milliseconds(time.Since(begin))
			over <- errors.Join(err, pause(ctx, time.Second))
		}()
	}
	r.Load, err = load.Run(ctx, l)
	return r, errors.Join(err, <-over)
}

// waited is the longest that a client waited, in milliseconds.
func (r *joinRound) waited() float64 {
	return float64(max(r.Load.Confirm.Max, r.Load.EndToEnd.Max)) / 1000
}

func (r *joinRound) String() string {
	return fmt.Sprintf("%6.0f ms; confirmed p50 %.1f, p99 %.1f, max %.1f ms; consumed p50 %.1f, p99 %.1f, max %.1f ms", r.Took,
		float64(r.Load.Confirm.P50)/1000, float64(r.Load.Confirm.P99)/1000, float64(r.Load.Confirm.Max)/1000,
		float64(r.Load.EndToEnd.P50)/1000, float64(r.Load.EndToEnd.P99)/1000, float64(r.Load.EndToEnd.Max)/1000)
}

func (res *joinResults) judge() {
	for _, r := range res.Rounds {
		res.atMost(r.What+", the longest wait, ms", r.waited(), wantWait)
		res.none(r.What+", connections lost", r.Load.Failures)
	}
}

func (res *joinResults) print(w io.Writer) {
	res.printMachine(w)
	for _, r := range res.Rounds {
		fmt.Fprintf(w, "%-16s %s\n", r.What, r)
	}
	fmt.Fprintln(w)
	res.printTargets(w)
}
