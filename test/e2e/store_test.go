package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// cycles is how often a test kills brokers: CYCLES says otherwise.
func cycles(t testing.TB, usual int) int {
	text := os.Getenv("CYCLES")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKillOneWithStore kills a broker that has only its store, under load, again and again.
// Nothing that it has confirmed is lost, nothing changes its order, and nothing comes twice that
// is not marked.
func TestKillOneWithStore(t *testing.T) {
	short(t)
	c := harness.StartStored(t, 1)
	for i := range cycles(t, 8) {
		s := load.NewStage(t, c)
		s.Ledger.AcksLost = true
		s.Run(s.Publishing, 0, s.Publish091("old"))
		s.Run(s.Publishing, 0, s.Publish100("new"))
		s.Run(s.Consuming, 0, s.Consume091("consumer", false))
		s.Await(t, "load", 200+rand.IntN(300), 100, 0)
		c.Kill(0)
		started := time.Now()
		c.Restart(0)
		s.Await(t, "load after the kill", 100, 100, 0)
		t.Logf("cycle %d: it served again %v after the kill", i, time.Since(started).Round(time.Millisecond))
		s.Settle(t)
		s.StopConsuming()
	}
}

// TestKillAllWithStores kills members of a cluster with stores: any of them, or all at once.
// However they are started again, nothing that was confirmed is lost.
func TestKillAllWithStores(t *testing.T) {
	short(t)
	c := harness.StartStored(t, 3)
	for i := range cycles(t, 5) {
		s := load.NewStage(t, c)
		s.Ledger.AcksLost = true
		for k := range c.Brokers {
			s.Run(s.Publishing, k, s.Publish091(fmt.Sprintf("old%d", k)))
			s.Run(s.Publishing, k, s.Publish100(fmt.Sprintf("new%d", k)))
		}
		s.Run(s.Consuming, rand.IntN(3), s.Consume091("consumer", false))
		s.Await(t, "load", 300+rand.IntN(300), 100, 0)
		victims := rand.Perm(3)[:1+rand.IntN(3)]
		if i == 0 {
			victims = []int{0, 1, 2}
		}
		started := time.Now()
		c.Kill(victims...)
		c.RestartTogether(victims...)
		s.Await(t, "load after the kill", 300, 100, 0)
		t.Logf("cycle %d: %v killed, all well %v later", i, victims, time.Since(started).Round(time.Millisecond))
		s.Settle(t)
		s.StopConsuming()
	}
}

// TestStoresMixedUp starts brokers with stores that are not theirs: that of another cluster, and a
// copy of one that is in use. They end and say why; nothing happens to the others.
func TestStoresMixedUp(t *testing.T) {
	short(t)
	c := harness.StartStored(t, 2)
	other := harness.StartStored(t, 1)
	other.Stop(0)
	ctx, cancel := context.WithTimeout(t.Context(), load.Patience)
	defer cancel()
	for _, x := range []struct {
		what, from, want string
	}{
		{"another cluster's", other.Store(0), "Cluster-ID mismatch. Stores belong to different clusters."},
		{"a copy", c.Store(0), "one data directory is a copy of the other"},
	} {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.CopyFS(dir, os.DirFS(x.from)); err != nil {
			t.Fatal(err)
		}
		r := c.Command(nil, "-p0", "--cluster-name="+c.Name, "-d", "--no-data-dir", "--auth=no", "--store-dir="+dir).Run(t)
		if r.Status == 0 || !strings.Contains(r.Stderr, x.want) {
			t.Errorf("with %s store: exit status %d: %s", x.what, r.Status, r.Stderr)
		}
	}
	if err := load.PassOn(ctx, c.Brokers[0], c.Brokers[1], []byte("all well")); err != nil {
		t.Error(err)
	}
}

// TestStopAllInTurn stops three brokers one after the other, and starts them again in the same order:
// the first ones know that others have gone on without them, and wait for the last.
func TestStopAllInTurn(t *testing.T) {
	short(t)
	c := harness.StartStored(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), load.Patience)
	defer cancel()
	fillQueue(ctx, t, c.Brokers[0], "kept", rabbit.Persistent, 1000, 64)
	for i := range c.Brokers {
		drainQueue(ctx, t, c.Brokers[2], "kept", 100*i, 100*i+100, 64)
		c.Stop(i)
	}
	c.RestartTogether(0, 1, 2)
	drainQueue(ctx, t, c.Brokers[1], "kept", 300, 1000, 64)
	c.Signal(syscall.SIGTERM, 0, 1, 2)
	for i := range c.Brokers {
		c.AwaitEnd(i)
	}
	c.RestartTogether(2, 0, 1)
}
