package interop

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// byAddress is the node id that a broker takes, and corosync where none is given: its IPv4
// address.
func (l *lab) byAddress(host int) uint32 {
	a := netip.MustParseAddr(l.host(host).IP).As4()
	return binary.BigEndian.Uint32(a[:])
}

// TestBrokers has two brokers form their cluster on a ring of which corosync forms the rest,
// and go on when it dies and when it is back.
func TestBrokers(t *testing.T) {
	l := newLab(t)
	l.id = l.byAddress
	client := l.corosync(1)
	client.awaitView(viewLimit, int(l.byAddress(1)))
	brokers := l.brokers(func(i int) []string {
		return []string{"--ring-config=", "--bindnetaddr=" + l.host(i).IP, "--mcastaddr=" + multicastGroup, fmt.Sprintf("--token=%dms", token)}
	})
	seen := func() error { return l.seesBrokers(brokers) }
	clustered := func() error { return errors.Join(l.bothActive(t, 2), l.bothActive(t, 3)) }
	harness.Eventually(t, viewLimit, "both brokers are active", clustered)
	harness.Eventually(t, viewLimit, "corosync shows both", seen)

	l.carry(t)

	l.daemons[1].kill()
	l.carry(t)
	harness.Eventually(t, viewLimit, "both brokers are active without corosync", clustered)
	l.corosync(1)
	harness.Eventually(t, viewLimit, "corosync shows both again", seen)
	harness.Eventually(t, viewLimit, "both brokers are active still", clustered)
	l.carry(t)
}

// TestBrokerKilled kills a broker in a ring of two and a corosync, with the usual timeouts, which
// take 8 seconds to notice a death. The other's mesh notices it by the connection that breaks, and
// what it tells the ring has the corosync, too, in a new one at once.
func TestBrokerKilled(t *testing.T) {
	l := newLab(t)
	l.id, l.totem = l.byAddress, ""
	l.corosync(1)
	client := l.client(1)
	brokers := l.brokers(func(i int) []string {
		return []string{"--ring-config=", "--bindnetaddr=" + l.host(i).IP, "--mcastaddr=" + multicastGroup}
	})
	harness.Eventually(t, viewLimit, "both brokers are active", func() error {
		return errors.Join(l.bothActive(t, 2), l.bothActive(t, 3))
	})
	l.carry(t)
	client.seen = client.said()
	left := fmt.Sprint([]uint32{l.byAddress(1), l.byAddress(2)})
	begin := time.Now()
	brokers[1].kill()
	client.awaitLine(time.Second, "corosync has a ring of "+left, func(line string) bool {
		return strings.HasPrefix(line, "ring ") && strings.HasSuffix(line, left)
	})
	corosync := time.Since(begin)
	brokers[0].awaitLine(time.Second, "the other has a view without it", func(line string) bool {
		return strings.Contains(line, "member left") && strings.Contains(line, fmt.Sprint(l.byAddress(3)))
	})
	t.Logf("corosync has the new ring %v after the kill, and the other broker its view after %v", corosync, time.Since(begin))
}

// brokers starts one on each host but the first.
func (l *lab) brokers(options func(host int) []string) (list []*process) {
	l.t.Helper()
	for i := 2; i <= hosts; i++ {
		line := append([]string{harness.Program(l.t, "qpidd"), "--config=/dev/null", "--cluster-name=brokers", "--no-data-dir", "--auth=no"}, options(i)...)
		list = append(list, start(l.t, i, fmt.Sprintf("qpidd %d", i), l.host(i).Line(line[0], line[1:]...)...))
	}
	return list
}

// seesBrokers looks for brokers, and for a vote of every host, with the tools of the corosync on
// the first.
func (l *lab) seesBrokers(brokers []*process) error {
	if err := l.votes(1); err != nil {
		return err
	}
	out := l.ask(1, "corosync-cpgtool")
	for _, b := range brokers {
		if !listed(out, b.cmd.Process.Pid, l.id(b.host)) {
			return fmt.Errorf("no process %d on host %d in\n%s", b.cmd.Process.Pid, b.host, out)
		}
	}
	return nil
}

