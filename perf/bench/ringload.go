package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// ringSystem is a group on the hosts of a network, on which load programs run.
type ringSystem struct {
	name string
	// line is the command line of the load program on a host, without what it is to do.
	line func(host int) []string
	// daemon is the process of a host that carries the group, 0 if that is the load program.
	daemon func(host int) int
	// Kill kills what carries the group on a host, and Start starts it again, if that is
	// not the load program.
	kill  func(host int) error
	start func(host int) error
}

// loadProcess is a load program that runs.
type loadProcess struct {
	cmd    *exec.Cmd
	daemon int
	lines  chan string
	stderr *strings.Builder

	// Set when lines is closed.
	cpu time.Duration // of what carries the group, in the measured time
	own time.Duration // of the load program, likewise, if it is another
	end string        // what it printed at the end
}

func (s *ringSystem) run(ctx context.Context, host int, task ...string) (*loadProcess, error) {
	line := append(s.line(host), task...)
	p := &loadProcess{cmd: exec.CommandContext(ctx, line[0], line[1:]...), lines: make(chan string, 64), stderr: &strings.Builder{}}
	p.cmd.Stderr = p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.daemon = s.daemon(host)
	go p.follow(out)
	return p, nil
}

// follow reads what the program prints, and what was used when it began and ended to measure.
func (p *loadProcess) follow(out io.Reader) {
	defer close(p.lines)
	var group, load time.Duration
	for r := bufio.NewScanner(out); r.Scan(); {
		line := r.Text()
		switch {
		case line == "begin":
			group, load = p.used()
		case strings.HasPrefix(line, "end "):
			p.cpu, p.own = p.used()
			p.cpu, p.own = p.cpu-group, p.own-load
			p.end = line[len("end "):]
		default:
			p.lines <- line
		}
	}
}

func (p *loadProcess) used() (group, load time.Duration) {
	load = peers.CPU(p.cmd.Process.Pid)
	if p.daemon == 0 {
		return load, 0
	}
	return peers.CPU(p.daemon), load
}

// finish waits for the program's end.
func (p *loadProcess) finish() error {
	for range p.lines {
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", p.cmd.Path, err, p.stderr)
	}
	if p.end == "" {
		return fmt.Errorf("%s: ended without a result: %s", p.cmd.Path, p.stderr)
	}
	return nil
}

// stop ends a program that would go on.
func (p *loadProcess) stop() {
	_ = p.cmd.Process.Kill()
	for range p.lines {
	}
	_ = p.cmd.Wait()
}

// ringFigures is what one run of a system told.
type ringFigures struct {
	System  string `json:"system"`
	Size    int    `json:"size"`
	Senders int    `json:"senders"`

	// At the receiver that got least.
	PerSecond     float64 `json:"messages_per_s"`
	BytesPerS     float64 `json:"bytes_per_s"`
	CPUMicros     float64 `json:"cpu_us_per_message"`      // of all members
	LoadCPUMicros float64 `json:"load_cpu_us_per_message"` // of load programs, where they are others
	RotationUs    float64 `json:"rotation_us,omitempty"`   // of the token
}

// flood has senders send as fast as they can.
func (s *ringSystem) flood(ctx context.Context, hosts, size, senders int, mode string, warm, measure time.Duration) (f ringFigures, err error) {
	f = ringFigures{System: s.name, Size: size, Senders: senders}
	var list []*loadProcess
	defer func() {
		for _, p := range list {
			p.stop()
		}
	}()
	for host := range hosts {
		sending := "0"
		if host < senders {
			sending = "1"
		}
		p, err := s.run(ctx, host, strconv.Itoa(hosts), mode, strconv.Itoa(size), nanoseconds(warm), nanoseconds(measure), sending)
		if err != nil {
			return f, err
		}
		list = append(list, p)
	}
	var cpu, own time.Duration
	counted := false
	for host, p := range list {
		if err := p.finish(); err != nil {
			return f, err
		}
		var r struct{ Messages, Bytes, Nanoseconds, Visits float64 }
		if err := json.Unmarshal([]byte(p.end), &r); err != nil {
			return f, err
		}
		if mode == "raw" && host < senders {
			continue // what it sent need not have arrived
		}
		seconds := r.Nanoseconds / 1e9
		if rate := r.Messages / seconds; !counted || rate < f.PerSecond {
			counted, f.PerSecond, f.BytesPerS = true, rate, r.Bytes/seconds
		}
		if r.Visits > 0 {
			f.RotationUs = seconds * 1e6 / r.Visits
		}
		cpu, own = cpu+p.cpu, own+p.own
	}
	list = nil
	if f.PerSecond > 0 { // where nothing came through there is no cost of a message
		f.CPUMicros = float64(cpu.Nanoseconds()) / 1e3 / (f.PerSecond * measure.Seconds())
		f.LoadCPUMicros = float64(own.Nanoseconds()) / 1e3 / (f.PerSecond * measure.Seconds())
	}
	return f, nil
}

