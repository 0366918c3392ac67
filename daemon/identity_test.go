package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

// TestInspect: a configuration that anybody can change, one of another user's, and a data directory
// for all are named; what is in order is not.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	conf, data, log := filepath.Join(dir, "qpidd.conf"), filepath.Join(dir, "data"), filepath.Join(dir, "log")
	if err := os.WriteFile(conf, []byte("port=0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o750); err != nil {
		t.Fatal(err)
	}
	o, err := config.Load([]string{"--config", conf, "--data-dir", data, "--log-output", log}, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := logging.Open(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := &Broker{opts: o}
	said := func() string {
		t.Helper()
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
		b.inspect(l.For("Security"))
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := said(); strings.Contains(got, dir) {
		t.Errorf("all is well, and it says %q", got)
	}
	for name, mode := range map[string]os.FileMode{conf: 0o666, data: 0o777} {
		before, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if got := said(); !strings.Contains(got, "warning "+name+" has mode 0") || !strings.Contains(got, "chmod o-w "+name) {
			t.Errorf("%q", got)
		}
		if err := os.Chmod(name, before.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		return // who is not root cannot give files away
	}
	if err := os.Chown(conf, 4711, 0); err != nil {
		t.Fatal(err)
	}
	if got := said(); !strings.Contains(got, "belongs to user id 4711") {
		t.Errorf("%q", got)
	}
}
