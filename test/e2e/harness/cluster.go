package harness

import (
	"bytes"
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
	"testing"
	"time"
)

const (
	startLimit = 30 * time.Second // for a broker to listen and be a member
	endLimit   = 15 * time.Second // for one to be gone
	logLimit   = 8 << 10          // of each log, from its end, in the output of a failed test

	maxClusterName = 127 // a group's name on the ring is no longer
)

// Cluster is some brokers of one cluster.
type Cluster struct {
	Name    string
	Brokers []*Broker

	t        testing.TB
	dir      string
	ringPort int
	extra    []string
}

// Broker is one broker process, or the place of one.
type Broker struct {
	Index int
	Port  int
	Pid   int // 0 while it is down
	Log   string
}

// Address is where clients connect.
func (b *Broker) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port)) }

// Start starts a cluster of n brokers, with more arguments than the usual ones if need be.
func Start(t testing.TB, n int, arguments ...string) *Cluster {
	t.Helper()
	Binary(t)
	name := fmt.Sprintf("E2E_%d_%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "_"))
	c := &Cluster{
		Name: name[:min(len(name), maxClusterName)],
		t:    t, dir: t.TempDir(), ringPort: freeUDPPort(t), extra: arguments,
	}
	t.Cleanup(c.cleanup)
	for i := range n {
		c.Brokers = append(c.Brokers, &Broker{Index: i, Log: fmt.Sprintf("cluster%d.log", i)})
		c.start(c.Brokers[i])
	}
	return c
}

// freeUDPPort is a port for the ring that nobody has just now.
func freeUDPPort(t testing.TB) int {
	t.Helper()
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.LocalAddr().(*net.UDPAddr).Port
}

// start starts a broker and waits until it serves. The command returns when it does, and
// prints the port if it was to choose one.
func (c *Cluster) start(b *Broker) {
	c.t.Helper()
	arguments := append([]string{
		fmt.Sprintf("-p%d", b.Port), "--cluster-name=" + c.Name, "--log-output=" + b.Log,
		"-d", "--no-data-dir", "--auth=no",
	}, c.extra...)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(c.t), arguments...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(),
		"QPID_BINDNETADDR=127.0.0.1", "QPID_MCASTPORT="+strconv.Itoa(c.ringPort), "QPID_PID_DIR="+c.dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("broker %d: %v: %s", b.Index, err, stderr.String())
	}
	if b.Port == 0 {
		if b.Port, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
			c.t.Fatalf("broker %d: it should print its port, and printed %q", b.Index, out)
		}
	}
	pid, err := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("qpidd.%d.pid", b.Port)))
	if err == nil {
		b.Pid, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	}
	if err != nil {
		c.t.Fatalf("broker %d: no process id: %v", b.Index, err)
	}
}

// Restart starts a broker that is down, at the port it had.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.start(c.Brokers[i])
}

// Kill kills a broker with SIGKILL and waits until the process is gone.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.signal(c.Brokers[i], syscall.SIGKILL)
}

// Stop tells a broker to shut down and waits until the process is gone.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	c.signal(c.Brokers[i], syscall.SIGTERM)
}

func (c *Cluster) signal(b *Broker, s syscall.Signal) {
	c.t.Helper()
	if b.Pid == 0 {
		c.t.Fatalf("broker %d is down already", b.Index)
	}
	if err := syscall.Kill(b.Pid, s); err != nil {
		c.t.Fatalf("broker %d: %v: %v", b.Index, s, err)
	}
	Eventually(c.t, endLimit, fmt.Sprintf("broker %d ends after %v", b.Index, s), func() error { return gone(b.Pid) })
	b.Pid = 0
}

var errAlive = errors.New("it is still there")

// gone tells whether a process has ended. Daemons are not our children, and where nobody
// reaps them they stay as zombies; those count as gone.
func gone(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// pid (name) state …; the name may hold anything.
	_, after, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	if strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X") {
		return nil
	}
	return errAlive
}

// cleanup kills what is left and shows the logs if the test has failed.
func (c *Cluster) cleanup() {
	for _, b := range c.Brokers {
		if b.Pid != 0 {
			if !c.t.Failed() && gone(b.Pid) == nil {
				c.t.Errorf("broker %d has died by itself", b.Index)
			}
			_ = syscall.Kill(b.Pid, syscall.SIGKILL) // it may be gone
			if err := poll(endLimit, func() error { return gone(b.Pid) }); err != nil {
				c.t.Errorf("broker %d: %v", b.Index, err)
			}
		}
	}
	if c.t.Failed() {
		c.showLogs()
	}
}

func (c *Cluster) showLogs() {
	for _, b := range c.Brokers {
		text, err := os.ReadFile(filepath.Join(c.dir, b.Log))
		if err != nil {
			c.t.Logf("broker %d: %v", b.Index, err)
			continue
		}
		if len(text) > logLimit {
			text = append([]byte("…"), text[len(text)-logLimit:]...)
		}
		c.t.Logf("broker %d, port %d, %s:\n%s", b.Index, b.Port, b.Log, text)
	}
}
