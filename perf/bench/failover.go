package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// The failover benchmark: three members with default settings, a producer at a fixed rate on
// one, a consumer on another. A member is killed, which the clients of the others should
// hardly notice; its own clients go on with another member. Then it is started again.

type failoverOptions struct {
	Cycles  int
	Rate    float64
	WarmUp  time.Duration
	Before  time.Duration
	After   time.Duration
	members int
	common
}

// wantGap is what clients of the survivors may notice at most.
const wantGap = 500 * time.Millisecond

// wantView is how soon the survivors are to be a cluster of their own, in milliseconds.
const wantView = 100

func failoverCommand() *cobra.Command {
	o := failoverOptions{
		Cycles: 2, Rate: 1000, WarmUp: time.Second, Before: time.Second, After: 3 * time.Second, members: 3,
		common: common{Binary: "bin/qpidd", Dir: "/dev/shm", Output: "perf/results/failover.json"},
	}
	c := benchCommand("failover", "What clients notice when a member is killed", o.run)
	f := c.Flags()
	f.IntVar(&o.Cycles, "cycles", o.Cycles, "how often each kind of round is run")
	f.Float64Var(&o.Rate, "rate", o.Rate, "messages a second")
	f.DurationVar(&o.Before, "before", o.Before, "how long to measure before the kill")
	f.DurationVar(&o.After, "after", o.After, "how long to measure after it")
	o.flags(f, "logs")
	return c
}

// failoverRound is one kill.
type failoverRound struct {
	Round  int    `json:"round"`
	Killed string `json:"killed"`
	// At is when, since the load began.
	At float64 `json:"killed_at_ms"`
	// What the killed member was: the ring's representative, the queue's dispatcher, and
	// whether it had clients itself.
	Representative bool   `json:"representative"`
	Dispatcher     bool   `json:"dispatcher"`
	Clients        string `json:"clients,omitempty"`

	// The longest gaps that ended after the kill, and the longest before it, which is what
	// the machine does to a broker that is well.
	ConfirmGap        float64 `json:"confirm_gap_ms"`
	DeliveryGap       float64 `json:"delivery_gap_ms"`
	ConfirmGapBefore  float64 `json:"confirm_gap_before_ms"`
	DeliveryGapBefore float64 `json:"delivery_gap_before_ms"`
	// NewView is until the last survivor had a view without the killed member.
	NewView float64 `json:"new_view_ms"`
	// Rejoin is how long the killed member took from its start until it served clients.
	Rejoin float64      `json:"rejoin_ms"`
	Load   *load.Report `json:"load"`

	victim, producer, consumer int
	anchored                   bool
	killedAt                   time.Time
}

type failoverResults struct {
	record
	Version  string `json:"version"`
	Settings string `json:"settings"`
	// OwnClientsGap is of clients that had to find another member, their pause of 200 ms
	// before they do included. It is not a target.
	OwnClientsGap float64          `json:"own_clients_gap_ms"`
	Rounds        []*failoverRound `json:"rounds"`
}

func (o *failoverOptions) run(ctx context.Context) error {
	return inDirectory(o.Dir, func(dir string) error {
		res, err := o.measure(ctx, dir)
		if err != nil {
			return err
		}
		res.judge()
		return o.Output.keep(res, os.Stdout)
	})
}

// plan lists the rounds of a cycle: each member in turn without clients of its own, one of
// them the ring's representative; the queue's dispatcher; and members with clients.
func (o *failoverOptions) plan(cycle int) (list []*failoverRound) {
	n := o.members
	for victim := range n {
		list = append(list, &failoverRound{victim: victim, producer: (victim + 1) % n, consumer: (victim + 2) % n})
	}
	v := cycle % n
	return append(list,
		&failoverRound{victim: v, producer: (v + 1) % n, consumer: (v + 2) % n, anchored: true, Dispatcher: true},
		&failoverRound{victim: v, producer: v, consumer: (v + 1) % n, Clients: "producer"},
		&failoverRound{victim: v, producer: (v + 1) % n, consumer: v, Clients: "consumer", Dispatcher: true},
	)
}

