package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

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
			s := load.NewStage(t, c)
			s.Ledger.Handovers = true
			// Consumers that hold what they get are on the victim; so is one publisher.
			s.RunOnce(s.Consuming, victim, s.Consume091("holder091", true))
			s.RunOnce(s.Consuming, victim, s.Consume100("holder100", true))
			for i := range c.Brokers {
				s.Run(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d-%d", victim, i)))
				s.Run(s.Publishing, i, s.Publish100(fmt.Sprintf("new%d-%d", victim, i)))
			}
			s.Await(t, "load, and messages held", some, 0, 2*load.InFlight)
			s.RunOnce(s.Consuming, (victim+1)%3, s.Consume091("taker091", false))
			s.RunOnce(s.Consuming, (victim+2)%3, s.Consume100("taker100", false))
			s.Await(t, "messages consumed elsewhere", 0, some, 0)
			started := time.Now()
			c.Kill(victim)
			s.Await(t, "the others go on", some, some, 0)
			t.Logf("%d more messages were promised and consumed %v after the kill", some, time.Since(started).Round(time.Millisecond))
			s.Settle(t)
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
		s := load.NewStage(t, c)
		s.Run(s.Publishing, (victim+1)%3, s.Publish091("old"))
		s.Run(s.Publishing, (victim+2)%3, s.Publish100("new"))
		s.Run(s.Consuming, (victim+1)%3, s.Consume091("consumer", false))
		s.Await(t, "load", 500, 500, 0)
		s.Ledger.Watch()
		c.Kill(victim)
		s.Await(t, "load after the kill", 1000, 1000, 0)
		gaps := s.Ledger.Gaps()
		t.Logf("broker %d killed: longest time without a confirm %v", victim, gaps)
		worst = append(worst, max(gaps["old"], gaps["new"]))
		s.Settle(t)
		s.StopConsuming()
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
	s := load.NewStage(t, c)
	for i := range c.Brokers {
		s.Run(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
	}
	s.RunOnce(s.Consuming, 1, s.Consume100("holder", true))
	s.Await(t, "load, and messages held", 500, 0, load.InFlight)
	c.Kill(0, 1)
	s.Await(t, "the last one goes on", 500, 0, 0)
	s.RunOnce(s.Consuming, 2, s.Consume091("taker", false))
	s.Settle(t)
	c.Restart(0)
	c.Restart(1)
	c.AwaitLog(2, 2, "has joined cluster")
}