// TestSameConfiguration has corosync and brokers read the very same file, each way in which it
// may say where to what is for everyone goes: they form one ring, with the nodelist's ids. What
// corosync derives from the file is what package conf does.
func TestSameConfiguration(t *testing.T) {
	for _, x := range []struct{ name, everyone, totem string }{
		{"multicast", "mcastaddr: " + multicastGroup, "token: 2000\n\ttoken_coefficient: 0"},
		{"broadcast", "broadcast: yes", "token: 1001\n\ttoken_coefficient: 333\n\ttoken_retransmits_before_loss_const: 7\n\tconsensus: 2345"},
		{"multicast address of the cluster's name", "", "hold: 77\n\tmerge: 150\n\tjoin: 60\n\tmiss_count_const: 6"},
		{"knet", "", "token: 2222\n\ttoken_coefficient: 0"},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t)
			l.totem = x.totem
			if x.name == "knet" {
				l.knet("aes256 sha256")
			} else {
				l.everyone = fmt.Sprintf("bindnetaddr: %s\n\t\t%s", netlab.Subnet, x.everyone)
			}
			l.corosync(1).awaitView(viewLimit, 1)
			path := filepath.Join(l.dir, "corosync.conf")
			l.writeConfiguration(path)
			brokers := l.brokers(func(int) []string {
				// The nodelist has three nodes, of which one runs no broker.
				return []string{"--ring-config=" + path, "--cluster-size=2"}
			})
			harness.Eventually(t, viewLimit, "both brokers are active", func() error {
				return errors.Join(l.bothActive(t, 2), l.bothActive(t, 3))
			})
			harness.Eventually(t, viewLimit, "corosync shows both", func() error { return l.seesBrokers(brokers) })
			l.carry(t)
			l.derivesTheSame()
		})
	}
}

// derivesTheSame compares what the corosync on the first host made of the file with what
// package conf makes of it.
func (l *lab) derivesTheSame() {
	l.t.Helper()
	c, _, err := conf.Parse("corosync.conf", []byte(l.configuration()))
	if err != nil {
		l.t.Fatal(err)
	}
	d, now := c.Times(0), &c.Totem
	for key, want := range map[string]int64{
		"token": d.Token.Milliseconds(), "token_retransmit": d.TokenRetransmit.Milliseconds(), "hold": d.Hold.Milliseconds(),
		"join": d.Join.Milliseconds(), "consensus": d.Consensus.Milliseconds(), "merge": d.Merge.Milliseconds(),
		"token_warning": int64(now.TokenWarning), "token_retransmits_before_loss_const": int64(now.TokenRetransmitsBeforeLoss),
		"send_join": now.SendJoin.Milliseconds(), "downcheck": now.Downcheck.Milliseconds(), "max_network_delay": now.MaxNetworkDelay.Milliseconds(),
		"fail_recv_const": int64(now.FailRecvConst), "seqno_unchanged_const": int64(now.SeqnoUnchangedConst), "miss_count_const": int64(now.MissCountConst),
		"window_size": int64(now.WindowSize), "max_messages": int64(now.MaxMessages), "heartbeat_failures_allowed": int64(now.HeartbeatFailuresAllowed),
	} {
		out := l.ask(1, "corosync-cmapctl", "-g", "runtime.config.totem."+key)
		if _, got, _ := strings.Cut(strings.TrimSpace(out), " = "); got != fmt.Sprint(want) {
			l.t.Errorf("%s is %d here, and %s there", key, want, out)
		}
	}
}

// carry has messages go in at one broker and out at the other.
func (l *lab) carry(t *testing.T) {
	t.Helper()
	line := l.host(2).Line(filepath.Join(l.programs, "qpid-perf"), "--warm-up=0", "--duration=500ms",
		"--producer-url=amqp://"+l.host(2).IP, "--consumer-url=amqp://"+l.host(3).IP)
	if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("qpid-perf: %v: %s", err, out)
	}
}

// bothActive asks the broker on a host who is in its cluster.
func (l *lab) bothActive(t *testing.T, host int) error { return l.active(t, host, 2) }

// active tells whether a broker is one of so many.
func (l *lab) active(t *testing.T, host, members int) error {
	c := harness.Command{Program: "qpid-cluster", Arguments: []string{l.host(host).IP, "--json"}, Host: l.host(host)}
	out := c.Run(t)
	if out.Status != 0 {
		return fmt.Errorf("qpid-cluster: %s", out.Stderr)
	}
	var s struct {
		Members []struct{ State string }
	}
	if err := json.Unmarshal([]byte(out.Stdout), &s); err != nil {
		return err
	}
	if len(s.Members) != members {
		return errors.New(out.Stdout)
	}
	for _, m := range s.Members {
		if m.State != "active" {
			return errors.New(out.Stdout)
		}
	}
	return nil
}
