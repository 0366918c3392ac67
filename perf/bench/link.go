package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

type linkOptions struct {
	turns
	Output output
	Only   []string
}

// linkParts are what can be measured by itself.
var linkParts = []string{"one-way", "ring", "beside", "flood"}

// wants tells whether a part is to be measured.
func (o *linkOptions) wants(part string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, part)
}

func linkCommand() *cobra.Command {
	o := linkOptions{turns: turns{3, time.Second, 300 * time.Millisecond}, Output: "perf/results/link.json"}
	c := benchCommand("link", "The ring's datapaths, and guards before them, in network namespaces (root)", o.run)
	f := c.Flags()
	o.flags(f)
	o.Output.flag(f)
	f.StringSliceVar(&o.Only, "only", nil, "measure these parts only, of "+strings.Join(linkParts, ", ")+"; the results go nowhere")
	return c
}

// linkPath is a datapath, with a guard at the receiver or none.
type linkPath struct{ Datapath, Guard string }

func (p linkPath) String() string {
	if p.Guard == "" {
		return p.Datapath
	}
	return p.Datapath + ", guard " + p.Guard
}

// Paths without a protocol, and in a ring. Single is a call for each packet, as corosync does.
var (
	oneWay = []linkPath{{"single", ""}, {"sendmmsg", ""}, {"udp", ""}, {"packet", ""}, {"xdp", ""}, {"xdp-generic", ""},
		{"udp", "native"}, {"udp", "generic"}, {"udp", "tc"}, {"packet", "tc"}}
	inRing = []linkPath{{"sendmmsg", ""}, {"udp", ""}, {"packet", ""}, {"xdp", ""}, {"udp", "tc"}}
)

// linkFigures is what one run told: of packets that arrived, or in a ring of messages delivered.
type linkFigures struct {
	Path      string  `json:"datapath"`
	PerSecond float64 `json:"per_s"`
	SendCPU   float64 `json:"sender_cpu_us"`   // for each packet sent, or in a ring all of it
	RecvCPU   float64 `json:"receiver_cpu_us"` // for each that arrived
	KernelCPU float64 `json:"ksoftirqd_us"`    // likewise; of the whole machine
	Rotation  float64 `json:"rotation_us,omitempty"`
	// Of a flood meanwhile, and what a packet of it cost its sender's process, which bears what the hosts
	// do with it, too: the kernel works on a packet that goes from one to another on the processor that
	// sent it, for the most part.
	Flood    float64 `json:"flood_per_s,omitempty"`
	FloodCPU float64 `json:"flood_cpu_us,omitempty"`
}

func (f *linkFigures) cpu() float64 { return f.SendCPU + f.RecvCPU + f.KernelCPU }

type linkResults struct {
	record
	OneWay []linkFigures   `json:"one_way"`
	Ring   []linkFigures   `json:"ring"`
	Auto   string          `json:"auto_takes"`
	Flood  []linkFigures   `json:"ring_under_flood"`
	Beside []besideFigures `json:"tcp_beside_the_ring"`
	runs   map[string][]linkFigures
}

// linkBytes is a packet of an Ethernet.
const linkBytes = 1400

func (o *linkOptions) run(ctx context.Context) error {
	return inDirectory(os.TempDir(), func(dir string) error {
		program, err := buildOurs(ctx, dir)
		if err != nil {
			return err
		}
		res := &linkResults{record: newRecord(program), runs: map[string][]linkFigures{}}
		res.How = fmt.Sprintf("network namespaces on a bridge, veth, MTU 1500; medians of %d rounds of %v. One way: packets of %d bytes by multicast from one"+
			" host to another; CPU of the two processes, and that of ksoftirqd. Ring: three members, one of which sends messages of %d bytes; CPU of all", o.Rounds, o.Duration, linkBytes, linkBytes)
		for range o.Rounds {
			if err := o.round(ctx, program, res); err != nil {
				return err
			}
		}
		res.OneWay, res.Ring, res.Flood = middles(res, "", oneWay), middles(res, "ring ", inRing), middles(res, "flood ", floods)
		res.targets(o)
		if len(o.Only) > 0 {
			o.Output = ""
		}
		return o.Output.keep(res, os.Stdout)
	})
}

// round measures everything once.
func (o *linkOptions) round(ctx context.Context, program string, res *linkResults) error {
	for part, measure := range map[string]func(context.Context, string, *linkResults) error{
		"one-way": o.oneWay, "ring": o.rings, "beside": o.beside, "flood": o.floods,
	} {
		if !o.wants(part) {
			continue
		}
		if err := measure(ctx, program, res); err != nil {
			return err
		}
	}
	return nil
}

