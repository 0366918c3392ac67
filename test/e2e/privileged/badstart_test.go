package privileged

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// badStart is a broker that cannot start, or not as it is told to.
type badStart struct {
	before    string // done to the host, in the script's own mounts
	arguments string
	status    string // 77 and 78 are those that no restart mends
	says      string
}

// full is a directory on a file system that has no room left.
const full = "mkdir /srv/full; mount -t tmpfs -o size=64k none /srv/full; head -c 65536 /dev/zero >/srv/full/f; "

// TestFullDiskEnds: a broker on whose disk there is no room for a segment runs, and refuses what is durable. It
// ends soon when it is told to, and not only when somebody has made room; then it is whole.
func TestFullDiskEnds(t *testing.T) {
	w := harness.NewNetwork(t, 1, ethernet)
	const script = `set -e
mount --make-rprivate /
mount -t tmpfs none /srv
mkdir /srv/small
mount -t tmpfs -o size=1m none /srv/small
export QPID_PID_DIR=/srv QPID_CONFIG=/dev/null
for size in 1m 512m; do
	mount -o remount,size=$size /srv/small
	$QPIDD --auth=no -p5699 -d --data-dir=/srv/small/data --log-output=/srv/log-$size
	timeout 15 $QPIDD -p5699 -q
	echo "ended $size"
	cat /srv/log-$size
done
`
	line := w.Hosts[0].Line("env", "QPIDD="+harness.Program(t, "qpidd"), "unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", script)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	small, large, both := strings.Cut(string(out), "ended 512m")
	if err != nil || !both || !strings.Contains(small, "ended 1m") || !strings.Contains(small, "the disk is full: cannot reserve") {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(large, "the disk is full") || !strings.Contains(large, "shutting down") {
		t.Errorf("with room: %s", large)
	}
}

// withoutRights is a user without any capability, under whom the broker is started.
const withoutRights = `QPIDD="setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all $QPIDD"; chmod 777 /srv; `

var badStarts = map[string]badStart{
	"log read-only":         {"mkdir /srv/ro; mount -t tmpfs -o ro none /srv/ro", "--no-data-dir --log-output=/srv/ro/log", "1", "read-only file system"},
	"log full":              {full, "--no-data-dir --log-output=/srv/full/log", "1", "no space left on device; make room"},
	"data read-only":        {"mkdir /srv/ro; mount -t tmpfs -o ro none /srv/ro", "--data-dir=/srv/ro/data", "1", "read-only file system; give another --data-dir"},
	"data full":             {full, "--data-dir=/srv/full/data", "1", "no space left on device"},
	"run read-only":         {"mkdir /srv/ro; mount -t tmpfs -o ro none /srv/ro", "--no-data-dir --pid-dir=/srv/ro", "1", "name another place with --pid-dir"},
	"run full":              {full, "--no-data-dir --pid-dir=/srv/full", "1", "cannot write pid file"},
	"not in time":           {"", "--no-data-dir --cluster-size=2 --wait=1", "1", "not ready within 1 seconds"},
	"ring configuration":    {"printf 'totem {\\n' >/srv/ring", "--no-data-dir --ring-config=/srv/ring", "78", "is not closed"},
	"no ring configuration": {"", "--no-data-dir --ring-config=/srv/missing", "78", "no such file"},
	"ring key":              {"printf 'totem {\\n\\tversion: 2\\n\\tcrypto_cipher: aes256\\n\\tcrypto_hash: sha256\\n\\tkeyfile: /srv/missing\\n}\\n' >/srv/ring", "--no-data-dir --ring-config=/srv/ring", "78", "copy it to every node"},
	"contradiction":         {"", "--no-data-dir --truncate=yes --store-dir=", "78", "--truncate"},
	"configuration":         {"printf 'port=5699\\nmax-connections=many\\n' >/srv/conf", "--config=/srv/conf --no-data-dir", "78", "/srv/conf:2: "},
	"not to be read":        {withoutRights + "echo port=5699 >/srv/conf; chmod 600 /srv/conf", "--config=/srv/conf --no-data-dir", "78", "permission denied"},
	"no interface":          {"", "--no-data-dir --bindnetaddr=192.0.2.1", "1", "is on no interface"},
	"firewall denied":       {withoutRights, "--no-data-dir --firewall=required", "77", "it takes CAP_NET_ADMIN"},
	"data denied":           {withoutRights + "mkdir -m 700 /srv/data", "--data-dir=/srv/data", "77", "permission denied; give"},
}

// badly starts a broker as a daemon on a host, and tells its status, what it says, and what it leaves:
// tables of the firewall, processes, files.
func badly(t *testing.T, h *harness.Host, x *badStart) (status, said, left string) {
	t.Helper()
	script := `mount --make-rprivate /
mount -t tmpfs none /srv
export QPID_PID_DIR=/srv QPID_CONFIG=/dev/null QPID_RING_CONFIG= QPID_BINDNETADDR=` + h.IP + `
` + x.before + `
nft list tables >/srv/tables
$QPIDD --cluster-name=bad --auth=no -p5699 --wait=10 -d ` + x.arguments + ` 2>/srv/said
status=$?
echo status $status
cat /srv/said
echo =====
running() { ps -e -o stat=,pid=,comm= | grep '^[^Z].* qpidd$'; }
[ $status = 0 ] || for i in $(seq 30); do running >/dev/null || break; sleep 0.1; done # it has said so, and is about to end
running
nft list tables | diff /srv/tables - | grep qpidd
find /srv -name '*.segment' -o -name store -o -name '*.unfinished' -o -name '*.pid'
true`
	line := h.Line("env", "QPIDD="+harness.Program(t, "qpidd"), "unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", script)
	out, err := exec.Command(line[0], line[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, left, _ := strings.Cut(string(out), "=====\n")
	first, said, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(first, "status "), said, left
}

// TestNothingHalfApplied starts brokers that cannot work on a host of their own. Each says why, ends with a
// status that tells systemd whether to try again, and leaves no rules, no process and no half of a store.
func TestNothingHalfApplied(t *testing.T) {
	harness.OwnRing(t, "the ring's firewall and files are corosync's")
	w := harness.NewNetwork(t, 1, ethernet)
	for name, x := range badStarts {
		t.Run(name, func(t *testing.T) {
			status, said, left := badly(t, w.Hosts[0], &x)
			if status != x.status || !strings.Contains(said, x.says) {
				t.Errorf("status %s, not %s, or no %q: %s", status, x.status, x.says, said)
			}
			if left != "" {
				t.Errorf("it leaves %s", left)
			}
		})
	}
}

// TestFirewallOfAnother has another process own the table that the broker is to have, which the kernel
// then lets nobody else change. A broker that needs it does not start; others say what is wrong.
func TestFirewallOfAnother(t *testing.T) {
	harness.OwnRing(t, "the ring's firewall is corosync's")
	w := harness.NewNetwork(t, 1, ethernet)
	release := ownTable(t, w.Hosts[0], "qpidd-5699")
	required := &badStart{arguments: "--no-data-dir --firewall=required"}
	status, said, left := badly(t, w.Hosts[0], required)
	if status != "77" || !strings.Contains(said, "another process owns the table") || left != "" {
		t.Errorf("status %s: %s; it leaves %s", status, said, left)
	}
	status, said, _ = badly(t, w.Hosts[0], &badStart{arguments: "--no-data-dir"})
	if status != "0" || !strings.Contains(said, "another process owns the table") {
		t.Errorf("status %s: %s", status, said)
	}
	release()
	status, said, _ = badly(t, w.Hosts[0], required)
	if status != "0" || strings.Contains(said, "warning") {
		t.Errorf("status %s: %s", status, said)
	}
}

// TestNoRights starts a broker that has not one capability of those that it can use. It runs, over UDP,
// and names each thing that it goes without.
func TestNoRights(t *testing.T) {
	harness.OwnRing(t, "the ring's packets are corosync's")
	w := harness.NewNetwork(t, 1, ethernet)
	for option, says := range map[string]string{
		"--firewall=auto":        "CAP_NET_ADMIN",
		"--ring-datapath=packet": "CAP_NET_RAW",
		"--ring-datapath=xdp":    "CAP_",
		"--ring-guard=tc":        "CAP_",
		"--connection-rate=100":  "CAP_",
	} {
		t.Run(option, func(t *testing.T) {
			status, said, _ := badly(t, w.Hosts[0], &badStart{before: withoutRights, arguments: "--no-data-dir " + option})
			if status != "0" || !strings.Contains(said, says) {
				t.Errorf("status %s, or no %q: %s", status, says, said)
			}
		})
	}
}

// TestOneRightLess starts a broker that has all capabilities that it can use but one, which it names, with
// the option that takes it; with all of them it misses none.
func TestOneRightLess(t *testing.T) {
	harness.OwnRing(t, "the ring's packets are corosync's")
	w := harness.NewNetwork(t, 1, ethernet)
	rights := []string{"net_admin", "net_raw", "bpf", "perfmon"}
	for _, less := range append([]string{"none"}, rights...) {
		t.Run(less, func(t *testing.T) {
			given := "-all,+ipc_lock"
			for _, r := range rights {
				if r != less {
					given += ",+" + r
				}
			}
			as := fmt.Sprintf("setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=%s --ambient-caps=%[1]s", given)
			status, said, _ := badly(t, w.Hosts[0], &badStart{before: `QPIDD="` + as + ` $QPIDD"; chmod 777 /srv`, arguments: "--no-data-dir --ring-datapath=xdp --ring-guard=tc"})
			missed := "lacks CAP_" + strings.ToUpper(less) + " for --ring-datapath=xdp"
			if status != "0" || strings.Contains(said, missed) != (less != "none") || strings.Contains(said, "lacks") != (less != "none") {
				t.Errorf("status %s: %s", status, said)
			}
		})
	}
}

// ownTable makes a table whose owner is a socket of this process (NFT_TABLE_F_OWNER), which the nft of
// many distributions cannot.
func ownTable(t *testing.T, h *harness.Host, name string) (release func()) {
	t.Helper()
	const (
		batchBegin, batchEnd = 0x10, 0x11
		newTable             = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
		attrName, attrFlags  = 1, 2
		owner                = 2
		create               = unix.NLM_F_CREATE
	)
	pad := func(b []byte) []byte {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	attribute := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		return pad(append(binary.NativeEndian.AppendUint16(b, kind), value...))
	}
	message := func(kind, flags uint16, family byte, resource uint16, rest []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(rest)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
		b = append(b, 1, 0, 0, 0, 0, 0, 0, 0) // sequence, port
		return append(binary.BigEndian.AppendUint16(append(b, family, 0), resource), rest...)
	}
	batch := bytes.Join([][]byte{
		message(batchBegin, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
		message(newTable, unix.NLM_F_ACK|create, unix.NFPROTO_INET, 0, append(attribute(attrName, []byte(name+"\x00")), attribute(attrFlags, []byte{0, 0, 0, owner})...)),
		message(batchEnd, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil),
	}, nil)
	made := make(chan error, 1)
	var fd int
	go h.Within(func(err error) {
		if err == nil {
			fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		}
		if err == nil {
			err = unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
		answer := make([]byte, 4096)
		if err == nil {
			_, _, err = unix.Recvfrom(fd, answer, 0)
		}
		if code := -int32(binary.NativeEndian.Uint32(answer[16:])); err == nil && code != 0 {
			err = fmt.Errorf("the kernel makes no table: %w", unix.Errno(code))
		}
		made <- err
	})
	if err := <-made; err != nil {
		t.Fatal(errors.Join(err, unix.Close(fd)))
	}
	return func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
}
