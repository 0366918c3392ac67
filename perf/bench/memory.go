package main

import (
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

// The memory benchmark: a backlog in a queue of three members, a fourth that joins and so has
// to be given all of it, and a consumer that takes it.

type memoryOptions struct {
	Count uint64
	Size  int
	Rest  time.Duration
	common
}

// What a million messages of 1 KiB may cost each member.
const (
	wantResidentMiB = 1.3 * 1024
	wantHeapMiB     = 150
	mib             = 1 << 20
)

func memoryCommand() *cobra.Command {
	o := memoryOptions{
		Count: 1_000_000, Size: 1024, Rest: 5 * time.Second,
		common: common{Binary: "bin/qpidd", Dir: "/dev/shm", Output: "perf/results/memory.json"},
	}
	c := benchCommand("memory", "What queued messages cost", o.run)
	f := c.Flags()
	f.Uint64Var(&o.Count, "count", o.Count, "how many messages; the targets are for a million")
	f.IntVar(&o.Size, "size", o.Size, "bytes of a message's body; the targets are for 1024")
	f.DurationVar(&o.Rest, "rest", o.Rest, "how long to wait before looking at brokers at rest")
	o.flags(f, "logs")
	return c
}

// memoryPhase is how the members were at one time.
type memoryPhase struct {
	Name    string         `json:"name"`
	Members []memberMemory `json:"members"`
}

type memberMemory struct {
	Name          string `json:"name"`
	ResidentBytes int64  `json:"resident_bytes"`
	PeakBytes     int64  `json:"resident_peak_bytes"`
	Heap          heap   `json:"go_heap"`
}

type memoryResults struct {
	record
	Version  string        `json:"version"`
	Settings string        `json:"settings"`
	Count    uint64        `json:"messages"`
	Size     int           `json:"size_bytes"`
	Phases   []memoryPhase `json:"phases"`
	// Join is how long a fourth member took from its start until it served clients, and knew
	// of so many messages.
	Join       float64      `json:"join_s"`
	JoinedWith int          `json:"joined_with_messages"`
	Load       *load.Report `json:"load"`
}

func (o *memoryOptions) run(ctx context.Context) error {
	return inDirectory(o.Dir, func(dir string) error {
		res, err := o.measure(ctx, dir)
		if err != nil {
			return err
		}
		o.judge(res)
		return o.Output.keep(res, os.Stdout)
	})
}

func (o *memoryOptions) measure(ctx context.Context, dir string) (res *memoryResults, err error) {
	if err := o.enough(); err != nil {
		return nil, err
	}
	c, err := peers.StartQpidd(ctx, peers.Options{Dir: dir, Nodes: 3, Binary: o.Binary, Env: []string{"GODEBUG=gctrace=1"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	res = &memoryResults{record: newRecord(o.Binary), Version: c.Name(), Settings: c.Settings(), Count: o.Count, Size: o.Size}
	res.How = fmt.Sprintf("three members on one host over loopback; a producer on the first puts %d messages of %d bytes into a"+
		" durable queue, with 256 unconfirmed; %v later a fourth member joins; a consumer on the second then takes all. Resident"+
		" is VmRSS, its peak VmHWM since the process began; the Go heap is what GODEBUG=gctrace=1 tells", o.Count, o.Size, o.Rest)
	l := load.Defaults()
	l.ProducerURLs, l.ConsumerURLs, l.DeclareURL = c.URLs()[:1], c.URLs()[1:2], c.URLs()[0]
	l.Count, l.Size, l.WarmUp, l.Duration = o.Count, o.Size, 0, time.Hour
	l.Backlog = func(ctx context.Context) error { return o.backlog(ctx, c, res) }
	if res.Load, err = load.Run(ctx, l); err != nil {
		return nil, err
	}
	if err := pause(ctx, o.Rest); err != nil {
		return nil, err
	}
	return res, res.phase("after the drain", c)
}

// backlog looks at the members while all messages are queued, and adds one.
func (o *memoryOptions) backlog(ctx context.Context, c *peers.Qpidd, res *memoryResults) error {
	if err := res.phase("all queued", c); err != nil {
		return err
	}
	if err := pause(ctx, o.Rest); err != nil {
		return err
	}
	if err := res.phase("at rest", c); err != nil {
		return err
	}
	begin := time.Now()
	if err := c.Add(ctx); err != nil {
		return err
	}
	res.Join = time.Since(begin).Seconds()
	urls := c.URLs()
	var err error
	if res.JoinedWith, err = depth(urls[len(urls)-1], load.Defaults().Queue); err != nil {
		return err
	}
	if err := res.phase("joined", c); err != nil {
		return err
	}
	if err := pause(ctx, o.Rest); err != nil {
		return err
	}
	return res.phase("joined, at rest", c)
}

// enough makes sure that the machine can hold four members: it would kill somebody's process
// otherwise.
func (o *memoryOptions) enough() error {
	const members, overhead = 4, 2
	want := int64(o.Count) * int64(o.Size) * members * overhead
	f, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	if free := field(f, "MemAvailable"); free < want {
		return fmt.Errorf("%d MiB of memory are available, %d are wanted: make room, or measure fewer messages with --count",
			free/mib, want/mib)
	}
	return nil
}

// depth asks a member for the number of messages that a queue has.
func depth(url, queue string) (int, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	return q.Messages, err
}

func (res *memoryResults) phase(name string, c *peers.Qpidd) error {
	nodes, err := c.Nodes()
	if err != nil {
		return err
	}
	p := memoryPhase{Name: name}
	for i, n := range nodes {
		m := memberMemory{Name: n.Name, ResidentBytes: n.MemoryBytes, PeakBytes: n.PeakBytes}
		if m.Heap, err = readHeap(c.Output(i)); err != nil {
			return err
		}
		p.Members = append(p.Members, m)
	}
	res.Phases = append(res.Phases, p)
	fmt.Fprintln(os.Stderr, &p)
	return nil
}

func (p *memoryPhase) String() string {
	s := fmt.Sprintf("%-16s", p.Name)
	for _, m := range p.Members {
		s += fmt.Sprintf("  %s %5d MiB (peak %5d), heap %4d live, %4d at most;", m.Name, m.ResidentBytes/mib,
			m.PeakBytes/mib, m.Heap.LiveBytes/mib, m.Heap.MostBytes/mib)
	}
	return s
}

// judge holds the figures against what is wanted. The peak is asked of the three members with
// the backlog in them, and of the fourth that was given it.
func (o *memoryOptions) judge(res *memoryResults) {
	var peak, most int64
	for _, p := range res.Phases {
		for _, m := range p.Members {
			peak, most = max(peak, m.PeakBytes), max(most, m.Heap.MostBytes)
		}
	}
	res.below("resident at the peak of any member, MiB", float64(peak)/mib, wantResidentMiB)
	res.below("Go heap at the peak of any member, MiB", float64(most)/mib, wantHeapMiB)
	res.none("lost or delivered twice", res.Load.Lost+res.Load.Duplicates)
	missing := o.Count - min(o.Count, uint64(res.JoinedWith))
	res.none("messages that the fourth member does not know of", missing)
}

func (res *memoryResults) print(w io.Writer) {
	res.printMachine(w)
	for i := range res.Phases {
		fmt.Fprintln(w, &res.Phases[i])
	}
	fmt.Fprintf(w, "\nqueued at %.0f/s; the fourth member joined in %.2f s; drained at %.0f/s\n\n",
		res.Load.ConfirmedPerSecond, res.Join, res.Load.DrainedPerSecond)
	res.printTargets(w)
}
