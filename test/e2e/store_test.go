package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	load.Outages(t, c, cycles(t, 8), c.Kill)
}

// TestKillAllWithStores kills members of a cluster with stores: any of them, or all at once.
// However they are started again, nothing that was confirmed is lost.
func TestKillAllWithStores(t *testing.T) {
	short(t)
	c := harness.StartStored(t, 3)
	load.Outages(t, c, cycles(t, 5), c.Kill)
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
