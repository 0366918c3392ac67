package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rabbitBin is where Debian keeps the scripts that do not insist on a user of their own.
const rabbitBin = "/usr/lib/rabbitmq/bin"

type rabbitCluster struct {
	processes
	version string
	urls    []string
}

// rabbitNode is one node's environment.
type rabbitNode struct {
	name string
	dir  string
	env  []string
}

// StartRabbitMQ starts RabbitMQ nodes with an epmd of their own, and joins them.
func StartRabbitMQ(ctx context.Context, o Options) (Cluster, error) {
	if _, err := os.Stat(filepath.Join(rabbitBin, "rabbitmq-server")); err != nil {
		return nil, fmt.Errorf("%w: install Debian's package rabbitmq-server", err)
	}
	free, err := ports(2*o.Nodes + 1)
	if err != nil {
		return nil, err
	}
	c := &rabbitCluster{}
	nodes, err := rabbitNodes(o, free)
	if err != nil {
		return nil, err
	}
	epmd := exec.Command("epmd", "-port", fmt.Sprint(free[2*o.Nodes]), "-address", "127.0.0.1")
	if err := c.start("epmd", o.Dir, epmd); err != nil {
		return nil, err
	}
	for i, n := range nodes {
		c.urls = append(c.urls, "amqp://guest:guest@"+address(free[i])+"/")
		cmd := exec.Command(filepath.Join(rabbitBin, "rabbitmq-server"))
		cmd.Env, cmd.Dir = n.env, n.dir
		if err := c.start(fmt.Sprintf("rabbit%d", i+1), n.dir, cmd); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	if err := c.join(ctx, nodes); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func rabbitNodes(o Options, free []int) (nodes []rabbitNode, err error) {
	const cookie = "qpid-perf"
	for i := range o.Nodes {
		n := rabbitNode{name: fmt.Sprintf("perf%d@localhost", i+1), dir: filepath.Join(o.Dir, fmt.Sprintf("rabbit%d", i+1))}
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(n.dir, ".erlang.cookie"), []byte(cookie), 0o400); err != nil {
			return nil, err
		}
		plugins := filepath.Join(n.dir, "enabled_plugins")
		if err := os.WriteFile(plugins, []byte("["+strings.Join(o.Plugins, ",")+"].\n"), 0o600); err != nil {
			return nil, err
		}
		n.env = []string{
			"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
			"HOME=" + n.dir,
			"ERL_EPMD_ADDRESS=127.0.0.1",
			fmt.Sprintf("ERL_EPMD_PORT=%d", free[2*o.Nodes]),
			"RABBITMQ_NODENAME=" + n.name,
			"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
			fmt.Sprintf("RABBITMQ_NODE_PORT=%d", free[i]),
			fmt.Sprintf("RABBITMQ_DIST_PORT=%d", free[o.Nodes+i]),
			"RABBITMQ_MNESIA_BASE=" + n.dir,
			"RABBITMQ_LOG_BASE=" + n.dir,
			"RABBITMQ_CONFIG_FILE=" + filepath.Join(n.dir, "rabbitmq"),
			"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(n.dir, "env.conf"),
			"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(n.dir, "advanced"),
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + plugins,
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
			"RABBITMQ_CTL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// join waits for the nodes and joins all to the first.
func (c *rabbitCluster) join(ctx context.Context, nodes []rabbitNode) error {
	for _, n := range nodes {
		if err := c.await(ctx, n.name, func() error {
			_, err := n.ctl(ctx, "await_startup", "--timeout", "60")
			return err
		}); err != nil {
			return err
		}
	}
	for _, n := range nodes[1:] {
		for _, args := range [][]string{{"stop_app"}, {"join_cluster", nodes[0].name}, {"start_app"}} {
			if _, err := n.ctl(ctx, args...); err != nil {
				return err
			}
		}
	}
	version, err := nodes[0].ctl(ctx, "version")
	c.version = strings.TrimSpace(version)
	return err
}

func (n *rabbitNode) ctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(rabbitBin, "rabbitmqctl"), append([]string{"-q", "-n", n.name}, args...)...)
	cmd.Env, cmd.Dir = n.env, n.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *rabbitCluster) Name() string   { return "rabbitmq-server: " + c.version }
func (c *rabbitCluster) URLs() []string { return c.urls }

func (c *rabbitCluster) Settings() string {
	if len(c.urls) == 1 {
		return "one node, a durable classic queue, persistent messages, as its defaults write them to files"
	}
	return "a durable quorum queue of three replicas, persistent messages, its log flushed before a confirm (default)"
}
