package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// pairFile is the ring of a pair, with a token's timeout that no test would wait for.
const pairFile = `totem {
	version: 2
	cluster_name: pair
	transport: udp
	token: 20000
	interface {
		bindnetaddr: 127.0.0.1
		mcastport: PORT
	}
}
quorum {
	provider: corosync_votequorum
	expected_votes: 2
	%s: 1
}
`

// pair starts two brokers that a corosync.conf makes a pair with a rule of its quorum.
func pair(t *testing.T, rule string) *harness.Cluster {
	harness.OwnRing(t, "its configuration is not ours to read")
	short(t)
	c := harness.Start(t, 0)
	c.RingConfig = ringFile(t, c, "corosync.conf", fmt.Sprintf(pairFile, rule))
	c.Place()
	c.Place()
	c.RestartTogether(0, 1)
	return c
}

// goesOn has messages promised by a broker, long before a lost token would tell that it is alone.
func goesOn(t *testing.T, s *load.Stage, at int, name string) {
	t.Helper()
	began := time.Now()
	s.RunOnce(s.Publishing, at, s.Publish091(name))
	s.Await(t, name+": load", 500, 0, 0)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("%s: it took %v to go on", name, took)
	}
}

// byNode tells which of the two has the lower node id, as their logs last say.
func byNode(t *testing.T, c *harness.Cluster) (low, high int) {
	t.Helper()
	var ids [2]uint32
	for i := range ids {
		const before = "node id "
		text := c.LogText(i)
		if _, err := fmt.Sscanf(text[strings.LastIndex(text, before)+len(before):], "%d", &ids[i]); err != nil {
			t.Fatalf("broker %d says nothing of its node id: %v", i, err)
		}
	}
	if ids[0] < ids[1] {
		return 0, 1
	}
	return 1, 0
}

// TestTwoNode kills one of a pair with two_node: the other goes on as soon as the mesh tells that
// it is alone. The first comes back, and the other is killed.
func TestTwoNode(t *testing.T) {
	c := pair(t, "two_node")
	s := load.NewStage(t, c)
	for i, other := range []int{1, 0} {
		goesOn(t, s, 0, fmt.Sprintf("round %d: both, one", i))
		goesOn(t, s, 1, fmt.Sprintf("round %d: both, other", i))
		c.Kill(i)
		goesOn(t, s, other, fmt.Sprintf("round %d: alone", i))
		c.Restart(i)
	}
	s.RunOnce(s.Consuming, 0, s.Consume091("consumer", false))
	s.Settle(t)
}

// TestAutoTieBreaker kills the higher of a pair with auto_tie_breaker: the lower goes on. Without
// that the higher does not.
func TestAutoTieBreaker(t *testing.T) {
	c := pair(t, "auto_tie_breaker")
	s := load.NewStage(t, c)
	low, high := byNode(t, c)
	c.Kill(high)
	goesOn(t, s, low, "the lower alone")
	c.Restart(high)
	goesOn(t, s, high, "both")
	low, high = byNode(t, c) // one that does not have the ring's port gets another id
	c.Kill(low)
	c.AwaitLog(high, 1, "no quorum: 1 of 2 members are left")
	c.Restart(low)
	goesOn(t, s, low, "both again")
	s.RunOnce(s.Consuming, high, s.Consume091("consumer", false))
	s.Settle(t)
}
