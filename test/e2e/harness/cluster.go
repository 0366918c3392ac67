package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 60 * time.Second // for a broker to listen and be a member
	waitLimit  = 50 * time.Second // for it to give up by itself, so that nothing stays behind
	endLimit   = 30 * time.Second // for one to be gone
	logLimit   = 8 << 10          // of each log, from its end, in the output of a failed test

	portTaken = "address already in use"

	maxClusterName = 127 // a group's name on the ring is no longer
)

// Cluster is some brokers of one cluster.
type Cluster struct {
	Name     string
	Brokers  []*Broker
	Dir      string // where brokers run, with their logs and pid files
	RingPort int
	// RingConfig is a file that brokers are told of, which then has to say where the ring is.
	RingConfig string
	// Stored: each broker has a store, which outlives it.
	Stored bool

	t         testing.TB
	extra     []string
	corosyncs []*corosync // of a network's hosts
}

// Broker is one broker process, or the place of one.
type Broker struct {
	Index int
	Port  int
	Pid   int // 0 while it is down
	Log   string
	Host  *Host // where it runs; nil: on this host
}

// IP is where clients connect.
func (b *Broker) IP() string {
	if b.Host != nil {
		return b.Host.IP
	}
	return "127.0.0.1"
}

// Address is where clients connect.
func (b *Broker) Address() string { return net.JoinHostPort(b.IP(), strconv.Itoa(b.Port)) }

// Dial opens a connection to the broker, from the host that it runs on.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) {
	if b.Host != nil {
		return b.Host.Dial(ctx, b.Address())
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", b.Address())
}

// Start starts a cluster of n brokers on this host, with more arguments than the usual ones
// if need be.
func Start(t testing.TB, n int, arguments ...string) *Cluster {
	t.Helper()
	c := newCluster(t, arguments)
	for range n {
		c.Add()
	}
	return c
}

// StartAcross starts a cluster of one broker on each host of a network.
func StartAcross(t testing.TB, network *Network, arguments ...string) *Cluster {
	t.Helper()
	c := newCluster(t, arguments)
	if OnCorosync() {
		c.startCorosyncs(network)
	}
	for _, h := range network.Hosts {
		c.start(c.place(h))
	}
	return c
}

// StartMixed starts brokers as StartAcross does, each with arguments of its own, which it has until it
// is started again.
func StartMixed(t testing.TB, network *Network, common []string, own ...[]string) *Cluster {
	t.Helper()
	c := newCluster(t, common)
	for i, h := range network.Hosts {
		c.start(c.place(h), own[i]...)
	}
	return c
}

// StartStored starts a cluster of n brokers on this host, each with a store.
func StartStored(t testing.TB, n int, arguments ...string) *Cluster {
	t.Helper()
	c := newCluster(t, arguments)
	c.Stored = true
	for range n {
		c.Add()
	}
	return c
}

// Store is a broker's store.
func (c *Cluster) Store(i int) string { return filepath.Join(c.Dir, fmt.Sprintf("store%d", i)) }

// clusters counts them: those of one test are told apart on one corosync, too.
var clusters atomic.Int64

func newCluster(t testing.TB, arguments []string) *Cluster {
	t.Helper()
	name := fmt.Sprintf("E2E_%d_%d_%s", os.Getpid(), clusters.Add(1), strings.ReplaceAll(t.Name(), "/", "_"))
	c := &Cluster{
		Name: name[:min(len(name), maxClusterName)], Dir: t.TempDir(), RingPort: freeUDPPort(t),
		t: t, extra: arguments,
	}
	t.Cleanup(c.cleanup)
	return c
}

// Add starts one more broker, with arguments of its own if need be.
func (c *Cluster) Add(arguments ...string) *Broker {
	c.t.Helper()
	b := c.place(nil)
	c.start(b, arguments...)
	return b
}

// AddOn starts one more broker on a host of a network.
func (c *Cluster) AddOn(h *Host, arguments ...string) *Broker {
	c.t.Helper()
	b := c.place(h)
	c.start(b, arguments...)
	return b
}

// Place makes room for a broker that Restart will start.
func (c *Cluster) Place() *Broker { return c.place(nil) }

