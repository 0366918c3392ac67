package privileged

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestKillAndKill kills, stops and starts brokers again and again, at moments that are the
// seed's, while publishers and consumers go from one to the next. All that was promised is
// consumed; what comes twice says so.
func TestKillAndKill(t *testing.T) {
	harness.Privileged(t)
	const rounds = 25
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	c := harness.Start(t, 4)
	s := load.NewStage(t, c)
	s.Ledger.AcksLost = true
	for i := range c.Brokers {
		s.Run(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
		s.Run(s.Publishing, i, s.Publish100(fmt.Sprintf("new%d", i)))
		s.Run(s.Consuming, i, s.Consume091(fmt.Sprintf("consumer%d", i), false))
		s.Run(s.Consuming, i, s.Consume100(fmt.Sprintf("receiver%d", i), false))
	}
	for round := range rounds {
		s.Await(t, fmt.Sprintf("round %d: load", round), r.IntN(2000), 100, 0)
		victims := r.Perm(len(c.Brokers))[:1+r.IntN(3)]
		switch r.IntN(3) {
		case 0:
			c.Stop(victims[0])
			victims = victims[:1]
		case 1:
			c.Kill(victims[0])
			victims = victims[:1]
		default: // up to three of four, at once
			c.Kill(victims...)
		}
		s.Await(t, fmt.Sprintf("round %d: %v are down", round, victims), r.IntN(500), 100, 0)
		c.RestartTogether(victims...)
	}
	s.Settle(t)
}
