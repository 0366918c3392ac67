package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The cluster benchmark: three nodes each of this broker, RabbitMQ and NATS, all up at once,
// and measured in turn, round after round, so that whatever else the machine does falls on
// all of them alike. A producer is on one member, a consumer on another.

// The systems, by the names of --systems.
const (
	qpidd    = "qpidd"
	rabbitmq = "rabbitmq"
	natsName = "nats"
)

// compareOptions are what systems are compared by.
type compareOptions struct {
	turns
	common
	Systems  []string
	Rate     float64
	Profile  string
	AckEvery int
	alone    bool // one node of each, without a cluster
	chosen   []cell
}

// cell is one thing that is measured of every system.
type cell struct {
	Name     string  `json:"name"`
	Protocol string  `json:"protocol,omitempty"` // else the system's own
	Size     int     `json:"size_bytes"`
	Rate     float64 `json:"rate_per_s"`
}

func (o *compareOptions) cells() []cell {
	if o.alone {
		return standaloneCells()
	}
	if o.chosen != nil {
		return o.chosen
	}
	return []cell{
		{Name: "throughput 256 B", Size: 256},
		{Name: "throughput 1 KiB", Size: 1024},
		{Name: fmt.Sprintf("latency at %.0f/s", o.Rate), Size: 256, Rate: o.Rate},
	}
}

func clusterCommand() *cobra.Command {
	o := compareOptions{
		Systems: []string{qpidd, rabbitmq, natsName}, turns: turns{3, 5 * time.Second, 2 * time.Second}, Rate: 200,
		common:  common{Binary: "bin/qpidd", Dir: "/dev/shm", Output: "perf/results/cluster.json"},
		Profile: "perf/results/cluster-profile.txt", AckEvery: load.Defaults().AckEvery,
	}
	c := benchCommand("cluster", "Three brokers against RabbitMQ's quorum queues and JetStream, three nodes each", o.run)
	o.compareFlags(c.Flags())
	c.Flags().Float64Var(&o.Rate, "rate", o.Rate, "messages a second of the latency cell")
	c.Flags().StringVar(&o.Profile, "profile", o.Profile,
		"where a profile of our brokers goes, taken afterwards; empty is none")
	return c
}

func (o *compareOptions) compareFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Systems, "systems", o.Systems, "which to run; the targets need all")
	o.turns.flags(f)
	f.IntVar(&o.AckEvery, "ack-every", o.AckEvery, "consumers acknowledge so many at once")
	o.common.flags(f, "the files of all, in memory so that no disk is measured,")
}

// system is a running cluster with the protocol it is spoken to in.
type system struct {
	name     string
	protocol string
	cluster  peers.Cluster
	idle     float64 // cores used while nobody talks to it
}

func (o *compareOptions) run(ctx context.Context) error {
	return inDirectory(o.Dir, func(dir string) error {
		res, err := o.compare(ctx, dir)
		if err != nil {
			return err
		}
		if err := o.Output.keep(res, os.Stdout); err != nil || o.Output == "" || o.Profile == "" {
			return err
		}
		return o.profile(ctx, filepath.Join(dir, "profile"))
	})
}