func (c *Cluster) place(h *Host) *Broker {
	i := len(c.Brokers)
	b := &Broker{Index: i, Log: fmt.Sprintf("cluster%d.log", i), Host: h}
	c.Brokers = append(c.Brokers, b)
	return b
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

// FreePort is a TCP port that nobody has just now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// Command is qpidd where and with what the cluster's brokers run.
func (c *Cluster) Command(h *Host, arguments ...string) *Command {
	return &Command{Program: "qpidd", Arguments: arguments, Dir: c.Dir, Environ: c.Environ(h), Host: h, Limit: startLimit}
}

// Environ is what a broker is told by environment: where its ring and its files are.
func (c *Cluster) Environ(h *Host) []string {
	at := "127.0.0.1"
	if h != nil {
		at = h.IP
	}
	environ := []string{"QPID_PID_DIR=" + c.Dir, "QPID_CONFIG=/dev/null", fmt.Sprintf("QPID_WAIT=%.0f", waitLimit.Seconds()),
		"QPID_RING_CONFIG=" + c.RingConfig} // this host's own must not matter
	if OnCorosync() {
		return append(environ, "QPID_RING_PROVIDER=corosync")
	}
	if c.RingConfig == "" {
		environ = append(environ, "QPID_BINDNETADDR="+at, "QPID_MCASTPORT="+strconv.Itoa(c.RingPort))
	}
	return environ
}

// start starts a broker and waits until it serves. The command returns when it does, and
// prints the port if it was to choose one.
func (c *Cluster) start(b *Broker, own ...string) {
	c.t.Helper()
	arguments := append([]string{
		fmt.Sprintf("-p%d", b.Port), "--cluster-name=" + c.Name, "--log-output=" + b.Log,
		"-d", "--no-data-dir", "--auth=no",
	}, append(c.extra[:len(c.extra):len(c.extra)], own...)...)
	if c.Stored {
		arguments = append(arguments, "--store-dir="+c.Store(b.Index))
	}
	r := c.Command(b.Host, arguments...).Run(c.t)
	for end := time.Now().Add(startLimit); r.Status != 0; r = c.Command(b.Host, arguments...).Run(c.t) {
		// A port that a broker has had may be a connection's of somebody else just now.
		if b.Port == 0 || !strings.Contains(r.Stderr, portTaken) || time.Now().After(end) {
			c.t.Fatalf("broker %d: exit status %d: %s", b.Index, r.Status, r.Stderr)
		}
	}
	if b.Port == 0 {
		var err error
		if b.Port, err = strconv.Atoi(strings.TrimSpace(r.Stdout)); err != nil {
			c.t.Fatalf("broker %d: it should print its port, and printed %q", b.Index, r.Stdout)
		}
	}
	c.Adopt(b)
}

// Adopt takes a broker that was started otherwise to the cluster's own.
func (c *Cluster) Adopt(b *Broker) {
	c.t.Helper()
	pid, err := os.ReadFile(c.PidFile(b))
	if err == nil {
		b.Pid, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	}
	if err != nil {
		c.t.Fatalf("broker %d: no process id: %v", b.Index, err)
	}
}

// PidFile is where a broker has its process id.
func (c *Cluster) PidFile(b *Broker) string {
	return filepath.Join(c.Dir, fmt.Sprintf("qpidd.%d.pid", b.Port))
}

// Restart starts a broker that is down, at the port it had.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.start(c.Brokers[i])
}

// RestartTogether starts brokers at the same time, as those must be that wait for others.
func (c *Cluster) RestartTogether(list ...int) {
	c.t.Helper()
	var all sync.WaitGroup
	for _, i := range list {
		all.Go(func() { c.start(c.Brokers[i]) })
	}
	all.Wait()
	if c.t.Failed() { // then only the goroutine that failed has ended
		c.t.FailNow()
	}
}

// LogText is what a broker has logged so far.
func (c *Cluster) LogText(i int) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, c.Brokers[i].Log))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// AwaitLog waits until a broker has logged something often enough.
func (c *Cluster) AwaitLog(i, times int, text string) {
	c.t.Helper()
	Eventually(c.t, startLimit, fmt.Sprintf("broker %d logs %q", i, text), func() error {
		if n := strings.Count(c.LogText(i), text); n < times {
			return fmt.Errorf("%d times so far, %d expected", n, times)
		}
		return nil
	})
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
	for _, x := range c.corosyncs {
		x.stop(c.t)
	}
	if c.t.Failed() {
		c.showLogs()
	}
}

func (c *Cluster) showLogs() {
	shown := map[string]bool{}
	for _, b := range c.Brokers {
		if shown[b.Log] {
			continue
		}
		shown[b.Log] = true
		text, err := os.ReadFile(filepath.Join(c.Dir, b.Log))
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
