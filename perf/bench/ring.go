package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// Names of what is measured. Tuned is corosync with what was found to serve it best here.
const (
	ourRing       = "qpidd"
	corosyncAsIs  = "corosync"
	corosyncTuned = "corosync, tuned"
	tuning        = "\twindow_size: 300\n\tmax_messages: 100"
	rawLink       = "link without protocol"
)

type ringOptions struct {
	turns
	Sizes   []int
	Deaths  int
	Members []int
	Dir     string
	Output  output
	Plot    string
}

func ringCommand() *cobra.Command {
	o := ringOptions{
		turns: turns{2, 2 * time.Second, 500 * time.Millisecond}, Sizes: []int{64, 256, 1024, 8192, 65536},
		Deaths: 1, Members: []int{3, 5, 7, 9}, Dir: os.TempDir(), Output: "perf/results/ring.json", Plot: "perf/results/ring-members.svg",
	}
	c := benchCommand("ring", "Our ring against corosync's, in three network namespaces (root)", o.run)
	f := c.Flags()
	f.IntSliceVar(&o.Sizes, "sizes", o.Sizes, "of messages, in bytes")
	o.flags(f)
	f.IntVar(&o.Deaths, "deaths", o.Deaths, "how often a member is killed")
	f.IntSliceVar(&o.Members, "members", o.Members, "rings of ours to compare; empty is none")
	f.StringVar(&o.Dir, "dir", o.Dir, "where corosync keeps its files; it does not see what is below /run and /dev/shm")
	o.Output.flag(f)
	f.StringVar(&o.Plot, "plot", o.Plot, "where the drawing of rings of several sizes goes")
	return c
}

// ringResults is the file.
type ringResults struct {
	record
	Figures   []ringFigures      `json:"medians"`
	Latencies []ringLatency      `json:"latencies"`
	Idle      map[string]float64 `json:"idle_cores_per_member"`
	Deaths    map[string]float64 `json:"new_view_after_death_ms"` // without evidence, by timeouts
	Members   []ringFigures      `json:"members,omitempty"`       // Senders is how many members there are
	Runs      []ringFigures      `json:"runs"`
}

const ringHosts = 3

func (o *ringOptions) run(ctx context.Context) error {
	return inDirectory(o.Dir, func(dir string) error {
		ours, theirs, err := buildRingload(ctx, dir)
		if err != nil {
			return err
		}
		res := &ringResults{record: newRecord(ours), Idle: map[string]float64{}, Deaths: map[string]float64{}}
		res.How = fmt.Sprintf("three network namespaces on a bridge, veth, MTU 1500; one member on each; medians of %d rounds of %v."+
			" A message counts where the fewest arrive. Our CPU is that of whole load programs, corosync's that of its daemons", o.Rounds, o.Duration)
		net := network(ringHosts)
		defer net.Close()
		for round := range o.Rounds {
			if err := o.round(ctx, net, dir, ours, theirs, round, res); err != nil {
				return err
			}
		}
		net.Close()
		if err := o.rings(ctx, ours, res); err != nil {
			return err
		}
		res.summarise()
		if err := o.Output.keep(res, os.Stdout); err != nil || o.Output == "" {
			return err
		}
		return o.plot(res)
	})
}

// ourSystem is the load program itself.
func ourSystem(net *netlab.Network, program string) *ringSystem {
	return &ringSystem{
		name: ourRing,
		line: func(host int) []string {
			return net.Hosts[host].Line(program, "-node", strconv.Itoa(host+1), "-address", net.Hosts[host].IP)
		},
		daemon: func(int) int { return 0 },
	}
}

func corosyncSystem(name string, c *peers.Corosync, dir, totem, program string) *ringSystem {
	return &ringSystem{
		name:   name,
		line:   func(host int) []string { return c.Beside(host, program) },
		daemon: c.PID,
		kill:   c.Kill,
		start:  func(host int) error { return c.Start(dir, totem, host) },
	}
}

// round measures each system once; corosync's daemons run only in their turn, as two of a kind
// cannot be on one host.
func (o *ringOptions) round(ctx context.Context, net *netlab.Network, dir, ours, theirs string, round int, res *ringResults) error {
	turns := []func() error{
		func() error { return o.system(ctx, ourSystem(net, ours), round, res) },
		func() error { return o.corosync(ctx, net, dir, corosyncAsIs, "", theirs, round, res) },
		func() error { return o.corosync(ctx, net, dir, corosyncTuned, tuning, theirs, round, res) },
	}
	for i := range turns {
		if err := turns[(i+round)%len(turns)](); err != nil {
			return err
		}
	}
	return nil
}

func (o *ringOptions) corosync(ctx context.Context, net *netlab.Network, dir, name, totem, program string, round int, res *ringResults) (err error) {
	dir = filepath.Join(dir, strconv.Itoa(round)+name)
	c, err := peers.StartCorosync(ctx, net, dir, totem)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	return o.system(ctx, corosyncSystem(name, c, dir, totem, program), round, res)
}

func (o *ringOptions) system(ctx context.Context, s *ringSystem, round int, res *ringResults) error {
	for _, size := range o.Sizes {
		for _, senders := range []int{1, ringHosts} {
			f, err := s.flood(ctx, ringHosts, size, senders, "flood", o.WarmUp, o.Duration)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			f.say(os.Stderr, round)
			res.Runs = append(res.Runs, f)
		}
	}
	if s.daemon(0) == 0 { // what the link under our ring carries at most
		raw := *s
		raw.name = rawLink
		f, err := raw.flood(ctx, ringHosts, 1455, 1, "raw", o.WarmUp, o.Duration)
		if err != nil {
			return err
		}
		f.say(os.Stderr, round)
		res.Runs = append(res.Runs, f)
	}
	l, err := s.latency(ctx, ringHosts, 64, 300, 10*time.Millisecond)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "round %d  %-22s at 100/s: own message after p50 %.0f us, p99 %.0f us\n", round+1, l.System, l.P50, l.P99)
	res.Latencies = append(res.Latencies, l)
	idle, err := s.idle(ctx, ringHosts, 5*time.Second)
	if err != nil {
		return err
	}
	res.Idle[s.name] = max(res.Idle[s.name], idle)
	if round >= o.Deaths {
		return nil
	}
	death, err := s.survived(ctx, ringHosts)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "round %d  %-22s idle %.2f %% of a core; new view %.0f ms after a death\n", round+1, s.name, 100*idle, death.Seconds()*1e3)
	res.Deaths[s.name] = max(res.Deaths[s.name], death.Seconds()*1e3)
	return nil
}

// rings compares rings of ours of several sizes: all members send.
func (o *ringOptions) rings(ctx context.Context, program string, res *ringResults) error {
	for _, members := range o.Members {
		net := network(members)
		f, err := ourSystem(net, program).flood(ctx, members, 1024, members, "flood", o.WarmUp, o.Duration)
		net.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d members: %.0f/s of 1 KiB, rotation %.0f us\n", members, f.PerSecond, f.RotationUs)
		res.Members = append(res.Members, f)
	}
	return nil
}

func (f *ringFigures) say(w io.Writer, round int) {
	fmt.Fprintf(w, "round %d  %-22s %6d B from %d: %9.0f/s %8.1f MB/s, %7.2f us CPU\n", round+1, f.System, f.Size, f.Senders,
		f.PerSecond, f.BytesPerS/1e6, f.CPUMicros)
}

func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return time.Duration(t.Nano())
}
