package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestClusterSize kills two of three where a majority of three is asked for. The last one
// accepts nothing and says so; when the others are back it goes on, with all it had.
func TestClusterSize(t *testing.T) {
	short(t)
	c := harness.Start(t, 0, "--cluster-size=3")
	for range 3 {
		c.Place()
	}
	c.RestartTogether(0, 1, 2) // each waits for the others
	s := load.NewStage(t, c)
	s.RunOnce(s.Publishing, 2, s.Publish091("old"))
	s.RunOnce(s.Publishing, 2, s.Publish100("new"))
	s.Await(t, "load", 1000, 0, 0)
	c.Kill(0, 1)
	c.AwaitLog(2, 1, "no quorum")
	harness.Eventually(t, load.Patience, "clients are told", func() error {
		if n := len(s.Ends()); n < 2 {
			return fmt.Errorf("%d were: %v", n, s.Ends())
		}
		return nil
	})
	for _, err := range s.Ends() {
		if !strings.Contains(err.Error(), "quorum") {
			t.Errorf("a client was told %v", err)
		}
	}
	if st := ask(t, c.Brokers[2]); st.Status != "NO QUORUM" {
		t.Errorf("its status is %+v", st)
	}
	promised, _, _ := s.Ledger.Count()
	s.RunOnce(s.Publishing, 2, s.Publish091("late"))
	harness.Always(t, time.Second, "nothing is accepted", func() error {
		if n, _, _ := s.Ledger.Count(); n != promised {
			return fmt.Errorf("%d messages", n-promised)
		}
		return nil
	})
	// One that comes with nothing is no witness that there is no other history than that of
	// the last one: it takes all three.
	c.RestartTogether(0, 1)
	c.AwaitLog(2, 1, "quorum is back")
	s.Run(s.Publishing, 2, s.Publish091("again"))
	s.Await(t, "load after the quorum is back", 500, 0, 0)
	s.RunOnce(s.Consuming, 0, s.Consume091("consumer", false))
	s.Settle(t)
}

// TestDownscale shuts down two of four where two are expected at the least, and allow_downscale is set: the
// others expect two, and when one of these is killed the last has no quorum.
func TestDownscale(t *testing.T) {
	harness.OwnRing(t, "its configuration is not ours to read")
	short(t)
	c := harness.Start(t, 0)
	c.RingConfig = ringFile(t, c, "downscale.conf", strings.Replace(corosync3, "votequorum\n", "votequorum\n\texpected_votes: 2\n\tallow_downscale: 1\n", 1))
	for range 4 {
		c.Place()
	}
	c.RestartTogether(0, 1, 2, 3)
	for _, i := range []int{3, 2} {
		c.Stop(i)
		for on := range i {
			c.AwaitLog(on, 1, fmt.Sprintf("no more than %d members are expected from now on", i))
		}
	}
	c.Kill(1)
	c.AwaitLog(0, 1, "no quorum: 1 of 2 members are left")
	c.AwaitLog(0, 1, "expected_votes_tracking: there is no data directory")
}