func (o *failoverOptions) measure(ctx context.Context, dir string) (res *failoverResults, err error) {
	c, err := peers.StartQpidd(ctx, peers.Options{Dir: dir, Nodes: o.members, Binary: o.Binary})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	res = &failoverResults{record: newRecord(o.Binary), Version: c.Name(), Settings: c.Settings()}
	res.How = fmt.Sprintf("three members on one host over loopback with default settings; a producer on one at %g messages a"+
		" second of 256 bytes, in an open loop, a consumer on another, all in one process on the same host; kill -9 of a"+
		" member, then %v more; the member is started again for the next round", o.Rate, o.After)
	for cycle := range o.Cycles {
		for _, r := range o.plan(cycle) {
			r.Round = len(res.Rounds) + 1
			if err := o.round(ctx, c, r); err != nil {
				return nil, fmt.Errorf("round %d: %w", r.Round, err)
			}
			res.Rounds = append(res.Rounds, r)
			fmt.Fprintf(os.Stderr, "round %d  %s\n", r.Round, r)
		}
	}
	return res, nil
}

func (o *failoverOptions) round(ctx context.Context, c *peers.Qpidd, r *failoverRound) error {
	first, err := c.Representative(ctx)
	if err != nil {
		return err
	}
	r.Killed, r.Representative = fmt.Sprintf("qpidd%d", r.victim+1), first == r.victim
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	var begin time.Time
	killed := make(chan error, 1)
	l := o.load(c, r)
	l.Started = func() {
		begin = time.Now()
		go func() { killed <- o.kill(ctx, c, r) }()
	}
	if r.Load, err = load.Run(ctx, l); err != nil {
		return err
	}
	if err := <-killed; err != nil {
		return err
	}
	r.gaps(r.killedAt.Sub(begin))
	begin = time.Now()
	if err := c.Start(ctx, r.victim); err != nil {
		return err
	}
	r.Rejoin = milliseconds(time.Since(begin))
	return nil
}

// load is what the clients do. Those whose member dies go on with a survivor.
func (o *failoverOptions) load(c *peers.Qpidd, r *failoverRound) load.Options {
	urls := c.URLs()
	from := func(i int) (list []string) {
		for k := range urls {
			if u := (i + k) % len(urls); k == 0 || u != r.victim {
				list = append(list, urls[u])
			}
		}
		return list
	}
	l := load.Defaults()
	l.ProducerURLs, l.ConsumerURLs, l.DeclareURL = from(r.producer), from(r.consumer), urls[(r.victim+1)%len(urls)]
	l.Rate, l.WarmUp, l.Duration = o.Rate, o.WarmUp, o.Before+o.After
	l.Reconnect, l.Gaps = r.Clients != "", keptGaps
	return l
}

// Limits of a round.
const (
	roundLimit = time.Minute
	keptGaps   = 64 // more than a noisy second before the kill has
)

// kill waits for its time and kills the member.
func (o *failoverOptions) kill(ctx context.Context, c *peers.Qpidd, r *failoverRound) error {
	if r.anchored {
		conn, err := anchor(c.URLs()[r.victim], load.Defaults().Queue)
		if err != nil {
			return err
		}
		defer conn.Close() // its end is dead by then
	}
	if err := pause(ctx, o.WarmUp+o.Before); err != nil {
		return err
	}
	views, err := o.watchViews(c, r.victim)
	if err != nil {
		return err
	}
	r.killedAt = time.Now()
	if err := c.Kill(r.victim); err != nil {
		return err
	}
	r.NewView, err = views(ctx, r.killedAt)
	return err
}

