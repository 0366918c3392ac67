package harness

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// OnCorosync tells whether brokers are to attach to the corosync on their host, and not to form a
// ring of their own: QPIDD_RING_PROVIDER=corosync. The hosts of a Network each have one then;
// on this host with-corosync runs tests beside one.
func OnCorosync() bool { return os.Getenv(providerVariable) == "corosync" }

const providerVariable = "QPIDD_RING_PROVIDER"

// UseCorosync has a test use it in any case.
func UseCorosync(t *testing.T) { t.Setenv(providerVariable, "corosync") }

// OwnRing skips a test on corosync that is about our own ring.
func OwnRing(t testing.TB, why string) {
	t.Helper()
	if OnCorosync() {
		t.Skip("on corosync: " + why)
	}
}

// corosync is the one of a host, in mounts of its own.
type corosync struct {
	host  *Host
	dir   string
	shell *exec.Cmd // ends when its input does, and corosync with it: also when we die
	input io.Closer
	said  bytes.Buffer
}

// startCorosyncs starts one on each host of a network, which form a ring.
func (c *Cluster) startCorosyncs(w *Network) {
	c.t.Helper()
	var nodes strings.Builder
	for i, h := range w.Hosts {
		fmt.Fprintf(&nodes, "\tnode {\n\t\tring0_addr: %s\n\t\tnodeid: %d\n\t}\n", h.IP, i+1)
	}
	text := `totem {
	version: 2
	cluster_name: e2e
	transport: udpu
	token: 1000
	token_coefficient: 0
}
quorum {
	provider: corosync_votequorum
}
logging {
	to_syslog: no
	to_stderr: no
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
}
nodelist {
` + nodes.String() + "}\n"
	for _, h := range w.Hosts {
		x := &corosync{host: h, dir: c.t.TempDir()}
		c.corosyncs = append(c.corosyncs, x)
		etc := filepath.Join(x.dir, "etc")
		if err := os.Mkdir(etc, 0o755); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(etc, "corosync.conf"), []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
		x.start(c.t)
	}
}

// start starts corosync, and waits until programs can run beside it.
func (x *corosync) start(t testing.TB) {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	x.host.Enter = nil
	line := x.host.Line("unshare", "-m", filepath.Join(root, "test/e2e/with-corosync"), "--inside", x.dir, "cat")
	x.shell = exec.Command(line[0], line[1:]...)
	if x.input, err = x.shell.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	x.shell.Stderr = &x.said
	if err := x.shell.Start(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, startLimit, "corosync starts on "+x.host.IP, func() error {
		_, err := x.pid()
		return err
	})
	x.host.Enter = []string{"nsenter", "-t", strconv.Itoa(x.shell.Process.Pid), "-m", "--wd=."}
}

func (x *corosync) pid() (int, error) {
	text, err := os.ReadFile(filepath.Join(x.dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// stop kills corosync with SIGKILL, and the shell.
func (x *corosync) stop(t testing.TB) {
	if pid, err := x.pid(); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)     // it may have ended
		_ = os.Remove(filepath.Join(x.dir, "pid")) // the next one has another
	}
	_ = x.input.Close() // the shell may have ended
	_ = x.shell.Wait()  // with corosync's status
	if log, err := os.ReadFile(filepath.Join(x.dir, "log", "corosync.log")); err == nil && t.Failed() {
		t.Logf("corosync on %s: %s\n%s", x.host.IP, &x.said, log[max(0, len(log)-logLimit):])
	}
}

// KillCorosync kills the corosync of a broker's host with SIGKILL. The broker ends with it.
func (c *Cluster) KillCorosync(i int) {
	c.t.Helper()
	c.corosyncs[i].stop(c.t)
	c.AwaitEnd(i)
}

// RestartCorosync starts it again. The broker has to be, too.
func (c *Cluster) RestartCorosync(i int) {
	c.t.Helper()
	c.corosyncs[i].start(c.t)
}
