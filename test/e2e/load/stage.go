package load

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Patience is how long a load may take for what should take no time.
const Patience = 60 * time.Second

// Stage is the load of a test, on a queue of its own, with the contexts of its publishers and
// consumers.
type Stage struct {
	*Load
	Publishing, Consuming         context.Context
	StopPublishing, StopConsuming context.CancelFunc
}

var stages atomic.Int64

// NewStage declares the queue of a load. The clients end with the test.
func NewStage(t testing.TB, c *harness.Cluster) *Stage {
	t.Helper()
	s := &Stage{Load: New(fmt.Sprintf("load-%d", stages.Add(1)), c.Brokers...)}
	s.Publishing, s.StopPublishing = context.WithCancel(context.Background())
	s.Consuming, s.StopConsuming = context.WithCancel(context.Background())
	t.Cleanup(func() {
		s.StopPublishing()
		s.StopConsuming()
		s.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := s.Declare(ctx, 0); err != nil {
		t.Fatal(err)
	}
	return s
}

// Await waits for so many messages more to be promised, seen and held.
func (s *Stage) Await(t testing.TB, what string, promised, seen, held int) {
	t.Helper()
	p, n, h := s.Ledger.Count()
	harness.Eventually(t, Patience, what, func() error { return s.Above(p+promised, n+seen, h+held) })
}

// Settle stops the publishers and waits until all is consumed that was promised or held.
func (s *Stage) Settle(t testing.TB) {
	t.Helper()
	s.StopPublishing()
	harness.Eventually(t, Patience, "all that was promised or held is consumed", s.Ledger.Complete)
	for _, w := range s.Ledger.Wrong() {
		t.Error(w)
	}
}
