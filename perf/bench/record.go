package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// record is what all results have: enough to judge them, and to run the benchmark again.
type record struct {
	Machine machine  `json:"machine"`
	Commit  string   `json:"commit"`
	How     string   `json:"how"`
	Targets []target `json:"targets"`
}

type machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes uint64 `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	// Scheduling is how all that the benchmark starts is scheduled: on a machine that others
	// use too it may be run with chrt --rr 1, so that they do not come in between.
	Scheduling string `json:"scheduling"`
}

// target is what is asked of this broker.
type target struct {
	Name   string  `json:"name"`
	Figure float64 `json:"figure"`
	Want   string  `json:"want"`
	Met    bool    `json:"met"`
}

func newRecord(binary string) record {
	return record{Machine: thisMachine(), Commit: commit(binary), Targets: []target{}}
}

// below asks for a figure below a limit.
func (r *record) below(name string, figure, limit float64) {
	r.Targets = append(r.Targets, target{name, figure, fmt.Sprintf("< %g", limit), figure < limit})
}

// atLeast and atMost ask for a figure that reaches, or does not exceed, a limit.
func (r *record) atLeast(name string, figure, limit float64) {
	r.Targets = append(r.Targets, target{name, figure, fmt.Sprintf(">= %g", limit), figure >= limit})
}

func (r *record) atMost(name string, figure, limit float64) {
	r.Targets = append(r.Targets, target{name, figure, fmt.Sprintf("<= %g", limit), figure <= limit})
}

// none asks that something did not happen.
func (r *record) none(name string, n uint64) {
	r.Targets = append(r.Targets, target{name, float64(n), "0", n == 0})
}

func (r *record) printMachine(w io.Writer) {
	fmt.Fprintf(w, "%s, %d cores, Linux %s, commit %s\n\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Commit)
}

func (r *record) printTargets(w io.Writer) {
	for _, t := range r.Targets {
		word := "missed"
		if t.Met {
			word = "met"
		}
		fmt.Fprintf(w, "%-6s %-50s %8.2f, wanted %s\n", word, t.Name, t.Figure, t.Want)
	}
}

// middle is the median of a list.
func middle(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// keep writes results to a file.
func keep(path string, results any) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// inDirectory runs do with a new directory, which stays if it fails, for the logs.
func inDirectory(parent string, do func(dir string) error) error {
	dir, err := os.MkdirTemp(parent, "qpid-bench-")
	if err != nil {
		return err
	}
	if err := do(dir); err != nil {
		fmt.Fprintf(os.Stderr, "logs are left in %s\n", dir)
		return err
	}
	return os.RemoveAll(dir)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func thisMachine() (m machine) {
	m.Cores, m.Go, m.Scheduling = runtime.NumCPU(), runtime.Version(), scheduling()
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = string(bytes.TrimRight(name.Release[:], "\x00"))
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryBytes = info.Totalram * uint64(info.Unit)
	}
	return m
}

// scheduling is this process's, which those that it starts inherit.
func scheduling() string {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return "unknown"
	}
	switch attr.Policy {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		return fmt.Sprintf("real time, priority %d", attr.Priority)
	}
	return fmt.Sprintf("as usual, nice %d", attr.Nice)
}

// busyTime is the CPU that the whole machine has used so far, what it had to leave to other
// machines of its host included.
func busyTime() (busy time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, wait, irq, soft, steal int64
	if n, _ := fmt.Sscanf(string(b), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal); n != 8 {
		return 0
	}
	return time.Duration(user+nice+system+irq+soft+steal) * 10 * time.Millisecond // USER_HZ
}

// field reads a figure from a file of /proc whose lines are like "name: 4711 kB".
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

// commit is what the binary was built from, with a mark if that was changed; where it does not
// tell, the tree's.
func commit(binary string) string {
	var revision, mark string
	if info, err := buildinfo.ReadFile(binary); err == nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value[:min(len(s.Value), 12)]
			case s.Key == "vcs.modified" && s.Value == "true":
				mark = "-dirty"
			}
		}
	}
	if revision != "" {
		return revision + mark
	}
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