func (o *linkOptions) oneWay(ctx context.Context, program string, res *linkResults) error {
	for _, p := range oneWay {
		f, err := o.measure(ctx, program, p, 2, "raw")
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
		res.runs[p.String()] = append(res.runs[p.String()], f)
	}
	return nil
}

func (o *linkOptions) rings(ctx context.Context, program string, res *linkResults) (err error) {
	if res.Auto, err = auto(); err != nil {
		return err
	}
	for _, p := range inRing {
		f, err := o.measure(ctx, program, p, ringHosts, "flood")
		if err != nil {
			return fmt.Errorf("a ring with %v: %w", p, err)
		}
		res.runs["ring "+p.String()] = append(res.runs["ring "+p.String()], f)
	}
	return nil
}

func (o *linkOptions) floods(ctx context.Context, program string, res *linkResults) error {
	for _, x := range floods {
		f, err := o.flooded(ctx, program, x)
		if err != nil {
			return fmt.Errorf("a flooded ring with %v: %w", x, err)
		}
		res.runs["flood "+x.String()] = append(res.runs["flood "+x.String()], f)
	}
	return nil
}

// measure runs a load program on each host, of which the first sends. Guards are where packets come in.
func (o *linkOptions) measure(ctx context.Context, program string, p linkPath, hosts int, mode string) (f linkFigures, err error) {
	f.Path = p.String()
	net := network(hosts)
	defer net.Close()
	return f, o.on(ctx, net, program, p, hosts, mode, &f)
}

// on measures on the first hosts of a network.
func (o *linkOptions) on(ctx context.Context, net *netlab.Network, program string, p linkPath, hosts int, mode string, f *linkFigures) (err error) {
	s := linkSystem(net, program, p, mode == "flood")
	list := make([]*loadProcess, hosts)
	defer func() {
		for _, x := range list {
			if x != nil {
				x.stop()
			}
		}
	}()
	for host := hosts - 1; host >= 0; host-- {
		sending := "0"
		if host == 0 {
			sending = "1"
		}
		if list[host], err = s.run(ctx, host, strconv.Itoa(hosts), mode, strconv.Itoa(linkBytes), nanoseconds(o.WarmUp), nanoseconds(o.Duration), sending); err != nil {
			return err
		}
	}
	before := kernelThreads()
	var errs []error
	for i, x := range list {
		list[i] = nil
		errs = append(errs, x.finish())
		if errs[i] == nil {
			errs[i] = f.add(x, i == 0, mode == "raw")
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// It is counted over the whole run, of which the measured time is a part.
	whole := float64(o.Duration+2*o.WarmUp) / float64(o.Duration)
	f.KernelCPU = float64((kernelThreads() - before).Microseconds()) / whole / (f.PerSecond * o.Duration.Seconds())
	return nil
}

// linkSystem is the load program with a datapath.
func linkSystem(net *netlab.Network, program string, p linkPath, all bool) *ringSystem {
	s := ourSystem(net, program)
	s.line = func(host int) []string {
		line := net.Hosts[host].Line(program, "-node", strconv.Itoa(host+1), "-address", net.Hosts[host].IP, "-datapath", p.Datapath)
		if p.Guard != "" && (all || host > 0) {
			line = append(line, "-guard", p.Guard)
		}
		return line
	}
	return s
}

// add takes what a load program told.
func (f *linkFigures) add(p *loadProcess, sender, raw bool) error {
	var r struct{ Messages, Nanoseconds, Visits float64 }
	if err := json.Unmarshal([]byte(p.end), &r); err != nil {
		return err
	}
	if r.Messages == 0 {
		return errors.New("nothing arrived")
	}
	cpu := float64(p.cpu.Microseconds()) / r.Messages
	switch {
	case raw && sender:
		f.SendCPU = cpu
		return nil
	case raw:
		f.RecvCPU = cpu
	default:
		f.SendCPU += cpu
		f.Rotation = r.Nanoseconds / 1e3 / max(r.Visits, 1)
	}
	f.PerSecond = r.Messages / r.Nanoseconds * 1e9
	return nil
}

// kernelThreads is what ksoftirqd has used, where the kernel does what no process asked for.
func kernelThreads() (used time.Duration) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, err := os.ReadFile("/proc/" + e.Name() + "/comm"); err == nil && strings.HasPrefix(string(name), "ksoftirqd/") {
			used += peers.CPU(pid)
		}
	}
	return used
}

