package interop

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// byAddress is the node id that a broker takes, and corosync where none is given: its IPv4
// address.
func byAddress(host int) uint32 {
	a := netip.MustParseAddr(address(host)).As4()
	return binary.BigEndian.Uint32(a[:])
}

// TestBrokers has two brokers form their cluster on a ring of which corosync forms the rest,
// and go on when it dies and when it is back.
func TestBrokers(t *testing.T) {
	l := newLab(t)
	l.id = byAddress
	client := l.corosync(1)
	client.awaitView(viewLimit, int(byAddress(1)))
	var brokers []*process
	for i := 2; i <= hosts; i++ {
		brokers = append(brokers, start(t, i, fmt.Sprintf("qpidd %d", i), "ip", "netns", "exec", l.host(i),
			harness.Program(t, "qpidd"), "--config=/dev/null", "--cluster-name=brokers", "--no-data-dir", "--auth=no",
			"--bindnetaddr="+address(i), "--mcastaddr="+multicastGroup, fmt.Sprintf("--token=%dms", token)))
	}
	seen := func() error {
		if err := l.votes(1); err != nil {
			return err
		}
		out := l.ask(1, "corosync-cpgtool")
		for _, b := range brokers {
			if !listed(out, b.cmd.Process.Pid, byAddress(b.host)) {
				return fmt.Errorf("no process %d on host %d in\n%s", b.cmd.Process.Pid, b.host, out)
			}
		}
		return nil
	}
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

// carry has messages go in at one broker and out at the other.
func (l *lab) carry(t *testing.T) {
	t.Helper()
	l.run("ip", "netns", "exec", l.host(2), filepath.Join(l.programs, "qpid-perf"), "--warm-up=0", "--duration=500ms",
		"--producer-url=amqp://"+address(2), "--consumer-url=amqp://"+address(3))
}

// bothActive asks the broker on a host who is in its cluster.
func (l *lab) bothActive(t *testing.T, host int) error {
	out, err := exec.Command("ip", "netns", "exec", l.host(host), harness.Program(t, "qpid-cluster"), address(host), "--json").CombinedOutput()
	if err != nil {
		return fmt.Errorf("qpid-cluster: %w: %s", err, out)
	}
	var s struct {
		Members []struct{ State string }
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return err
	}
	if len(s.Members) != 2 || s.Members[0].State != "active" || s.Members[1].State != "active" {
		return fmt.Errorf("%s", out)
	}
	return nil
}
