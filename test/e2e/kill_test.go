package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

const goOnLimit = 30 * time.Second

// stage is a load with the contexts of its publishers and consumers.
type stage struct {
	*load.Load
	c                            *harness.Cluster
	publishing, consuming        context.Context
	stopPublishing, stopConsumer context.CancelFunc
}

var stages atomic.Int64

// newStage declares the queue of a load. The clients end with the test.
func newStage(t *testing.T, c *harness.Cluster) *stage {
	t.Helper()
	queue := fmt.Sprintf("load-%d", stages.Add(1)) // what an earlier one left is not for this one
	s := &stage{Load: load.New(queue, c.Brokers...), c: c}
	s.publishing, s.stopPublishing = context.WithCancel(context.Background())
	s.consuming, s.stopConsumer = context.WithCancel(context.Background())
	t.Cleanup(func() {
		s.stopPublishing()
		s.stopConsumer()
		s.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), goOnLimit)
	defer cancel()
	if err := s.Declare(ctx, 0); err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits for so many messages more.
func (s *stage) await(t *testing.T, what string, promised, seen, held int) {
	t.Helper()
	p, n, h := s.Ledger.Count()
	harness.Eventually(t, goOnLimit, what, func() error { return s.Above(p+promised, n+seen, h+held) })
}

// settle stops the publishers and waits until all is consumed that was promised or held.
func (s *stage) settle(t *testing.T) {
	t.Helper()
	s.stopPublishing()
	harness.Eventually(t, goOnLimit, "all that was promised or held is consumed", s.Ledger.Complete)
	for _, w := range s.Ledger.Wrong() {
		t.Error(w)
	}
}

// TestKillEach kills each broker in turn under load, and starts it again. Nothing that a
// publisher was promised is lost, nothing comes twice, and what was held by consumers of the
// dead broker goes to others, marked as delivered before.
func TestKillEach(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	const some = 500
	c := harness.Start(t, 3)
	for victim := range c.Brokers {
		t.Run(fmt.Sprintf("broker %d", victim), func(t *testing.T) {
			s := newStage(t, c)
			// Consumers that hold what they get are on the victim; so is one publisher.
			s.RunOnce(s.consuming, victim, s.Consume091("holder091", true))
			s.RunOnce(s.consuming, victim, s.Consume100("holder100", true))
			for i := range c.Brokers {
				s.Run(s.publishing, i, s.Publish091(fmt.Sprintf("old%d-%d", victim, i)))
				s.Run(s.publishing, i, s.Publish100(fmt.Sprintf("new%d-%d", victim, i)))
			}
			s.await(t, "load, and messages held", some, 0, 2*load.InFlight)
			s.RunOnce(s.consuming, (victim+1)%3, s.Consume091("taker091", false))
			s.RunOnce(s.consuming, (victim+2)%3, s.Consume100("taker100", false))
			s.await(t, "messages consumed elsewhere", 0, some, 0)
			started := time.Now()
			c.Kill(victim)
			s.await(t, "the others go on", some, some, 0)
			t.Logf("%d more messages were promised and consumed %v after the kill", some, time.Since(started).Round(time.Millisecond))
			s.settle(t)
			c.Restart(victim)
		})
	}
}

// TestGapOfSurvivors kills each of three brokers under load. The publishers on the other two
// wait for their confirms no longer than half a second, with default settings.
func TestGapOfSurvivors(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	const most = 500 * time.Millisecond
	c := harness.Start(t, 3)
	var worst []time.Duration
	for victim := range c.Brokers {
		s := newStage(t, c)
		s.Run(s.publishing, (victim+1)%3, s.Publish091("old"))
		s.Run(s.publishing, (victim+2)%3, s.Publish100("new"))
		s.Run(s.consuming, (victim+1)%3, s.Consume091("consumer", false))
		s.await(t, "load", 500, 500, 0)
		s.Ledger.Watch()
		c.Kill(victim)
		s.await(t, "load after the kill", 1000, 1000, 0)
		gaps := s.Ledger.Gaps()
		t.Logf("broker %d killed: longest time without a confirm %v", victim, gaps)
		worst = append(worst, max(gaps["old"], gaps["new"]))
		s.settle(t)
		s.stopConsumer()
		c.Restart(victim)
	}
	// One of the three may have met with a busy machine.
	slices.Sort(worst)
	if worst[1] > most {
		t.Errorf("the longest times without a confirm were %v: more than %v", worst, most)
	}
}

// TestTwoOfThreeDieAtOnce leaves one broker. That the others' processes are dead can be seen
// on this host, so it goes on alone.
func TestTwoOfThreeDieAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	c := harness.Start(t, 3)
	s := newStage(t, c)
	for i := range c.Brokers {
		s.Run(s.publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
	}
	s.RunOnce(s.consuming, 1, s.Consume100("holder", true))
	s.await(t, "load, and messages held", 500, 0, load.InFlight)
	c.Kill(0, 1)
	s.await(t, "the last one goes on", 500, 0, 0)
	s.RunOnce(s.consuming, 2, s.Consume091("taker", false))
	s.settle(t)
	c.Restart(0)
	c.Restart(1)
	c.AwaitLog(2, 2, "has joined cluster")
}
