package privileged

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// onCorosync starts three brokers, each on the corosync of its host.
func onCorosync(t *testing.T) (*harness.Cluster, *load.Stage) {
	t.Helper()
	harness.UseCorosync(t)
	c := harness.StartAcross(t, harness.NewNetwork(t, 3, ethernet))
	s := load.NewStage(t, c)
	s.RunOnce(s.Publishing, 0, s.Publish091("old"))
	s.RunOnce(s.Publishing, 1, s.Publish100("new"))
	s.RunOnce(s.Consuming, 1, s.Consume091("consumer", false))
	s.Await(t, "load", 1000, 1000, 0)
	return c, s
}

// TestKillCorosync kills the corosync of a host. Its broker says so and ends, the others go on,
// and it comes back.
func TestKillCorosync(t *testing.T) {
	const victim = 2
	c, s := onCorosync(t)
	s.Ledger.Watch()
	c.KillCorosync(victim)
	if log := c.LogText(victim); !strings.Contains(log, "Disconnected from cluster: corosync has gone away; start it again") {
		t.Errorf("its broker says\n%s", log)
	}
	s.Await(t, "the others go on", 1000, 1000, 0)
	t.Logf("longest time without a confirm: %v", s.Ledger.Gaps())
	c.RestartCorosync(victim)
	c.Restart(victim)
	s.RunOnce(s.Consuming, victim, s.Consume091("back", false))
	s.Await(t, "all go on", 1000, 1000, 0)
	s.Settle(t)
}

// TestStoppedOnCorosync stops a broker, of which corosync cannot know. The others wait for it and
// then go on without it, and it ends when it wakes.
func TestStoppedOnCorosync(t *testing.T) {
	const victim = 2
	c, s := onCorosync(t)
	s.Ledger.Watch()
	c.Signal(syscall.SIGSTOP, victim)
	c.AwaitLog(0, 1, "member left")
	s.Await(t, "the others go on", 1000, 1000, 0)
	t.Logf("longest time without a confirm: %v", s.Ledger.Gaps())
	c.Signal(syscall.SIGCONT, victim)
	c.AwaitLog(victim, 1, "Disconnected from cluster: this member was stopped or stuck")
	c.AwaitEnd(victim)
	c.Restart(victim)
	s.Await(t, "all go on", 1000, 1000, 0)
	s.Settle(t)
}

// TestNoCorosync starts a broker where there is no corosync. It waits for one, and then says
// what to do.
func TestNoCorosync(t *testing.T) {
	const patience = 25 * time.Second
	harness.UseCorosync(t)
	h := harness.NewNetwork(t, 1, ethernet).Hosts[0]
	c := harness.Start(t, 0)
	started := time.Now()
	r := c.Command(h, "-p0", "--cluster-name=x", "--no-data-dir", "--auth=no", "--log-output=log").Run(t)
	took := time.Since(started)
	if r.Status != 1 || took < patience {
		t.Errorf("exit status %d after %v", r.Status, took)
	}
	for _, want := range []string{"Failed to initialize CPG: cannot connect to corosync", "@cpg", "is corosync running?", "systemctl start corosync", "--ring-provider=totem"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("no %q in %s", want, r.Stderr)
		}
	}
}
