package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

const (
	hosts          = 3
	ethernet       = 1500
	multicastGroup = "239.255.78.1"
	// token is corosync's token timeout and ours, in milliseconds; the time until a death is
	// acted upon is this and the consensus timeout, 1.2 of it. On a machine that is busy with
	// other things all processes have been seen to rest for a second, which is no death.
	token = 2000
)

// tools are what a lab runs, and the Debian packages that have them.
var tools = map[string]string{
	"corosync": "corosync", "gcc": "gcc", "ip": "iproute2", "nft": "nftables", "ethtool": "ethtool",
}

// lacking lists Debian's packages that a lab needs and this machine has not.
var lacking = sync.OnceValue(func() (list []string) {
	for tool, pkg := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			list = append(list, pkg)
		}
	}
	header := exec.Command("gcc", "-fsyntax-only", "-x", "c", "-")
	header.Stdin = strings.NewReader("#include <corosync/cpg.h>\n")
	if header.Run() != nil {
		list = append(list, "libcpg-dev", "libc6-dev")
	}
	slices.Sort(list)
	return list
})

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

// lab is a network with corosync on some of its hosts, which are numbered from 1.
type lab struct {
	*harness.Network
	t         testing.TB
	dir       string
	programs  string
	daemons   [hosts + 1]*process
	id        func(host int) uint32 // node ids in corosync's nodelist
	transport string
	totem     string // further directives of totem
	quorum    string // and of quorum
	everyone  string // the directive that says where to what is for everyone goes
	ipv6      bool
}

// newLab makes a lab in which nothing runs. It skips the test where that is not possible;
// continuous integration has to make it possible.
func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabOf(t, ethernet)
}

// newLabOf makes one whose interfaces have an MTU.
func newLabOf(t *testing.T, mtu int) *lab {
	t.Helper()
	harness.Privileged(t)
	if lacking := lacking(); len(lacking) > 0 {
		text := "not here, and needed: " + strings.Join(lacking, " ") + "; test/e2e/install-clients installs them on Debian"
		if harness.Integration() {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Network: harness.NewNetwork(t, hosts, mtu), t: t, dir: t.TempDir(), programs: dir,
		id:        func(host int) uint32 { return uint32(host) },
		transport: "udp", totem: fmt.Sprintf("token: %d\n\ttoken_coefficient: 0", token),
		everyone: fmt.Sprintf("bindnetaddr: %s\n\t\tmcastaddr: %s", netlab.Subnet, multicastGroup)}
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

func (l *lab) host(i int) *harness.Host { return l.Hosts[i-1] }

// address is a host's on the ring.
func (l *lab) address(i int) string {
	if l.ipv6 {
		return l.host(i).IP6
	}
	return l.host(i).IP
}

func (l *lab) configuration() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `totem {
	version: 2
	cluster_name: interop
	transport: %s
	%s
	interface {
		linknumber: 0
		%s
		mcastport: 5405
	}
}
quorum {
	provider: corosync_votequorum
	%s
}
logging {
	to_syslog: no
	to_stderr: no
	to_logfile: yes
	logfile: /var/log/corosync/corosync.log
	timestamp: hires
}
nodelist {
`, l.transport, l.totem, l.everyone, l.quorum)
	for i := 1; i <= hosts; i++ {
		fmt.Fprintf(&b, "\tnode {\n\t\tring0_addr: %s\n\t\tnodeid: %d\n\t}\n", l.address(i), l.id(i))
	}
	b.WriteString("}\n")
	return b.String()
}

func (l *lab) writeConfiguration(path string) {
	l.t.Helper()
	if err := os.WriteFile(path, []byte(l.configuration()), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// enclosed gives corosync directories of its own: a mount namespace in which everything it
// writes to is empty or the lab's. With a directory for libqb, its sockets in the file system,
// which Debian's has in /tmp, go to a layer above that.
const enclosed = `set -e
mount --make-rprivate /
for d in etc:/etc/corosync lib:/var/lib/corosync log:/var/log/corosync; do
	mkdir -p "$1/${d%%:*}" "${d#*:}"
	mount --bind "$1/${d%%:*}" "${d#*:}"
done
if [ -d "$1/libqb" ]; then
	mkdir -p /etc/libqb
	mount --bind "$1/libqb" /etc/libqb
	mkdir "$1/over"
	mount -t tmpfs none "$1/over"
	mkdir "$1/over/upper" "$1/over/work"
	mount -t overlay none -o "lowerdir=/tmp,upperdir=$1/over/upper,workdir=$1/over/work" /tmp
fi
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
	l.writeConfiguration(filepath.Join(dir, "etc", "corosync.conf"))
	l.daemons[i] = start(l.t, i, fmt.Sprintf("corosync %d", i),
		l.host(i).Line("unshare", "-m", "sh", "-c", enclosed, "sh", dir)...)
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
	return l.ringnodeWith(i, ringSeq)
}

// ringnodeWith starts it with variables in its environment.
func (l *lab) ringnodeWith(i int, ringSeq uint64, environment ...string) *process {
	l.t.Helper()
	path := filepath.Join(l.dir, fmt.Sprintf("ringnode%d.conf", i)) // others may be reading theirs
	l.writeConfiguration(path)
	line := append(environment, filepath.Join(l.programs, "ringnode"), "-ring-config", path, "-ringseq", strconv.FormatUint(ringSeq, 10))
	return start(l.t, i, fmt.Sprintf("ringnode %d", i), l.host(i).Line("env", line...)...)
}
