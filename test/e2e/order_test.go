package e2e

import (
	"fmt"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestOrder has clients publish and consume everywhere. Nothing is delivered again, so each
// consumer gets what each publisher sent in the order in which that was.
func TestOrder(t *testing.T) {
	short(t)
	c := harness.Start(t, 3)
	s := load.NewStage(t, c)
	for i := range c.Brokers {
		s.RunOnce(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
		s.RunOnce(s.Publishing, i, s.Publish100(fmt.Sprintf("new%d", i)))
		s.RunOnce(s.Consuming, i, s.Consume091(fmt.Sprintf("consumer%d", i), false))
		s.RunOnce(s.Consuming, i, s.Consume100(fmt.Sprintf("receiver%d", i), false))
	}
	s.Await(t, "load everywhere", 20000, 20000, 0)
	s.Settle(t)
}
