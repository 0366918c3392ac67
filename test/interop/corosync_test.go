package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// tools are what a lab runs, and the Debian packages that have them.
var tools = map[string]string{
	"corosync": "corosync", "gcc": "gcc", "ip": "iproute2", "nft": "nftables", "ethtool": "ethtool",
}

// programs builds our programs once. They lie in a directory of the test binary's.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "qpidd-interop-")
	if err != nil {
		return "", err
	}
	for _, line := range [][]string{
		{"go", "build", "-o", dir, "./ringnode", "../../cmd/qpid-perf"},
		{"gcc", "-O2", "-Wall", "-o", filepath.Join(dir, "cpgnode"), "testdata/cpgnode.c", "-lcpg"},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%s: %w: %s", strings.Join(line, " "), err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if os.Getenv("QPIDD_PRIVILEGED") != "" {
		if dir, _ := programs(); dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(status)
}

// lab is a network with corosync on some of its hosts.
type lab struct {
	*network
	dir      string
	programs string
	daemons  [hosts + 1]*process
	id       func(host int) uint32 // node ids in corosync's nodelist
}

// newLab makes a lab in which nothing runs. It skips the test where that is not possible;
// continuous integration has to make it possible.
func newLab(t *testing.T) *lab {
	t.Helper()
	harness.Privileged(t)
	for tool, pkg := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if harness.Integration() {
			t.Fatalf("no %s here: apt-get install %s libcpg-dev", tool, pkg)
		}
		t.Skipf("no %s here: apt-get install %s libcpg-dev", tool, pkg)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{network: newNetwork(t), dir: t.TempDir(), programs: dir,
		id: func(host int) uint32 { return uint32(host) }}
	t.Cleanup(func() {
		if t.Failed() {
			l.showLogs(t)
		}
	})
	return l
}

func (l *lab) showLogs(t *testing.T) {
	for _, d := range l.daemons {
		if d != nil {
			t.Logf("%s said: %s", d.name, d.text())
		}
	}
	logs, _ := filepath.Glob(filepath.Join(l.dir, "*", "log", "*"))
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil {
			t.Logf("%s:\n%s", path, b)
		}
	}
}

func (l *lab) configuration() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `totem {
	version: 2
	cluster_name: interop
	transport: udp
	token: %d
	token_coefficient: 0
	interface {
		ringnumber: 0
		bindnetaddr: 10.78.0.0
		mcastaddr: %s
		mcastport: 5405
	}
}
quorum {
	provider: corosync_votequorum
}
logging {
	to_syslog: no
	to_stderr: no
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
	timestamp: hires
}
nodelist {
`, token, multicastGroup)
	for i := 1; i <= hosts; i++ {
		fmt.Fprintf(&b, "\tnode {\n\t\tring0_addr: %s\n\t\tnodeid: %d\n\t}\n", address(i), l.id(i))
	}
	b.WriteString("}\n")
	return b.String()
}

// enclosed gives corosync directories of its own: a mount namespace in which everything it
// writes to is empty or the lab's.
const enclosed = `set -e
mount --make-rprivate /
for d in etc:/etc/corosync lib:/var/lib/corosync log:/var/log/corosync; do
	mkdir -p "$1/${d%%:*}" "${d#*:}"
	mount --bind "$1/${d%%:*}" "${d#*:}"
done
mount -t tmpfs none /run
mount -t tmpfs -o size=512m none /dev/shm
exec corosync -f`

// corosync starts a daemon on a host, with what it knew of rings before, and a client.
func (l *lab) corosync(i int) *process {
	l.t.Helper()
	dir := filepath.Join(l.dir, strconv.Itoa(i))
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc", "corosync.conf"), []byte(l.configuration()), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.daemons[i] = start(l.t, i, fmt.Sprintf("corosync %d", i),
		"ip", "netns", "exec", l.host(i), "unshare", "-m", "sh", "-c", enclosed, "sh", dir)
	harness.Eventually(l.t, startLimit, fmt.Sprintf("corosync %d has its directories", i), func() error {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", l.daemons[i].cmd.Process.Pid))
		if err == nil && string(name) != "corosync\n" {
			err = fmt.Errorf("it is %s", name)
		}
		return err
	})
	return start(l.t, i, fmt.Sprintf("cpgnode %d", i), l.beside(i, filepath.Join(l.programs, "cpgnode"))...)
}

// beside is a command line in the namespaces of a daemon.
func (l *lab) beside(i int, line ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(l.daemons[i].cmd.Process.Pid), "-m", "-n"}, line...)
}

// ask runs one of corosync's tools.
func (l *lab) ask(i int, line ...string) string {
	l.t.Helper()
	line = l.beside(i, line...)
	out, _ := exec.Command(line[0], line[1:]...).CombinedOutput() // quorumtool's status tells the quorum
	return string(out)
}

// ringnode starts our process on a host, with the number of the last ring it was in.
func (l *lab) ringnode(i int, ringSeq uint64) *process {
	l.t.Helper()
	return start(l.t, i, fmt.Sprintf("ringnode %d", i), "ip", "netns", "exec", l.host(i), filepath.Join(l.programs, "ringnode"),
		"-node", strconv.Itoa(i), "-address", address(i), "-mcastaddr", multicastGroup,
		"-token", fmt.Sprintf("%dms", token), "-ringseq", strconv.FormatUint(ringSeq, 10))
}
