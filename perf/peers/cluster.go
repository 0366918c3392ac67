package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of waiting.
const (
	startLimit = 2 * time.Minute
	stopLimit  = 20 * time.Second
	pollPause  = 20 * time.Millisecond
)

// Options are what every kind of cluster is started with.
type Options struct {
	Dir    string // for configuration, data and logs
	Nodes  int
	Binary string // of qpidd and of NATS

	Plugins []string // RabbitMQ: to enable
	Alone   bool     // qpidd: one broker without a cluster
	Args    []string // qpidd: more of them; %n is the member's number
	Env     []string // qpidd: more of it
}

// Cluster is a running cluster.
type Cluster interface {
	Name() string   // with its version
	URLs() []string // where clients connect, one a node
	// Settings tells how it keeps messages, for the record.
	Settings() string
	// Nodes tells what each node uses.
	Nodes() ([]Node, error)
	Stop() error
}

// Node is what the processes of one node use.
type Node struct {
	Name        string
	CPU         time.Duration // so far
	MemoryBytes int64         // resident now
	PeakBytes   int64         // most that was ever resident
}

// Total adds nodes up.
func Total(nodes []Node) (sum Node) {
	for _, n := range nodes {
		sum.CPU += n.CPU
		sum.MemoryBytes += n.MemoryBytes
		sum.PeakBytes += n.PeakBytes
	}
	return sum
}

// processes are a cluster's, each the leader of a process group of its own.
type processes struct {
	list []*process
}

type process struct {
	node string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a node's command with its output in a file of its own.
func (p *processes) start(node, dir string, cmd *exec.Cmd) error {
	log := filepath.Join(dir, node+".out")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	one := &process{node: node, cmd: cmd, log: log, done: make(chan struct{})}
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

// kill kills a node's process, which has no chance to say good-bye.
func (p *processes) kill(node string) error {
	at := slices.IndexFunc(p.list, func(p *process) bool { return p.node == node })
	if at < 0 {
		return fmt.Errorf("%s does not run", node)
	}
	one := p.list[at]
	err := syscall.Kill(-one.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && err != syscall.ESRCH { // it may have ended by itself
		return err
	}
	<-one.done
	p.list = slices.Delete(p.list, at, at+1)
	return nil
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

// Nodes adds up what the processes of each node use. It tells of those that run.
func (p *processes) Nodes() ([]Node, error) {
	at := map[string]int{} // by the process group
	var nodes []Node
	for i, one := range p.list {
		at[strconv.Itoa(one.cmd.Process.Pid)] = i
		nodes = append(nodes, Node{Name: one.node})
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		// Fields behind the command's name, the state being field 0.
		stat := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(stat) <= 21 {
			continue
		}
		if i, ours := at[stat[2]]; ours {
			if err := nodes[i].add(stat, filepath.Dir(file)); err != nil {
				return nil, err
			}
		}
	}
	return nodes, nil
}

// add takes in a process, by the fields of its stat, proc(5).
func (n *Node) add(stat []string, dir string) error {
	const ticksPerSecond = 100          // USER_HZ, which is 100 for all of Linux's user space
	for _, field := range stat[11:13] { // utime and stime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return err
		}
		n.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil // it has just ended
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if k, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); k == 1 {
			n.MemoryBytes += kb << 10
		}
		if k, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); k == 1 {
			n.PeakBytes += kb << 10
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
