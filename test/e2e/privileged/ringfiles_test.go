package privileged

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// ownEtc runs a program with a copy of /etc that has no ring configuration but what lies in the
// directory $1.
const ownEtc = `set -e
mount --make-rprivate /
cp -a /etc "$1/etc"
rm -rf "$1/etc/corosync" "$1/etc/corosync.conf" "$1/etc/ais"
cp -a "$1/ring/." "$1/etc"
mount --bind "$1/etc" /etc
shift
exec "$@"`

// TestRingFiles: of the files that are looked for the first one counts, whatever else there is,
// but not the example that corosync's package leaves. The options come before, and without any
// file they are all there is.
func TestRingFiles(t *testing.T) {
	w := harness.NewNetwork(t, 1, ethernet)
	file := func(port int) string {
		return fmt.Sprintf("totem {\n\tversion: 2\n\tsecauth: off\n\tinterface {\n\t\tbindnetaddr: %s\n\t\tmcastaddr: 239.255.78.9\n\t\tmcastport: %d\n\t}\n}\n", w.Hosts[0].IP, port)
	}
	const example = "totem {\n\tversion: 2\n\tcluster_name: debian\n}\nnodelist {\n\tnode {\n\t\tname: node1\n\t\tnodeid: 1\n\t\tring0_addr: 127.0.0.1\n\t}\n}\n"
	for _, x := range []struct {
		name      string
		files     map[string]string
		arguments []string
		want      string // the port tells which
	}{
		{"all", map[string]string{"corosync/corosync.conf": file(5501), "corosync.conf": file(5502), "ais/openais.conf": file(5503)}, nil, "239.255.78.9 port 5501"},
		{"the older two", map[string]string{"corosync.conf": file(5502), "ais/openais.conf": file(5503)}, nil, "239.255.78.9 port 5502"},
		{"openais only", map[string]string{"ais/openais.conf": file(5503)}, nil, "239.255.78.9 port 5503"},
		{"openais and an example", map[string]string{"corosync/corosync.conf": example, "ais/openais.conf": file(5503)}, nil, "239.255.78.9 port 5503"},
		{"option", map[string]string{"corosync/corosync.conf": file(5501)}, []string{"--mcastport=5504"}, "239.255.78.9 port 5504"},
		{"none wanted", map[string]string{"corosync/corosync.conf": file(5501)}, []string{"--ring-config="}, "port 5405"},
		{"none there", nil, nil, "port 5405"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "ring"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range x.files {
				path := filepath.Join(dir, "ring", name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			arguments := append([]string{"-m", "sh", "-c", ownEtc, "sh", dir, harness.Program(t, "qpidd"), "--config=/dev/null", "-p0",
				"--cluster-name=files", "--no-data-dir", "--auth=no"}, x.arguments...)
			line := w.Hosts[0].Line("unshare", arguments...)
			text := untilRing(t, exec.Command(line[0], line[1:]...))
			if !strings.Contains(text, x.want) {
				t.Errorf("no %q in\n%s", x.want, text)
			}
		})
	}
}

// untilRing is what a broker says up to where its ring is. Then it is killed.
func untilRing(t *testing.T, cmd *exec.Cmd) (text string) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "ring on ") {
			break
		}
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	return text
}