func (o *compareOptions) compare(ctx context.Context, dir string) (res *results, err error) {
	var systems []*system
	defer func() {
		for _, s := range systems {
			err = errors.Join(err, s.cluster.Stop())
		}
	}()
	for _, name := range o.Systems {
		fmt.Fprintf(os.Stderr, "starting %s\n", name)
		s, err := o.start(ctx, dir, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		systems = append(systems, s)
	}
	if err := measureIdle(ctx, systems); err != nil {
		return nil, err
	}
	runs, err := o.measure(ctx, systems)
	if err != nil {
		return nil, err
	}
	return o.results(systems, runs), nil
}

func (o *compareOptions) start(ctx context.Context, dir, name string) (*system, error) {
	s := &system{name: name, protocol: load.AMQP091}
	build, _, isBuild := strings.Cut(name, "=")
	p := peers.Options{Dir: filepath.Join(dir, build), Nodes: 3}
	if o.alone {
		p.Nodes, p.Alone, p.Plugins = 1, true, []string{"rabbitmq_amqp1_0"}
	}
	err := os.MkdirAll(p.Dir, 0o700)
	if err != nil {
		return nil, err
	}
	if isBuild {
		return startBuild(ctx, p, name)
	}
	switch name {
	case qpidd:
		p.Binary = o.Binary
		s.cluster, err = peers.StartQpidd(ctx, p)
	case rabbitmq:
		s.cluster, err = peers.StartRabbitMQ(ctx, p)
	case natsName:
		s.protocol = load.NATS
		p.Binary = filepath.Join(p.Dir, "nats-server")
		if err = peers.BuildNATS(ctx, "perf/peers/natsd", p.Binary); err == nil {
			s.cluster, err = peers.StartNATS(ctx, p)
		}
	default:
		err = fmt.Errorf("no such system: use %s, %s, %s", qpidd, rabbitmq, natsName)
	}
	return s, err
}

// idleTime is how long to look at what systems use that have nothing to do.
const idleTime = 3 * time.Second

func measureIdle(ctx context.Context, systems []*system) error {
	before := make([]peers.Node, len(systems))
	for i, s := range systems {
		nodes, err := s.cluster.Nodes()
		if err != nil {
			return err
		}
		before[i] = peers.Total(nodes)
	}
	if err := pause(ctx, idleTime); err != nil {
		return err
	}
	for i, s := range systems {
		nodes, err := s.cluster.Nodes()
		if err != nil {
			return err
		}
		s.idle = (peers.Total(nodes).CPU - before[i].CPU).Seconds() / idleTime.Seconds()
	}
	return nil
}

// measured is one cell of one system in one round.
type measured struct {
	System string `json:"system"`
	Cell   string `json:"cell"`
	Round  int    `json:"round"`
	// CPU is what the cluster used for each message, warm-up and end included.
	CPU         float64   `json:"cluster_cpu_us_per_message"`
	MemoryBytes int64     `json:"cluster_memory_bytes"`
	Nodes       []nodeUse `json:"nodes"`
	// OtherCores is what else the machine did meanwhile. Where that is not next to nothing,
	// latencies tell more of it than of the brokers.
	OtherCores float64      `json:"other_cores"`
	Load       *load.Report `json:"load"`
}

// nodeUse is what one node used: the first is the producer's, the second the consumer's.
type nodeUse struct {
	Name        string  `json:"name"`
	CPU         float64 `json:"cpu_us_per_message"`
	MemoryBytes int64   `json:"memory_bytes"`
}

// throughput is the rate at which messages went through: in and out again.
func (m *measured) throughput() float64 {
	return min(m.Load.ConfirmedPerSecond, m.Load.ConsumedPerSecond)
}

func (o *compareOptions) measure(ctx context.Context, systems []*system) (list []measured, err error) {
	for round := range o.Rounds {
		for _, c := range o.cells() {
			// Each round begins with another system, so that none always follows the same.
			order := slices.Concat(systems[round%len(systems):], systems[:round%len(systems)])
			for _, s := range order {
				m, err := o.one(ctx, s, c, round)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", s.name, c.Name, err)
				}
				list = append(list, m)
				fmt.Fprintf(os.Stderr, "round %d  %-18s %-10s %8.0f/s  confirmed p99 %8.3f ms  end to end p99 %8.3f ms  %6.1f us CPU, others %.2f cores\n",
					round+1, c.Name, s.name, m.throughput(), float64(m.Load.Confirm.P99)/1000,
					float64(m.Load.EndToEnd.P99)/1000, m.CPU, m.OtherCores)
			}
		}
	}
	return list, nil
}

func (o *compareOptions) one(ctx context.Context, s *system, c cell, round int) (m measured, err error) {
	urls := s.cluster.URLs()
	l := load.Defaults()
	l.Protocol = s.protocol
	l.ProducerURLs, l.ConsumerURLs = urls[:1], urls[:1]
	if len(urls) > 1 {
		l.ConsumerURLs = urls[1:2]
	} else {
		l.QueueType = "classic"
	}
	if c.Protocol != "" {
		l.Protocol = c.Protocol
	}
	if s.name == rabbitmq {
		l.Prefix100 = "/amq/queue/"
	}
	// RabbitMQ puts a queue's leader where it was declared, and is faster with it there.
	l.DeclareURL = urls[0]
	l.Size, l.Rate, l.Duration, l.WarmUp, l.AckEvery = c.Size, c.Rate, o.Duration, o.WarmUp, o.AckEvery
	before, err := s.cluster.Nodes()
	if err != nil {
		return m, err
	}
	busy, begin := busyTime(), time.Now()
	r, err := load.Run(ctx, l)
	if err != nil {
		return m, err
	}
	busy, took := busyTime()-busy, time.Since(begin)
	after, err := s.cluster.Nodes()
	ours := peers.Total(after).CPU - peers.Total(before).CPU + time.Duration(r.CPU*float64(r.Sent))*time.Microsecond
	m.OtherCores = max(0, (busy-ours).Seconds()/took.Seconds())
	m.System, m.Cell, m.Round, m.Load = s.name, c.Name, round+1, r
	m.use(before, after)
	return m, err
}

func (m *measured) use(before, after []peers.Node) {
	each := float64(max(m.Load.Confirmed, 1))
	for i := range after {
		n := nodeUse{after[i].Name, float64((after[i].CPU - before[i].CPU).Microseconds()) / each, after[i].MemoryBytes}
		m.Nodes = append(m.Nodes, n)
		m.CPU += n.CPU
		m.MemoryBytes += n.MemoryBytes
	}
}
