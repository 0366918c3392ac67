package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

type natsCluster struct {
	processes
	version string
	urls    []string
}

// BuildNATS builds the server from the module in dir.
func BuildNATS(ctx context.Context, dir, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/nats-io/nats-server/v2")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return nil
}

// StartNATS starts NATS servers with JetStream in one cluster.
func StartNATS(ctx context.Context, o Options) (Cluster, error) {
	version, err := exec.CommandContext(ctx, o.Binary, "--version").Output()
	if err != nil {
		return nil, err
	}
	c := &natsCluster{version: strings.TrimSpace(string(version))}
	free, err := ports(2 * o.Nodes)
	if err != nil {
		return nil, err
	}
	clients, routes := free[:o.Nodes], free[o.Nodes:]
	var peers []string
	for _, port := range routes {
		peers = append(peers, "nats-route://"+address(port))
	}
	for i := range o.Nodes {
		dir := filepath.Join(o.Dir, fmt.Sprintf("nats%d", i+1))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q }\n"+
			"cluster { name: perf, listen: %q, routes: [%s] }\n",
			i+1, address(clients[i]), dir, address(routes[i]), strings.Join(peers, ", "))
		conf := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return nil, err
		}
		c.urls = append(c.urls, "nats://"+address(clients[i]))
		if err := c.start(fmt.Sprintf("nats%d", i+1), dir, exec.Command(o.Binary, "-c", conf)); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	if err := c.await(ctx, "JetStream's cluster", c.ready); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// ready tells whether streams can be made through every node.
func (c *natsCluster) ready() error {
	for _, url := range c.urls {
		nc, err := nats.Connect(url, nats.Timeout(time.Second))
		if err != nil {
			return err
		}
		js, err := nc.JetStream(nats.MaxWait(2 * time.Second))
		if err == nil {
			_, err = js.AddStream(&nats.StreamConfig{Name: "ready", Replicas: len(c.urls)})
		}
		if err == nil {
			err = js.DeleteStream("ready")
		}
		nc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *natsCluster) Name() string   { return c.version }
func (c *natsCluster) URLs() []string { return c.urls }

func (c *natsCluster) Settings() string {
	return "JetStream, a stream of three replicas in files, flushed to the disk every two minutes (default)"
}
