package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	amqp100 "github.com/Azure/go-amqp"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Qpidd is a cluster of this tree's brokers. Its members can be killed and started again.
type Qpidd struct {
	processes
	options Options
	version string
	name    string // of the cluster
	ports   []int
	urls    []string
}

// StartQpidd starts brokers of this tree as one cluster, without data directories.
func StartQpidd(ctx context.Context, o Options) (*Qpidd, error) {
	// Each broker runs in a directory of its own, where a relative name would mean another file.
	binary, err := filepath.Abs(o.Binary)
	if err != nil {
		return nil, err
	}
	o.Binary = binary
	version, err := exec.CommandContext(ctx, o.Binary, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w; `make build` makes it", o.Binary, err)
	}
	c := &Qpidd{options: o, version: strings.TrimSpace(string(version))}
	for range o.Nodes {
		if err := c.Add(ctx); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	if err := c.await(ctx, "the cluster", c.ready); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Add starts another member, and returns when it serves clients: the first forms the cluster,
// the others join it one after the other.
func (c *Qpidd) Add(ctx context.Context) error {
	free, err := ports(1)
	if err != nil {
		return err
	}
	if c.name == "" {
		c.name = fmt.Sprintf("perf-%d", free[0])
	}
	c.ports = append(c.ports, free[0])
	c.urls = append(c.urls, "amqp://guest:guest@"+address(free[0])+"/")
	return c.Start(ctx, len(c.ports)-1)
}

// Start starts member i, again if it was killed.
func (c *Qpidd) Start(ctx context.Context, i int) error {
	node := nodeName(i)
	dir := filepath.Join(c.options.Dir, node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	args := []string{"-p", strconv.Itoa(c.ports[i]), "--interface=127.0.0.1",
		"--no-data-dir", "--auth=no", "--log-to-file=" + c.Log(i)}
	if !c.options.Alone {
		// A port of its own: groups are made of names, and of few bits of them, so that rings of
		// other clusters on this host might otherwise merge with this one.
		args = append(args, "--cluster-name="+c.name, "--bindnetaddr=127.0.0.1", fmt.Sprintf("--mcastport=%d", c.ports[0]))
	}
	for _, a := range c.options.Args {
		args = append(args, strings.ReplaceAll(a, "%n", strconv.Itoa(i+1)))
	}
	cmd := exec.Command(c.options.Binary, args...)
	cmd.Dir = dir
	// The machine's own ring is left alone.
	cmd.Env = append(append(os.Environ(), "QPID_RING_CONFIG="), c.options.Env...)
	if err := c.start(node, dir, cmd); err != nil {
		return err
	}
	return c.await(ctx, node, func() error { return c.serves(i) })
}

// nodeName is what Nodes calls member i.
func nodeName(i int) string { return fmt.Sprintf("qpidd%d", i+1) }

// Output is the file that member i writes its standard output and error to.
func (c *Qpidd) Output(i int) string {
	return filepath.Join(c.options.Dir, nodeName(i), nodeName(i)+".out")
}

// Log is the file that member i keeps its log in.
func (c *Qpidd) Log(i int) string {
	return filepath.Join(c.options.Dir, nodeName(i), "qpidd.log")
}

// Kill kills member i, which has no chance to say good-bye.
func (c *Qpidd) Kill(i int) error { return c.kill(nodeName(i)) }

// serves tells whether member i lets clients in, which it does once it is a member.
func (c *Qpidd) serves(i int) error {
	if err := listening(c.ports[i]); err != nil {
		return err
	}
	conn, err := amqp.Dial(c.urls[i])
	if err != nil {
		return err
	}
	return conn.Close()
}

// Representative is the member that holds the ring's token when there is nothing to do: the
// one with the lowest node id.
func (c *Qpidd) Representative(ctx context.Context) (int, error) {
	conn, err := amqp100.Dial(ctx, c.urls[0], nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	best, lowest := -1, uint64(0)
	for key, value := range conn.Properties() {
		text, ok := value.(string)
		if !ok || !strings.HasPrefix(key, "qpid.cluster-member-") {
			continue
		}
		// As in 2130706433:4711|active|amqp:tcp:127.0.0.1:5672
		node, _, _ := strings.Cut(text, ":")
		id, err := strconv.ParseUint(node, 10, 32)
		port := slices.IndexFunc(c.ports, func(p int) bool { return strings.HasSuffix(text, fmt.Sprintf(":%d", p)) })
		if err != nil || port < 0 {
			return 0, fmt.Errorf("a member is called %q", text)
		}
		if best < 0 || id < lowest {
			best, lowest = port, id
		}
	}
	if best < 0 {
		return 0, errors.New("the broker does not tell who is in its cluster")
	}
	return best, nil
}

// ready tells whether a queue declared on one node is there on the others.
func (c *Qpidd) ready() error {
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

// Name implements Cluster.
func (c *Qpidd) Name() string { return c.version }

// URLs implements Cluster.
func (c *Qpidd) URLs() []string { return c.urls }

// Settings implements Cluster.
func (c *Qpidd) Settings() string {
	if c.options.Alone {
		return "one broker, no cluster, no data directory: a message is confirmed when it is in this broker's memory"
	}
	return "no data directory: a message is confirmed when all three members hold it in memory"
}
