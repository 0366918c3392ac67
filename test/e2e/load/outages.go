package load

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Outages has brokers with stores end under load, one to all of them at once and all the first time,
// and starts them again. Nothing that was confirmed may be lost, nothing change its order, and nothing
// come twice that is not marked.
func Outages(t *testing.T, c *harness.Cluster, cycles int, end func(victims ...int)) {
	t.Helper()
	n := len(c.Brokers)
	for i := range cycles {
		s := NewStage(t, c)
		s.Ledger.AcksLost = true
		for k := range n {
			s.Run(s.Publishing, k, s.Publish091(fmt.Sprintf("old%d", k)))
			s.Run(s.Publishing, k, s.Publish100(fmt.Sprintf("new%d", k)))
		}
		s.Run(s.Consuming, rand.IntN(n), s.Consume091("consumer", false))
		s.Await(t, "load", 200+rand.IntN(300), 100, 0)
		victims := rand.Perm(n)[:1+rand.IntN(n)]
		if i == 0 {
			victims = rand.Perm(n)
		}
		started := time.Now()
		end(victims...)
		c.RestartTogether(victims...)
		s.Await(t, "load after the outage", 200, 100, 0)
		t.Logf("cycle %d: %v ended, all well %v later", i, victims, time.Since(started).Round(time.Millisecond))
		s.Settle(t)
		s.StopConsuming()
	}
}
