// Command demo shows the main job: three brokers that are one. It starts them on this host,
// declares a queue on the first, publishes on the second by AMQP 1.0, consumes on the third by
// AMQP 0-9-1, kills the second in the middle, and checks that nothing confirmed was lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/rabbitmq/amqp091-go"
)

const (
	messages  = 20000
	killAfter = messages / 2
	queue     = "demo"
	limit     = time.Minute
)

func main() {
	d := &demo{}
	err := d.run()
	d.stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

type demo struct {
	bin, dir string
	ports    []int
	killed   int
}

func (d *demo) run() (err error) {
	if d.bin, err = filepath.Abs("bin"); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "qpidd-demo-"); err != nil {
		return err
	}
	if d.ports, err = freePorts(3); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, step := range []func(context.Context) error{d.start, d.show, d.work, d.show} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// freePorts finds TCP ports that nobody uses: the well-known ones if they are free.
func freePorts(n int) (ports []int, err error) {
	for p := 5672; len(ports) < n && p < 5772; p++ {
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(p)); err == nil {
			l.Close()
			ports = append(ports, p)
		}
	}
	if len(ports) < n {
		return nil, errors.New("no free ports from 5672 to 5771")
	}
	return ports, nil
}

func (d *demo) command(quiet bool, name string, args ...string) error {
	if !quiet {
		fmt.Printf("$ %s %s\n", name, strings.Join(args, " "))
	}
	cmd := exec.Command(filepath.Join(d.bin, name), args...)
	// On loopback, so that the demo disturbs nobody's network.
	cmd.Env = append(os.Environ(), "QPID_RING_CONFIG=", "QPID_BINDNETADDR=127.0.0.1", "QPID_PID_DIR="+d.dir, "QPID_CONFIG=/dev/null")
	cmd.Dir = d.dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func (d *demo) start(context.Context) error {
	for _, p := range d.ports {
		err := d.command(false, "qpidd", "-p"+strconv.Itoa(p), "--cluster-name=DEMO", "--log-output=cluster.log", "-d", "--no-data-dir", "--auth=no")
		if err != nil {
			return fmt.Errorf("broker on port %d: %w", p, err)
		}
	}
	return nil
}

func (d *demo) show(context.Context) error {
	return d.command(false, "qpid-cluster", "localhost:"+strconv.Itoa(d.ports[0]))
}

func (d *demo) stop() {
	for i, p := range d.ports {
		if i != d.killed || d.killed == 0 {
			_ = d.command(false, "qpidd", "-q", "-p"+strconv.Itoa(p)) // it may not have started
		}
	}
	if log, err := os.ReadFile(filepath.Join(d.dir, "cluster.log")); err == nil {
		fmt.Printf("\nThe log that the three shared:\n%s", log)
	}
	os.RemoveAll(d.dir)
}

// work is the job itself.
func (d *demo) work(ctx context.Context) error {
	fmt.Printf("\nA queue is declared on port %d, %d messages are published on port %d (AMQP 1.0) and\nconsumed on port %d (AMQP 0-9-1). After %d of them the broker on port %d is killed.\n",
		d.ports[0], messages, d.ports[1], d.ports[2], killAfter, d.ports[1])
	declarer, err := dial091(d.ports[0])
	if err != nil {
		return err
	}
	defer declarer.Close()
	ch, err := declarer.Channel()
	if err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		return err
	}
	c := &consumer{seen: map[string]int{}}
	if err := c.start(d.ports[2]); err != nil {
		return err
	}
	defer c.conn.Close()
	start := time.Now()
	gap, err := d.publish(ctx)
	if err != nil {
		return err
	}
	if err := c.await(ctx, messages); err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Printf("\n%d confirmed, %d different ones consumed, %d delivered twice (their confirmations were\nlost with the broker, so they were sent again), 0 lost, in %v; the kill cost the publisher %v.\n\n",
		messages, len(c.seen), c.total-len(c.seen), took.Round(time.Millisecond), gap.Round(time.Millisecond))
	return nil
}