func (r *linkResults) middle(kind, path string) linkFigures {
	of := func(get func(*linkFigures) float64) float64 {
		var list []float64
		for _, f := range r.runs[kind+path] {
			list = append(list, get(&f))
		}
		return middle(list)
	}
	return linkFigures{
		Path:      path,
		PerSecond: of(func(f *linkFigures) float64 { return f.PerSecond }),
		SendCPU:   of(func(f *linkFigures) float64 { return f.SendCPU }),
		RecvCPU:   of(func(f *linkFigures) float64 { return f.RecvCPU }),
		KernelCPU: of(func(f *linkFigures) float64 { return f.KernelCPU }),
		Rotation:  of(func(f *linkFigures) float64 { return f.Rotation }),
		Flood:     of(func(f *linkFigures) float64 { return f.Flood }),
		FloodCPU:  of(func(f *linkFigures) float64 { return f.FloodCPU }),
	}
}

// middles are the medians of what was measured of a kind.
func middles[T fmt.Stringer](r *linkResults, kind string, paths []T) (list []linkFigures) {
	for _, p := range paths {
		if name := p.String(); r.runs[kind+name] != nil {
			list = append(list, r.middle(kind, name))
		}
	}
	return list
}

func find(list []linkFigures, path string) *linkFigures {
	for i := range list {
		if list[i].Path == path {
			return &list[i]
		}
	}
	return nil
}

// The ratios that are asked for, of the CPU of sendmmsg and recvmmsg for a packet.
const (
	wantXDPCPU    = 0.7
	wantPacketCPU = 0.5
	// wantOfBest: what is used by default is this much of the best at the least.
	wantOfBest = 0.9
)

func (r *linkResults) targets(o *linkOptions) {
	if o.wants("one-way") {
		r.oneWayTargets()
	}
	if o.wants("ring") {
		r.ringTargets()
	}
	if o.wants("flood") {
		r.floodTargets()
	}
	if o.wants("beside") {
		r.besideTargets()
	}
}

func (r *linkResults) oneWayTargets() {
	base := find(r.OneWay, "sendmmsg").cpu()
	r.atMost("CPU a packet, AF_XDP with copies, of sendmmsg's", find(r.OneWay, "xdp").cpu()/base, wantXDPCPU)
	r.atMost("CPU a packet, AF_PACKET, of sendmmsg's", find(r.OneWay, "packet").cpu()/base, wantPacketCPU)
}

// ringTargets compares what auto takes here with each datapath; a guard before one is none.
func (r *linkResults) ringTargets() {
	best := 0.0
	for i, p := range inRing {
		if p.Guard == "" {
			best = max(best, r.Ring[i].PerSecond)
		}
	}
	r.atLeast("a ring with "+r.Auto+", which auto takes, of the best datapath", find(r.Ring, r.Auto).PerSecond/best, wantOfBest)
}

// auto is the datapath that a broker takes by itself on a host of a network.
func auto() (name string, err error) {
	net := network(2)
	defer net.Close()
	done := make(chan struct{})
	go net.Hosts[0].Within(func(bad error) {
		defer close(done)
		if err = bad; err == nil {
			name, _ = datapath.Pick(datapath.Measure(link.Config{Transport: link.Multicast, Interface: "eth0",
				Address: netip.MustParseAddr(net.Hosts[0].IP), Group: netip.MustParseAddr("239.255.78.3")}, false))
		}
	})
	<-done
	return name, err
}

func (r *linkResults) print(w io.Writer) {
	r.printMachine(w)
	for _, part := range []struct {
		name string
		list []linkFigures
	}{{"one way", r.OneWay}, {"ring of three", r.Ring}, {"the same, flooded", r.Flood}} {
		fmt.Fprintf(w, "%-34s %12s %10s %10s %10s %12s %12s %10s\n", part.name, "per s", "send us", "recv us", "ksoftirqd", "rotation us", "flood per s", "flood us")
		for _, f := range part.list {
			fmt.Fprintf(w, "%-34s %12.0f %10.2f %10.2f %10.2f %12.0f %12.0f %10.2f\n", f.Path, f.PerSecond, f.SendCPU, f.RecvCPU, f.KernelCPU, f.Rotation, f.Flood, f.FloodCPU)
		}
		fmt.Fprintln(w)
	}
	r.printBeside(w)
	r.printTargets(w)
}

func buildOurs(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "ringload")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./perf/ringload").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building ringload: %w: %s", err, out)
	}
	return program, nil
}
