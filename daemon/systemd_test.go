package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

// manager listens as a service manager does.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, c}
}

// hear returns the next message, or nothing if none comes within limit.
func (m *manager) hear(limit time.Duration) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

// await returns the next message with a text.
func (m *manager) await(text string) string {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if s := m.hear(time.Until(end)); strings.Contains(s, text) {
			return s
		}
	}
	m.t.Fatalf("the service manager is not told %s", text)
	return ""
}

// TestServiceIsToldOf has a service manager listen to a broker's life. The watchdog hungers
// while the engine stands still, and no longer.
func TestServiceIsToldOf(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	b := startBroker(t, "--no-data-dir", "--auth=no")
	s := Serve(b)
	m.await("READY=1")
	m.await("WATCHDOG=1")
	stand, stands := make(chan struct{}), make(chan struct{})
	b.engine.tell(message{kind: msgDo, do: func(time.Duration) {
		close(stands)
		<-stand
	}})
	<-stands
	for m.hear(50*time.Millisecond) != "" { // what was on its way
	}
	if got := m.hear(500 * time.Millisecond); got != "" {
		t.Errorf("the engine stands still, and the service manager is told %q", got)
	}
	close(stand)
	m.await("WATCHDOG=1")
	did := false
	s.Reload(func() { did = true })
	if got := m.await("RELOADING=1"); !did || !strings.Contains(got, "MONOTONIC_USEC=") {
		t.Errorf("reloading: %v, %q", did, got)
	}
	m.await("READY=1")
	s.Stopping()
	m.await("STOPPING=1")
	b.Stop()
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	conf, log := filepath.Join(dir, "qpidd.conf"), filepath.Join(dir, "log")
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (*config.Options, error) { return config.Load([]string{"--config", conf}, nil) }
	write("max-connections=10\nno-data-dir\nauth=no\nport=0\ninterface=127.0.0.1\nlog-output=" + log + "\n")
	o, err := load()
	if err != nil {
		t.Fatal(err)
	}
	l, err := logging.Open(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := Start(o, l)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	text := func() string {
		s, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	b.log.Debug("before")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	write("max-connections=11\nno-data-dir\nauth=no\nport=0\ninterface=127.0.0.1\nlog-enable=debug+\nlog-output=" + log + "\n")
	b.Reload(load, l)
	b.log.Debug("after")
	if got := text(); strings.Contains(got, "before") || !strings.Contains(got, "after") || !strings.Contains(got, "changed of: max-connections\n") {
		t.Errorf("%q", got)
	}
	write("max-connections=many\n")
	b.Reload(load, l)
	b.log.Debug("still")
	if got := text(); !strings.Contains(got, "still") || !strings.Contains(got, "error the configuration is not reloaded") {
		t.Errorf("%q", got)
	}
}

// TestInheritedSockets runs itself as a service that is passed a socket: the port is the
// socket's, whatever the options say.
func TestInheritedSockets(t *testing.T) {
	if os.Getenv("QPIDD_TEST_INHERITS") != "" {
		t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
		b := startBroker(t, "--no-data-dir", "--auth=no", "--acceptors=3")
		fmt.Printf("port %d\n", b.Port())
		if len(b.listener) != 1 || b.spreading() != "" {
			t.Errorf("%d sockets listen, %s", len(b.listener), b.spreading())
		}
		b.Stop()
		if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port())); err != nil {
			t.Errorf("a connection is refused after the broker's end: %v", err)
		}
		return
	}
	for _, network := range []string{"tcp", "unix"} {
		var f *os.File
		var err error
		want := "is no TCP socket"
		if network == "tcp" {
			l, e := net.Listen("tcp", "127.0.0.1:0")
			if e != nil {
				t.Fatal(e)
			}
			want = fmt.Sprintf("port %d\n", l.Addr().(*net.TCPAddr).Port)
			f, err = l.(*net.TCPListener).File()
			defer l.Close()
		} else {
			l, e := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if e != nil {
				t.Fatal(e)
			}
			f, err = l.(*net.UnixListener).File()
			defer l.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=TestInheritedSockets", "-test.v")
		cmd.Env = append(os.Environ(), "QPIDD_TEST_INHERITS=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=amqp")
		cmd.ExtraFiles = []*os.File{f}
		out, err := cmd.CombinedOutput()
		f.Close()
		if (err == nil) != (network == "tcp") || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, %s", network, err, out)
		}
	}
}