// ringLatency is how long a sender waits for its own messages.
type ringLatency struct {
	System string  `json:"system"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	Max    float64 `json:"max_us"`
}

func (s *ringSystem) latency(ctx context.Context, hosts, size, count int, interval time.Duration) (l ringLatency, err error) {
	l.System = s.name
	for host := 1; host < hosts; host++ {
		p, err := s.run(ctx, host, strconv.Itoa(hosts), "watch", "0", "0", "0", "0")
		if err != nil {
			return l, err
		}
		defer p.stop()
	}
	p, err := s.run(ctx, 0, strconv.Itoa(hosts), "latency", strconv.Itoa(size), nanoseconds(500*time.Millisecond),
		nanoseconds(interval), strconv.Itoa(count))
	if err != nil {
		return l, err
	}
	if err := p.finish(); err != nil {
		return l, err
	}
	x, err := latencyOf(p.end)
	x.System = l.System
	return x, err
}

// latencyOf reads what a load program printed at the end.
func latencyOf(end string) (l ringLatency, err error) {
	var r struct{ P50, P99, Max float64 }
	err = json.Unmarshal([]byte(end), &r)
	l.P50, l.P99, l.Max = r.P50/1e3, r.P99/1e3, r.Max/1e3
	return l, err
}

// watch has a member on each host that only watches, and waits until all are in one view. Stop
// ends them, also those that are up when it fails.
func (s *ringSystem) watch(ctx context.Context, hosts int) (list []*loadProcess, stop func(), err error) {
	stop = func() {
		for _, p := range list {
			p.stop()
		}
	}
	for host := range hosts {
		p, err := s.run(ctx, host, strconv.Itoa(hosts), "watch", "0", "0", "0", "0")
		if err != nil {
			return list, stop, err
		}
		list = append(list, p)
	}
	for _, p := range list {
		if err := p.awaitView(ctx, hosts); err != nil {
			return list, stop, err
		}
	}
	return list, stop, pause(ctx, time.Second)
}

// idle is the cores that a member uses while nobody sends.
func (s *ringSystem) idle(ctx context.Context, hosts int, measure time.Duration) (cores float64, err error) {
	list, stop, err := s.watch(ctx, hosts)
	defer stop()
	if err != nil {
		return 0, err
	}
	var before, after time.Duration
	for _, p := range list {
		group, _ := p.used()
		before += group
	}
	if err := pause(ctx, measure); err != nil {
		return 0, err
	}
	for _, p := range list {
		group, _ := p.used()
		after += group
	}
	return (after - before).Seconds() / measure.Seconds() / float64(hosts), nil
}

// viewLimit is how long a view may take.
const viewLimit = 30 * time.Second

// awaitView follows a watch until its view has so many members.
func (p *loadProcess) awaitView(ctx context.Context, members int) error {
	_, err := p.viewAt(ctx, members)
	return err
}

// viewAt tells when, on the monotonic clock, a view with so many members came.
func (p *loadProcess) viewAt(ctx context.Context, members int) (time.Duration, error) {
	limit := time.After(viewLimit)
	for {
		select {
		case line, ok := <-p.lines:
			var n, at int64
			if k, _ := fmt.Sscanf(line, "view %d %d", &n, &at); k == 2 && int(n) == members {
				return time.Duration(at), nil
			}
			if !ok {
				return 0, fmt.Errorf("%s ended: %s", p.cmd.Path, p.stderr)
			}
		case <-limit:
			return 0, fmt.Errorf("no view with %d members in %v", members, viewLimit)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// survived tells how long the others take to go on without the last host, which is killed.
func (s *ringSystem) survived(ctx context.Context, hosts int) (longest time.Duration, err error) {
	list, stop, err := s.watch(ctx, hosts)
	defer stop()
	if err != nil {
		return 0, err
	}
	killed := monotonic()
	if s.kill != nil {
		err = s.kill(hosts - 1)
	} else {
		err = list[hosts-1].cmd.Process.Kill()
	}
	if err != nil {
		return 0, err
	}
	for _, p := range list[:hosts-1] {
		at, err := p.viewAt(ctx, hosts-1)
		if err != nil {
			return 0, err
		}
		longest = max(longest, at-killed)
	}
	if s.start != nil {
		err = s.start(hosts - 1)
	}
	return longest, err
}

func nanoseconds(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }

// buildRingload makes the load programs of both sides.
func buildRingload(ctx context.Context, dir string) (ours, theirs string, err error) {
	ours, theirs = filepath.Join(dir, "ringload"), filepath.Join(dir, "cpgload")
	for _, line := range [][]string{
		{"go", "build", "-o", ours, "./perf/ringload"},
		{"cc", "-O2", "-o", theirs, "perf/ringload/cpgload/cpgload.c", "-lcpg"},
	} {
		if out, e := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w: %s; Debian has what is needed in corosync, libcpg-dev, gcc and iproute2",
				strings.Join(line, " "), e, out))
		}
	}
	return ours, theirs, err
}

// network makes hosts; what goes wrong with them ends the benchmark.
func network(hosts int) *netlab.Network {
	return netlab.New(hosts, 1500, func(format string, a ...any) {
		fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
		os.Exit(1)
	})
}