func dial091(port int) (*amqp091.Connection, error) {
	return amqp091.Dial(fmt.Sprintf("amqp://localhost:%d/", port))
}

type consumer struct {
	conn  *amqp091.Connection
	mu    sync.Mutex
	seen  map[string]int
	total int
	grown chan struct{}
}

func (c *consumer) start(port int) (err error) {
	if c.conn, err = dial091(port); err != nil {
		return err
	}
	ch, err := c.conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(500, 0, false); err != nil {
		return err
	}
	in, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	c.grown = make(chan struct{}, 1)
	go func() {
		for m := range in {
			c.mu.Lock()
			c.seen[string(m.Body)]++
			c.total++
			c.mu.Unlock()
			if err := m.Ack(false); err != nil {
				return
			}
			select {
			case c.grown <- struct{}{}:
			default:
			}
		}
	}()
	return nil
}

func (c *consumer) await(ctx context.Context, want int) error {
	for {
		c.mu.Lock()
		have := len(c.seen)
		c.mu.Unlock()
		if have == want {
			return nil
		}
		select {
		case <-c.grown:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d confirmed messages were consumed: some are lost", have, want)
		}
	}
}

// publish sends every message until it is confirmed, over another broker when its own is
// gone. It returns the longest time without a confirmation.
func (d *demo) publish(ctx context.Context) (gap time.Duration, err error) {
	const inFlight = 200
	at, last := 1, time.Now()
	var sender *sender
	for next := 0; next < messages; {
		if sender == nil {
			if sender, err = connect(ctx, d.ports[at]); err != nil {
				at = (at + 1) % len(d.ports)
				continue
			}
		}
		halfway := func() error { return nil }
		if next >= killAfter && d.killed == 0 {
			halfway = func() error { return d.kill(1) }
		}
		n, err := sender.send(ctx, next, min(inFlight, messages-next), halfway)
		if n > 0 {
			gap, last = max(gap, time.Since(last)), time.Now()
		}
		next += n
		if err != nil {
			if ctx.Err() != nil {
				return gap, ctx.Err()
			}
			sender, at = nil, (at+1)%len(d.ports)
		}
	}
	return gap, nil
}

// kill ends a broker as kill -9 does.
func (d *demo) kill(i int) error {
	d.killed = i
	b, err := os.ReadFile(filepath.Join(d.dir, fmt.Sprintf("qpidd.%d.pid", d.ports[i])))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return err
	}
	fmt.Printf("$ kill -9 %d\n", pid)
	return syscall.Kill(pid, syscall.SIGKILL)
}

type sender struct {
	conn *amqp.Conn
	link *amqp.Sender
}

func connect(ctx context.Context, port int) (*sender, error) {
	conn, err := amqp.Dial(ctx, fmt.Sprintf("amqp://localhost:%d", port), &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
	if err != nil {
		return nil, err
	}
	s, err := conn.NewSession(ctx, nil)
	if err == nil {
		var l *amqp.Sender
		if l, err = s.NewSender(ctx, queue, nil); err == nil {
			return &sender{conn, l}, nil
		}
	}
	conn.Close()
	return nil, err
}

// send sends the messages from first on and returns how many of them, in order, the broker
// has accepted. It does halfway when half of them are under way.
func (s *sender) send(ctx context.Context, first, n int, halfway func() error) (accepted int, err error) {
	receipts := make([]amqp.SendReceipt, 0, n)
	for i := range n {
		if i == n/2 {
			if err := halfway(); err != nil {
				return 0, err
			}
		}
		var r amqp.SendReceipt
		r, err = s.link.SendWithReceipt(ctx, amqp.NewMessage([]byte(strconv.Itoa(first+i))), nil)
		if err != nil {
			break
		}
		receipts = append(receipts, r)
	}
	for _, r := range receipts {
		state, werr := r.Wait(ctx)
		if werr != nil {
			return accepted, werr
		}
		if _, ok := state.(*amqp.StateAccepted); !ok {
			return accepted, fmt.Errorf("not accepted: %v", state)
		}
		accepted++
	}
	return accepted, err
}