// watchViews looks at what the survivors write into their logs from here on: that a member
// left, which they write as they get the new view.
func (o *failoverOptions) watchViews(c *peers.Qpidd, victim int) (func(context.Context, time.Time) (float64, error), error) {
	from := map[string]int64{}
	for i := range o.members {
		if i == victim {
			continue
		}
		info, err := os.Stat(c.Log(i))
		if err != nil {
			return nil, err
		}
		from[c.Log(i)] = info.Size()
	}
	return func(ctx context.Context, killed time.Time) (float64, error) {
		for len(from) > 0 {
			for path, size := range from {
				b, err := os.ReadFile(path)
				if err != nil {
					return 0, err
				}
				if bytes.Contains(b[size:], []byte("member left")) {
					delete(from, path)
				}
			}
			if err := pause(ctx, time.Millisecond); err != nil {
				return 0, fmt.Errorf("a survivor got no new view: %w", err)
			}
		}
		return milliseconds(time.Since(killed)), nil
	}, nil
}

// anchor makes a member a queue's dispatcher, which is the one with most consumers. Each of
// them takes one message and keeps it, until the member dies and the message goes elsewhere.
func anchor(url, queue string) (*amqp.Connection, error) {
	const consumers = 2 // more than the load has
	conn, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	for range consumers {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Qos(1, 0, false)
		}
		if err == nil {
			_, err = ch.Consume(queue, "", false, false, false, false, nil)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// gaps takes the longest gaps that ended before the kill and after it.
func (r *failoverRound) gaps(kill time.Duration) {
	r.At = milliseconds(kill)
	split := func(list []load.Gap) (before, after float64) {
		for _, g := range list {
			if g.End() < kill {
				before = max(before, milliseconds(g.Length))
			} else {
				after = max(after, milliseconds(g.Length))
			}
		}
		return before, after
	}
	r.ConfirmGapBefore, r.ConfirmGap = split(r.Load.ConfirmGaps)
	r.DeliveryGapBefore, r.DeliveryGap = split(r.Load.DeliveryGaps)
	r.Load.ConfirmGaps, r.Load.DeliveryGaps = longest(r.Load.ConfirmGaps), longest(r.Load.DeliveryGaps)
}

// longest is what is written down of the gaps.
func longest(list []load.Gap) []load.Gap { return list[:min(len(list), 5)] }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r *failoverRound) String() string {
	what := ""
	if r.Representative {
		what += " representative"
	}
	if r.Dispatcher {
		what += " dispatcher"
	}
	if r.Clients != "" {
		what += " " + r.Clients + "'s"
	}
	return fmt.Sprintf("%s%-28s gaps: confirms %7.1f ms (before %5.1f), deliveries %7.1f ms (before %5.1f); lost %d, twice %d; new view %.0f ms, back in %.0f ms",
		r.Killed, what, r.ConfirmGap, r.ConfirmGapBefore, r.DeliveryGap, r.DeliveryGapBefore,
		r.Load.Lost, r.Load.Duplicates, r.NewView, r.Rejoin)
}

// judge holds the rounds against what is wanted.
func (res *failoverResults) judge() {
	var confirm, delivery, own, view float64
	var lost, twice uint64
	missed := uint64(0)
	for _, r := range res.Rounds {
		lost += r.Load.Lost
		view = max(view, r.NewView)
		if r.Clients != "" {
			own = max(own, r.ConfirmGap, r.DeliveryGap)
			continue
		}
		twice += r.Load.Duplicates
		confirm, delivery = max(confirm, r.ConfirmGap), max(delivery, r.DeliveryGap)
		if max(r.ConfirmGap, r.DeliveryGap) >= milliseconds(wantGap) {
			missed++
		}
	}
	res.below("survivors: longest time without a confirm, ms", confirm, milliseconds(wantGap))
	res.below("survivors: longest time without a delivery, ms", delivery, milliseconds(wantGap))
	res.below("survivors: longest time until the new view, ms", view, wantView)
	res.none("survivors: rounds with a longer gap", missed)
	res.none("survivors: delivered twice", twice)
	res.none("all rounds: confirmed and lost", lost)
	res.OwnClientsGap = own
}

func (res *failoverResults) print(w io.Writer) {
	res.printMachine(w)
	for _, r := range res.Rounds {
		fmt.Fprintf(w, "%2d  %s\n", r.Round, r)
	}
	fmt.Fprintf(w, "\nlongest gap of clients that lost their own member: %.0f ms\n\n", res.OwnClientsGap)
	res.printTargets(w)
}
