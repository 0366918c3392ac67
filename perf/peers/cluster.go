package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of waiting.
const (
	startLimit = 2 * time.Minute
	stopLimit  = 20 * time.Second
	pollPause  = 100 * time.Millisecond
)

// Options are what every kind of cluster is started with.
type Options struct {
	Dir    string // for configuration, data and logs
	Nodes  int
	Binary string // of qpidd and of NATS
}

// Cluster is a running cluster.
type Cluster interface {
	Name() string   // with its version
	URLs() []string // where clients connect, one a node
	// Settings tells how it keeps messages, for the record.
	Settings() string
	// CPU is the time that all processes have used so far.
	CPU() (time.Duration, error)
	// Memory is what they hold now, in bytes.
	Memory() (int64, error)
	Stop() error
}

// processes are a cluster's, each the leader of a process group of its own.
type processes struct {
	list []*process
}

type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a command with its output in a file of its own.
func (p *processes) start(dir, name string, cmd *exec.Cmd) error {
	log := filepath.Join(dir, name+".out")
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	one := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(one.done)
	}()
	p.list = append(p.list, one)
	return nil
}

// Stop asks all processes to end, and makes those that do not.
func (p *processes) Stop() error {
	var errs []error
	for _, one := range p.list {
		_ = syscall.Kill(-one.cmd.Process.Pid, syscall.SIGTERM)
	}
	limit := time.After(stopLimit)
	for _, one := range p.list {
		select {
		case <-one.done:
		case <-limit:
			errs = append(errs, fmt.Errorf("%s did not end by itself", one.cmd.Path))
			limit = time.After(0)
		}
		// What it started may outlive it in its group.
		_ = syscall.Kill(-one.cmd.Process.Pid, syscall.SIGKILL)
		<-one.done
	}
	return errors.Join(errs...)
}

// alive tells which process ended, with the end of its output.
func (p *processes) alive() error {
	for _, one := range p.list {
		select {
		case <-one.done:
			b, _ := os.ReadFile(one.log)
			return fmt.Errorf("%s ended: %v\n%s", one.cmd.Path, one.cmd.ProcessState, b[max(0, len(b)-2000):])
		default:
		}
	}
	return nil
}

// await waits until ok returns nil.
func (p *processes) await(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if dead := p.alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(pollPause):
		}
	}
}

// CPU adds up user and system time of all processes of the groups.
func (p *processes) CPU() (time.Duration, error) {
	ticks := int64(0)
	err := p.each(func(_ string, stat []string) error {
		for _, field := range stat[11:13] { // utime and stime, proc(5)
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return err
			}
			ticks += n
		}
		return nil
	})
	const ticksPerSecond = 100 // USER_HZ, which is 100 for all of Linux's user space
	return time.Duration(ticks) * time.Second / ticksPerSecond, err
}

// Memory adds up the resident pages of all processes of the groups.
func (p *processes) Memory() (int64, error) {
	pages := int64(0)
	err := p.each(func(_ string, stat []string) error {
		n, err := strconv.ParseInt(stat[21], 10, 64)
		pages += n
		return err
	})
	return pages * int64(os.Getpagesize()), err
}

// each calls f with the fields of /proc/pid/stat behind the command's name, the state being
// field 0, for every process of the groups.
func (p *processes) each(f func(pid string, stat []string) error) error {
	groups := map[string]bool{}
	for _, one := range p.list {
		groups[strconv.Itoa(one.cmd.Process.Pid)] = true
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		i := strings.LastIndexByte(string(b), ')')
		if i < 0 {
			continue
		}
		stat := strings.Fields(string(b[i+1:]))
		if len(stat) > 21 && groups[stat[2]] {
			if err := f(filepath.Base(filepath.Dir(file)), stat); err != nil {
				return err
			}
		}
	}
	return nil
}

// ports finds n free ports on 127.0.0.1.
func ports(n int) ([]int, error) {
	var list []int
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, l)
		list = append(list, l.Addr().(*net.TCPAddr).Port)
	}
	return list, nil
}

func listening(port int) error {
	c, err := net.DialTimeout("tcp4", address(port), time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
