package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestJoinUnderLoad lets two more brokers join while many messages are queued, and clients
// work with the first two. Nobody has to wait for long, nothing is lost, and the joiners
// serve all of it.
func TestJoinUnderLoad(t *testing.T) {
	short(t)
	const (
		queued = 50000
		most   = 2 * time.Second
	)
	c := harness.Start(t, 2)
	big := load.NewStage(t, c)
	for i := range 4 {
		big.Run(big.Publishing, i%2, big.Publish091(fmt.Sprintf("stock%d", i)))
	}
	harness.Eventually(t, 2*load.Patience, "messages are queued", func() error { return big.Above(queued, 0, 0) })
	big.StopPublishing()

	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("old"))
	s.Run(s.Publishing, 1, s.Publish100("new"))
	s.RunOnce(s.Consuming, 1, s.Consume091("consumer", false))
	s.Await(t, "load", 500, 500, 0)
	for i := range 2 {
		s.Ledger.Watch()
		started := time.Now()
		b := c.Add()
		took := time.Since(started)
		s.Await(t, "load after the join", 1000, 1000, 0)
		gaps := s.Ledger.Gaps()
		t.Logf("broker %d joined in %v; longest time without a confirm %v", b.Index, took.Round(time.Millisecond), gaps)
		if max(gaps["old"], gaps["new"]) > most {
			t.Errorf("join %d: publishers had to wait %v, more than %v", i, gaps, most)
		}
	}
	s.Settle(t)
	big.Brokers = c.Brokers
	c.Kill(0, 1) // so that nobody but the joiners can have kept it
	big.Ledger.Handovers = true
	big.RunOnce(big.Consuming, 2, big.Consume091("third", false))
	big.RunOnce(big.Consuming, 3, big.Consume100("fourth", false))
	harness.Eventually(t, 2*load.Patience, "the joiners serve what was queued before", big.Ledger.Complete)
	for _, w := range big.Ledger.Wrong() {
		t.Error(w)
	}
	p, n, _ := big.Ledger.Count()
	t.Logf("%d messages were promised before, %d consumed from the joiners; in flight %d at most", p, n, 4*load.InFlight)
}
