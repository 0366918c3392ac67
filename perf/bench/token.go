package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

type tokenOptions struct {
	Rounds int
	WarmUp time.Duration
	Output output
}

func tokenCommand() *cobra.Command {
	o := tokenOptions{Rounds: 3, WarmUp: 300 * time.Millisecond, Output: "perf/results/token.json"}
	c := benchCommand("token", "Rings of which one member sends, whose token the members or the kernel pass on (root)", o.run)
	f := c.Flags()
	f.IntVar(&o.Rounds, "rounds", o.Rounds, "how often each ring is measured")
	f.DurationVar(&o.WarmUp, "warm-up", o.WarmUp, "how long to run before that")
	o.Output.flag(f)
	return c
}

// passFigures are of a ring of which one member sends a message each millisecond, and the others nothing:
// how long it takes until the sender has it from the ring, and until it knows that all have it; and of the others
// how long the token stays with one at a visit, and what one uses for a message, for which it has to be woken
// anyhow.
type passFigures struct {
	Members int    `json:"members"`
	By      string `json:"token_passed_by"`

	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	SafeP50  float64 `json:"safe_p50_us"`
	SafeP99  float64 `json:"safe_p99_us"`
	Stay     float64 `json:"other_stay_us"`
	Share    float64 `json:"kernel_share_of_visits"`
	Rotation float64 `json:"rotation_us"` // the token's rest included
	CPU      float64 `json:"other_cpu_us_per_message"`
	Wakes    float64 `json:"other_wakes_per_message"`
}

// passWays are who passes the token on: nobody's program, or one on a hook.
var passWays = []struct {
	by    string
	flags []string
}{
	{"members", nil},
	{"kernel, TC", []string{"-token-pass"}},
	{"kernel, generic XDP", []string{"-token-pass", "-guard", "generic"}},
	{"kernel, native XDP", []string{"-token-pass", "-guard", "native"}},
}

var passMembers = []int{3, 5, 9}

const (
	passMessages = 2000
	// passCounted are followed by a member, and as many before: less than all, as one may come late.
	passCounted  = 900
	passInterval = time.Millisecond
)

type tokenResults struct {
	record
	Passes []passFigures `json:"rings"`
}

func (o *tokenOptions) run(ctx context.Context) error {
	return inDirectory(os.TempDir(), func(dir string) error {
		program, err := buildOurs(ctx, dir)
		if err != nil {
			return err
		}
		res := &tokenResults{record: newRecord(program)}
		res.How = fmt.Sprintf("network namespaces on a bridge, veth with GRO on, MTU 1500; medians of %d rounds of %d messages of 256 bytes, one each %v."+
			" The others' figures are means of all of them", o.Rounds, passMessages, passInterval)
		runs := map[string][]passFigures{}
		for range o.Rounds {
			for _, members := range passMembers {
				for i, way := range passWays {
					f, err := o.pass(ctx, program, members, i)
					if err != nil {
						return fmt.Errorf("a ring of %d, token passed by %s: %w", members, way.by, err)
					}
					key := fmt.Sprint(members, way.by)
					runs[key] = append(runs[key], f)
				}
			}
		}
		for _, members := range passMembers {
			for _, way := range passWays {
				res.Passes = append(res.Passes, medianPass(runs[fmt.Sprint(members, way.by)]))
			}
		}
		res.targets()
		return o.Output.keep(res, os.Stdout)
	})
}

