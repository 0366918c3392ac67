package privileged

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

const ethernet = 1500

// token is the ring's token timeout here, so that a link can be down for longer than that.
const token = 500 * time.Millisecond

func across(t *testing.T, mtu int, arguments ...string) (*harness.Network, *harness.Cluster) {
	t.Helper()
	w := harness.NewNetwork(t, 3, mtu)
	if !harness.OnCorosync() { // which has a token timeout of its own
		arguments = append(arguments, "--token="+token.String())
	}
	return w, harness.StartAcross(t, w, arguments...)
}

// everywhere has clients on each host publish, and on each but one consume.
func everywhere(s *load.Stage, but int) {
	s.Ledger.Handovers = true
	for i := range s.Brokers {
		s.RunOnce(s.Publishing, i, s.Publish091(fmt.Sprintf("old%d", i)))
		s.RunOnce(s.Publishing, i, s.Publish100(fmt.Sprintf("new%d", i)))
		if i != but {
			s.RunOnce(s.Consuming, i, s.Consume091(fmt.Sprintf("consumer%d", i), false))
		}
	}
}

const nobody = -1

// TestAcrossHosts publishes and consumes everywhere, and kills a broker whose process the
// others cannot see.
func TestAcrossHosts(t *testing.T) {
	const victim = 1 // whose consumers' last acknowledgements would be lost with it
	_, c := across(t, ethernet)
	s := load.NewStage(t, c)
	everywhere(s, victim)
	s.Await(t, "load on every host", 3000, 3000, 0)
	s.Ledger.Watch()
	c.Kill(victim)
	s.Await(t, "load without a host", 2000, 2000, 0)
	gaps := s.Ledger.Gaps()
	delete(gaps, "old1")
	delete(gaps, "new1")
	t.Logf("longest time without a confirm: %v", gaps)
	c.Restart(victim)
	s.Settle(t)
}

// TestDefaultsAcrossHosts is for what does not depend on a token timeout that is set: a broker
// dies, and its host answers that nobody listens there any more.
func TestDefaultsAcrossHosts(t *testing.T) {
	const most = 500 * time.Millisecond
	c := harness.StartAcross(t, harness.NewNetwork(t, 3, ethernet))
	s := load.NewStage(t, c)
	s.RunOnce(s.Publishing, 0, s.Publish091("old"))
	s.RunOnce(s.Publishing, 2, s.Publish100("new"))
	s.RunOnce(s.Consuming, 2, s.Consume091("consumer", false))
	s.Await(t, "load", 1000, 1000, 0)
	s.Ledger.Watch()
	c.Kill(1)
	s.Await(t, "load without a host", 1000, 1000, 0)
	gaps := s.Ledger.Gaps()
	t.Logf("longest time without a confirm: %v", gaps)
	if max(gaps["old"], gaps["new"]) > most {
		t.Errorf("clients of the others had to wait %v", gaps)
	}
	s.Settle(t)
}

// TestSmallMTU has a link with less room than Ethernet. Large messages pass too.
func TestSmallMTU(t *testing.T) {
	_, c := across(t, 1400)
	s := load.NewStage(t, c)
	everywhere(s, nobody)
	s.Await(t, "load on every host", 3000, 3000, 0)
	large(t, c, 1<<20)
	s.Settle(t)
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
}

// TestCut takes one host off the network for longer than the token timeout, in two ways. It
// stops and tells its clients, the others go on, and when it is back it joins them by itself
// and serves what they have.
func TestCut(t *testing.T) {
	for name, cut := range map[string]struct{ off, on func(*harness.Host) }{
		"cable":  {(*harness.Host).Unplug, (*harness.Host).Plug},
		"switch": {(*harness.Host).Isolate, (*harness.Host).Rejoin},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := across(t, ethernet)
			const minority = 2
			s := load.NewStage(t, c)
			alone := load.NewStage(t, c) // the clients of who is cut off, on a queue of their own
			s.RunOnce(s.Publishing, 0, s.Publish091("old"))
			s.RunOnce(s.Publishing, 1, s.Publish100("new"))
			alone.RunOnce(alone.Publishing, minority, alone.Publish091("cut091"))
			alone.RunOnce(alone.Publishing, minority, alone.Publish100("cut100"))
			alone.RunOnce(alone.Consuming, minority, alone.Consume091("holder", true))
			s.Await(t, "load", 500, 0, 0)
			harness.Eventually(t, load.Patience, "load, and messages held", func() error { return alone.Above(500, 0, load.InFlight) })
			s.Ledger.Watch()
			cut.off(w.Hosts[minority])
			c.AwaitLog(minority, 1, "no quorum")
			harness.Eventually(t, load.Patience, "its clients are told", func() error {
				if n := len(alone.Ends()); n < 3 {
					return fmt.Errorf("%d of 3 were: %v", n, alone.Ends())
				}
				return nil
			})
			for _, err := range alone.Ends() {
				if !strings.Contains(err.Error(), "quorum") {
					t.Errorf("a client was told %v", err)
				}
			}
			s.Await(t, "the majority goes on", 1000, 0, 0)
			t.Logf("the majority's longest time without a confirm: %v", s.Ledger.Gaps())
			cut.on(w.Hosts[minority])
			c.AwaitLog(minority, 2, "joined cluster "+c.Name)
			s.Await(t, "all go on", 1000, 0, 0)
			s.RunOnce(s.Consuming, minority, s.Consume091("there", false))
			alone.RunOnce(alone.Consuming, 0, alone.Consume091("elsewhere", false))
			s.Settle(t)
			alone.Settle(t)
		})
	}
}

// TestFlap takes a host off the network for less than the token timeout. It costs a pause and
// nothing else.
func TestFlap(t *testing.T) {
	const away = 200 * time.Millisecond
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartAcross(t, w) // with the default token timeout, of 3 s
	s := load.NewStage(t, c)
	everywhere(s, nobody)
	s.Await(t, "load on every host", 1000, 1000, 0)
	for range 3 {
		s.Ledger.Watch()
		started := time.Now()
		w.Hosts[1].Unplug()
		harness.Eventually(t, load.Patience, "time passes", func() error {
			if time.Since(started) < away {
				return errors.New("not yet")
			}
			return nil
		})
		w.Hosts[1].Plug()
		s.Await(t, "load after it", 1000, 1000, 0)
		t.Logf("longest time without a confirm: %v", s.Ledger.Gaps())
	}
	s.Settle(t)
	if ends := s.Ends(); len(ends) > 0 {
		t.Errorf("clients lost their brokers: %v", ends)
	}
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
}

// TestLoss drops packets at random, of the ring, the mesh and nothing else, since clients are
// on their broker's host. Nothing is lost, and nothing hangs.
func TestLoss(t *testing.T) {
	for _, permille := range []int{10, 50} {
		t.Run(fmt.Sprintf("%d permille", permille), func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			c := harness.StartAcross(t, w)
			w.Lose(permille, "udp", "tcp")
			s := load.NewStage(t, c)
			everywhere(s, nobody)
			started := time.Now()
			s.Await(t, "load in spite of it", 2000, 2000, 0)
			t.Logf("2000 messages took %v", time.Since(started).Round(time.Millisecond))
			s.Settle(t)
		})
	}
}

// large sends one large message from each host to the next.
func large(t *testing.T, c *harness.Cluster, size int) {
	t.Helper()
	body := []byte(strings.Repeat("large", size/5))
	for i := range c.Brokers {
		if err := load.PassOn(t.Context(), c.Brokers[i], c.Brokers[(i+1)%len(c.Brokers)], body); err != nil {
			t.Errorf("from host %d: %v", i, err)
		}
	}
}
