package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

type qpiddCluster struct {
	processes
	version string
	urls    []string
}

// StartQpidd starts brokers of this tree as one cluster, without data directories.
func StartQpidd(ctx context.Context, o Options) (Cluster, error) {
	version, err := exec.CommandContext(ctx, o.Binary, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Binary, err)
	}
	c := &qpiddCluster{version: strings.TrimSpace(string(version))}
	free, err := ports(o.Nodes)
	if err != nil {
		return nil, err
	}
	for i, port := range free {
		dir := filepath.Join(o.Dir, fmt.Sprintf("qpidd%d", i+1))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		cmd := exec.Command(o.Binary, "-p", fmt.Sprint(port),
			fmt.Sprintf("--cluster-name=perf-%d", free[0]), "--bindnetaddr=127.0.0.1",
			"--no-data-dir", "--auth=no", "--log-to-file="+filepath.Join(dir, "qpidd.log"))
		cmd.Dir = dir
		c.urls = append(c.urls, "amqp://guest:guest@"+address(port)+"/")
		if err := c.start(dir, "broker", cmd); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		// One after the other: the first forms the cluster, the others join it.
		if err := c.await(ctx, "qpidd on "+address(port), func() error { return listening(port) }); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	if err := c.await(ctx, "the cluster", c.ready); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// ready tells whether a queue declared on one node is there on the others.
func (c *qpiddCluster) ready() error {
	for i, url := range c.urls {
		conn, err := amqp.Dial(url)
		if err != nil {
			return err
		}
		err = declared(conn, i == 0, i == len(c.urls)-1)
		conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func declared(conn *amqp.Connection, first, last bool) error {
	const queue = "qpid-perf-ready"
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if first {
		_, err = ch.QueueDeclare(queue, false, false, false, false, nil)
	} else {
		_, err = ch.QueueDeclarePassive(queue, false, false, false, false, nil)
	}
	if err == nil && last {
		_, err = ch.QueueDelete(queue, false, false, false)
	}
	return err
}

func (c *qpiddCluster) Name() string   { return c.version }
func (c *qpiddCluster) URLs() []string { return c.urls }

func (c *qpiddCluster) Settings() string {
	return "no data directory: a message is confirmed when all three members hold it in memory"
}
