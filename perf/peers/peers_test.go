package peers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
)

// TestPeers starts each cluster that can be started here, and puts a message through it.
// It takes a minute, and is not what `go test ./...` is for: PERF_PEERS=1 runs it.
func TestPeers(t *testing.T) {
	if os.Getenv("PERF_PEERS") == "" {
		t.Skip("PERF_PEERS is not set")
	}
	for _, peer := range []struct {
		name, protocol string
		start          func(t *testing.T, o Options) (Cluster, error)
	}{
		{"nats", load.NATS, func(t *testing.T, o Options) (Cluster, error) {
			o.Binary = filepath.Join(o.Dir, "nats-server")
			if err := BuildNATS(t.Context(), "natsd", o.Binary); err != nil {
				return nil, err
			}
			return StartNATS(t.Context(), o)
		}},
		{"rabbitmq", load.AMQP091, func(t *testing.T, o Options) (Cluster, error) {
			if _, err := exec.LookPath("epmd"); err != nil {
				t.Skip("rabbitmq-server is not installed")
			}
			return StartRabbitMQ(t.Context(), o)
		}},
	} {
		t.Run(peer.name, func(t *testing.T) {
			c, err := peer.start(t, Options{Dir: t.TempDir(), Nodes: 3})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Stop(); err != nil {
					t.Error(err)
				}
			}()
			through(t, c, peer.protocol)
		})
	}
}

// TestQpidd does the same with our own broker, named as the benchmarks name it: where they stand.
func TestQpidd(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "qpidd"), "../../cmd/qpidd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Chdir(dir)
	c, err := StartQpidd(t.Context(), Options{Dir: dir, Nodes: 3, Binary: "./qpidd"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	through(t, c, load.AMQP091)
}

func through(t *testing.T, c Cluster, protocol string) {
	o := load.Defaults()
	o.Protocol = protocol
	o.ProducerURLs, o.ConsumerURLs = c.URLs()[:1], c.URLs()[1:2]
	o.WarmUp, o.Duration = time.Second, 2*time.Second
	before, err := c.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	r, err := load.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	after, err := c.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	used, memory := Total(after).CPU-Total(before).CPU, Total(after).MemoryBytes
	t.Logf("%s: %.0f/s confirmed, %.0f/s consumed, p99 %d us, CPU %v, %d MiB",
		c.Name(), r.ConfirmedPerSecond, r.ConsumedPerSecond, r.EndToEnd.P99, used, memory>>20)
	if r.Confirmed == 0 || r.Lost != 0 || r.Duplicates != 0 || r.Reordered != 0 || used <= 0 || memory <= 0 {
		t.Errorf("%+v, CPU %v", r, used)
	}
}
