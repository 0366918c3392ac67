package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestBadInput starts brokers that cannot work. Each says on one line what is wrong and what
// to do, and exits with another status than 0, as a daemon too.
func TestBadInput(t *testing.T) {
	short(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	locked := filepath.Join(dir, "locked")
	c := harness.Start(t, 0)
	c.Add("--no-data-dir=false", "--data-dir="+locked)

	const free = "-p0"
	for _, bad := range []struct {
		name      string
		arguments []string
		want      []string // in what it says
	}{
		{"port in use", []string{fmt.Sprintf("-p%d", taken.Addr().(*net.TCPAddr).Port)}, []string{"address already in use", "--port"}},
		{"no port", []string{"-p70000"}, []string{"70000 is no TCP port"}},
		{"unknown option", []string{free, "--no-such-option"}, []string{"--no-such-option", "--help"}},
		{"argument", []string{free, "start"}, []string{`"start"`, "--help"}},
		{"value", []string{free, "--auth=perhaps"}, []string{"auth", "perhaps"}},
		{"configuration missing", []string{free, "--config=" + filepath.Join(dir, "missing")}, []string{"no such file", "--config"}},
		{"configuration is a directory", []string{free, "--config=" + dir}, []string{"is a directory", dir}},
		{"configuration line", []string{free, "--config=" + file("unknown", "# fine\nauth=no\nno-such=1\n")}, []string{"unknown:3:", `"no-such"`}},
		{"configuration value", []string{free, "--config=" + file("value", "max-connections=many\n")}, []string{"value:1:", "many"}},
		{"long cluster name", []string{free, "--cluster-name=" + strings.Repeat("n", 128)}, []string{"128 bytes", "127"}},
		{"bindnetaddr elsewhere", []string{free, "--cluster-name=x", "--ring-provider=totem", "--bindnetaddr=203.0.113.9"}, []string{"203.0.113.9", "lo has 127.0.0.1"}},
		{"bindnetaddr no address", []string{free, "--cluster-name=x", "--ring-provider=totem", "--bindnetaddr=here"}, []string{`"here"`, "address"}},
		{"mcastaddr no group", []string{free, "--cluster-name=x", "--mcastaddr=10.1.1.1"}, []string{"10.1.1.1", "multicast"}},
		{"data directory in use", []string{free, "--no-data-dir=false", "--data-dir=" + locked}, []string{locked, "--data-dir"}},
		{"data directory is a file", []string{free, "--no-data-dir=false", "--data-dir=" + file("plain", "")}, []string{"plain", "--data-dir"}},
		{"log file", []string{free, "--log-output=" + filepath.Join(dir, "missing", "log")}, []string{"missing/log"}},
		{"log rule", []string{free, "--log-enable=loud+"}, []string{"loud"}},
		{"users file", []string{free, "--auth=yes", "--users-file=" + file("users", "alice:secret\n")}, []string{"users, line 1", "user:NAME"}},
		{"users file is a directory", []string{free, "--auth=yes", "--users-file=" + dir}, []string{dir}},
		{"size of nothing", []string{free, "--cluster-size=3"}, []string{"--cluster-size", "--cluster-name"}},
		{"pid directory", []string{free, "-d", "--log-output=broken.log", "--pid-dir=" + file("nodir", "")}, []string{"nodir", "--pid-dir"}},
	} {
		for _, mode := range []string{"", "-d", "--log-output=broken.log"} {
			t.Run(bad.name+mode, func(t *testing.T) {
				arguments := append([]string{"--no-data-dir", "--auth=no"}, bad.arguments...)
				if mode != "" {
					arguments = append(arguments, mode)
				}
				r := c.Command(nil, arguments...).Run(t)
				r.Stderr = dropLog(r.Stderr)
				if r.Status == 0 || r.Stdout != "" || len(r.Lines()) != 1 || !strings.HasPrefix(r.Stderr, "qpidd: ") {
					t.Errorf("%+v", r)
				}
				for _, want := range bad.want {
					if !strings.Contains(r.Stderr, want) {
						t.Errorf("no %q in %s", want, r.Stderr)
					}
				}
				t.Log(strings.TrimSpace(r.Stderr))
			})
		}
	}
}

// dropLog leaves what is not of the log, which is on stderr unless there is an option.
func dropLog(text string) (rest string) {
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "] notice ") && !strings.Contains(line, "] warning ") {
			rest += line
		}
	}
	return rest
}