// pass measures one ring.
func (o *tokenOptions) pass(ctx context.Context, program string, members, way int) (f passFigures, err error) {
	f.Members, f.By = members, passWays[way].by
	net := network(members)
	defer net.Close()
	net.Coalesce(true)
	s := ourSystem(net, program)
	line := s.line
	s.line = func(host int) []string { return append(line(host), passWays[way].flags...) }
	var others []*loadProcess
	defer func() {
		for _, p := range others {
			p.stop()
		}
	}()
	for host := 1; host < members; host++ {
		p, err := s.run(ctx, host, strconv.Itoa(members), "follow", "0", "0", "0", strconv.Itoa(passCounted))
		if err != nil {
			return f, err
		}
		others = append(others, p)
	}
	for _, p := range others[:len(others)-1] {
		if err := p.awaitView(ctx, members-1); err != nil {
			return f, err
		}
	}
	p, err := s.run(ctx, 0, strconv.Itoa(members), "latency", "256", nanoseconds(o.WarmUp), nanoseconds(passInterval), strconv.Itoa(passMessages))
	if err != nil {
		return f, err
	}
	if err := p.finish(); err != nil {
		return f, err
	}
	var l struct {
		P50     float64 `json:"p50"`
		P99     float64 `json:"p99"`
		SafeP50 float64 `json:"safe_p50"`
		SafeP99 float64 `json:"safe_p99"`
	}
	if err := json.Unmarshal([]byte(p.end), &l); err != nil {
		return f, err
	}
	f.P50, f.P99, f.SafeP50, f.SafeP99 = l.P50/1e3, l.P99/1e3, l.SafeP50/1e3, l.SafeP99/1e3
	list := others
	others = nil
	for _, p := range list {
		p.stop()
		if err := f.follow(p, len(list)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// follow adds what one of so many others has told.
func (f *passFigures) follow(p *loadProcess, others int) error {
	var r struct {
		Hop       float64 `json:"hop"`
		Visits    float64 `json:"visits"`
		KernelHop float64 `json:"kernel_hop"`
		Passes    float64 `json:"passes"`
		Rotation  float64 `json:"rotation"`
		Wakes     float64 `json:"wakes"`
		Messages  float64 `json:"messages"`
	}
	if err := json.Unmarshal([]byte(p.end), &r); err != nil {
		return fmt.Errorf("a member that does not send tells %q: %w", p.end, err)
	}
	n, all := float64(others), max(r.Visits+r.Passes, 1)
	f.Stay += (r.Hop*r.Visits + r.KernelHop*r.Passes) / all / 1e3 / n
	f.Share += r.Passes / all / n
	f.Rotation += r.Rotation / 1e3 / n
	f.Wakes += r.Wakes / r.Messages / n
	f.CPU += float64(p.cpu.Microseconds()) / r.Messages / n
	return nil
}

func medianPass(list []passFigures) passFigures {
	of := func(get func(*passFigures) float64) float64 {
		var values []float64
		for i := range list {
			values = append(values, get(&list[i]))
		}
		return middle(values)
	}
	return passFigures{
		Members: list[0].Members, By: list[0].By,
		P50:      of(func(f *passFigures) float64 { return f.P50 }),
		P99:      of(func(f *passFigures) float64 { return f.P99 }),
		SafeP50:  of(func(f *passFigures) float64 { return f.SafeP50 }),
		SafeP99:  of(func(f *passFigures) float64 { return f.SafeP99 }),
		Stay:     of(func(f *passFigures) float64 { return f.Stay }),
		Share:    of(func(f *passFigures) float64 { return f.Share }),
		Rotation: of(func(f *passFigures) float64 { return f.Rotation }),
		CPU:      of(func(f *passFigures) float64 { return f.CPU }),
		Wakes:    of(func(f *passFigures) float64 { return f.Wakes }),
	}
}

// What is asked of tokens that the kernel passes on: what they leave of the time that the token stays with members
// that do not send, and of their CPU; and that they make nothing slower.
const (
	wantPassStay = 0.25
	wantPassCPU  = 0.1
	// A message is to be delivered, for which each member wakes once. What is beyond is the token's.
	wantPassWakes   = 0.1
	wantPassLatency = 1.1
)

func (r *tokenResults) targets() {
	for i := 0; i+1 < len(r.Passes); i += len(passWays) {
		plain, tc := r.Passes[i], r.Passes[i+1]
		of := fmt.Sprintf("%d members, token passed on TC, of that without: ", plain.Members)
		r.atMost(of+"the idle members' share of a rotation", tc.Stay/plain.Stay, wantPassStay)
		r.atMost(of+"their CPU", tc.CPU/plain.CPU, wantPassCPU)
		r.atMost(of+"their wake-ups but for messages", max(tc.Wakes-1, 0)/(plain.Wakes-1), wantPassWakes)
		r.atMost(of+"latency p50", tc.P50/plain.P50, wantPassLatency)
		r.atMost(of+"latency p50 until all have it", tc.SafeP50/plain.SafeP50, wantPassLatency)
	}
}

func (r *tokenResults) print(w io.Writer) {
	r.printMachine(w)
	fmt.Fprintf(w, "%-24s %8s %8s %9s %9s %8s %8s %8s %8s %9s\n", "ring, token passed by", "p50 us", "p99", "safe p50", "p99", "stay us", "kernel", "CPU us", "wakes", "rotation")
	for _, f := range r.Passes {
		fmt.Fprintf(w, "%-24s %8.0f %8.0f %9.0f %9.0f %8.2f %7.0f%% %8.1f %8.2f %9.0f\n", fmt.Sprintf("%d, %s", f.Members, f.By), f.P50, f.P99, f.SafeP50, f.SafeP99, f.Stay, 100*f.Share, f.CPU, f.Wakes, f.Rotation)
	}
	fmt.Fprintln(w)
	r.printTargets(w)
}
