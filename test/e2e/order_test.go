package e2e

import (
	"fmt"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestOrder has clients publish everywhere and one consume. Nothing is delivered again, so it
// gets what each publisher sent in the order in which that was. With a second consumer the
// queue might change hands under load, and what was on its way to one would come to the other.
func TestOrder(t *testing.T) {
	short(t)
	c := harness.Start(t, 3)
	s := load.NewStage(t, c)
	for i := range c.Brokers {
		s.RunOnce(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
		s.RunOnce(s.Publishing, i, s.Publish100(fmt.Sprintf("new%d", i)))
	}
	s.RunOnce(s.Consuming, 2, s.Consume091("consumer", false))
	// How fast it is taken is not the question: one consumer of six publishers may be far behind.
	s.Await(t, "load everywhere", 10000, 2000, 0)
	s.Settle(t)
}
