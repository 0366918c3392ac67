package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestQueueBeyondMemory fills a durable queue with several times what the brokers may have in
// memory. They stay near their limit, others are served meanwhile, and all of it comes back in its
// order, at the member that it was published to and at another one, also after both were killed. A
// third one joins in between.
func TestQueueBeyondMemory(t *testing.T) {
	short(t)
	const (
		limit    = 48 << 20
		slack    = 80 << 20 // the program itself, and what is on its way
		messages = 48000
		bytes    = 8 << 10
	)
	c := harness.StartStored(t, 2, fmt.Sprintf("--memory-limit=%d", limit))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	fillQueue(ctx, t, c.Brokers[0], "large", rabbit.Persistent, messages, bytes)
	c.Add() // which receives all of it
	for _, b := range c.Brokers {
		if rss := b.ResidentBytes(t); rss > limit+slack {
			t.Errorf("broker %d takes %d MB for a queue of %d MB where %d MB are its limit", b.Index, rss>>20, messages*bytes>>20, limit>>20)
		}
	}
	if err := load.PassOn(ctx, c.Brokers[0], c.Brokers[1], []byte("meanwhile")); err != nil {
		t.Fatal(err)
	}
	drainQueue(ctx, t, c.Brokers[1], "large", 0, messages/2, bytes)
	c.Kill(0, 1, 2)
	c.RestartTogether(0, 1, 2)
	drainQueue(ctx, t, c.Brokers[2], "large", messages/2, messages, bytes)
	for _, b := range c.Brokers {
		if rss := b.ResidentBytes(t); rss > limit+slack {
			t.Errorf("broker %d takes %d MB at the end, %d MB are its limit", b.Index, rss>>20, limit>>20)
		}
	}
}

// TestTransientBeyondMemory fills a queue with messages that are not durable, several times what may be
// in memory: they leave it, too, where there is a store, and come back in their order.
func TestTransientBeyondMemory(t *testing.T) {
	short(t)
	const (
		limit    = 48 << 20
		slack    = 80 << 20
		messages = 30000
		bytes    = 8 << 10
	)
	c := harness.StartStored(t, 2, fmt.Sprintf("--memory-limit=%d", limit))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	fillQueue(ctx, t, c.Brokers[0], "large", rabbit.Transient, messages, bytes)
	for _, b := range c.Brokers {
		if rss := b.ResidentBytes(t); rss > limit+slack {
			t.Errorf("broker %d takes %d MB for a queue of %d MB where %d MB are its limit", b.Index, rss>>20, messages*bytes>>20, limit>>20)
		}
	}
	drainQueue(ctx, t, c.Brokers[1], "large", 0, messages, bytes)
}

// TestJoinDeepQueue has a member join two that have a deep queue, and come back after it was killed.
// The others serve their clients meanwhile, and nobody leaves the ring.
func TestJoinDeepQueue(t *testing.T) {
	short(t)
	const messages, size = 300_000, 1 << 10
	c := harness.StartStored(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	fillQueue(ctx, t, c.Brokers[0], "deep", rabbit.Persistent, messages, size)
	meanwhile := func(join func()) {
		t.Helper()
		began, joined := time.Now(), make(chan struct{})
		go func() {
			defer close(joined)
			join()
		}()
		for served := 0; ; served++ {
			if err := load.PassOn(ctx, c.Brokers[0], c.Brokers[1], []byte("meanwhile")); err != nil {
				t.Fatal(err)
			}
			select {
			case <-joined:
				t.Logf("it served %d times in %v", served, time.Since(began).Round(time.Millisecond))
				return
			default:
			}
		}
	}
	meanwhile(func() { c.Add() })
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d: a member was thrown out", i)
		}
	}
	c.Kill(2)
	meanwhile(func() { c.Restart(2) })
	drainQueue(ctx, t, c.Brokers[2], "deep", 0, messages, size)
}

// TestPagedOutAndDamaged has bytes change on the disk while messages are there and not in memory. The
// broker that needs them says which file is damaged, and what to do, and ends; whether they are
// fetched for a consumer, or read at once for a joiner.
func TestPagedOutAndDamaged(t *testing.T) {
	short(t)
	uses := map[string]func(ctx context.Context, c *harness.Cluster){
		"consumer": func(ctx context.Context, c *harness.Cluster) {
			ch, end, err := load.Dial091(ctx, c.Brokers[0])
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			if _, err := ch.ConsumeWithContext(ctx, "large", "", true, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			c.AwaitEnd(0)
		},
		"joiner": func(_ context.Context, c *harness.Cluster) {
			other := c.Command(nil, "-p0", "--cluster-name="+c.Name, "--log-output=joiner.log", "-d", "--no-data-dir", "--auth=no", "--wait=2")
			if r := other.Run(t); r.Status == 0 {
				t.Errorf("a broker has joined one that cannot read its messages")
			}
			c.AwaitEnd(0)
		},
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			c := harness.StartStored(t, 1, "--memory-limit=16M")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			fillQueue(ctx, t, c.Brokers[0], "large", rabbit.Persistent, 10000, 8<<10)
			damage(t, c.Store(0))
			use(ctx, c)
			log := c.LogText(0)
			for _, said := range []string{".segment", "qpid-cluster journal verify"} {
				if !strings.Contains(log, said) {
					t.Errorf("it does not say %q", said)
				}
			}
			if strings.Contains(log, "goroutine ") {
				t.Error("it says where in the program it was")
			}
		})
	}
}

// damage changes a byte in each 64 KiB of a store's segments.
func damage(t *testing.T, store string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(store, "journal", "*.segment"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", store, err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(40 << 10); at < info.Size(); at += 64 << 10 {
			if _, err := f.WriteAt([]byte{0xa5}, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// body is the n-th message's: no two are alike.
func body(n, size int) []byte {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(n >> 16), 7}, size/4)
	binary.LittleEndian.PutUint32(b, uint32(n))
	return b
}

func fillQueue(ctx context.Context, t *testing.T, b *harness.Broker, queue string, mode uint8, messages, size int) {
	t.Helper()
	ch, end, err := load.Dial091(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	var last *rabbit.DeferredConfirmation
	for n := range messages {
		last, err = ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false,
			rabbit.Publishing{DeliveryMode: mode, Body: body(n, size)})
		if err != nil {
			t.Fatal(err)
		}
		if n%1000 == 999 {
			if ok, err := last.WaitContext(ctx); err != nil || !ok {
				t.Fatalf("message %d: confirmed %v: %v", n, ok, err)
			}
		}
	}
}

// drainQueue consumes messages from one number up to another, and acknowledges them. Some that were
// acknowledged may come once more, marked.
func drainQueue(ctx context.Context, t *testing.T, b *harness.Broker, queue string, from, to, size int) {
	t.Helper()
	if err := drain(ctx, b, queue, from, to, size); err != nil {
		t.Fatal(err)
	}
}

// errLost is a connection that ends before all messages have come.
var errLost = errors.New("the connection is lost")

func drain(ctx context.Context, b *harness.Broker, queue string, from, to, size int) error {
	ch, end, err := load.Dial091(ctx, b)
	if err != nil {
		return err
	}
	defer end()
	if err := ch.Qos(200, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for next := from; next < to; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("message %d did not come: %w", next, errLost)
			}
			n := int(binary.LittleEndian.Uint32(d.Body))
			switch {
			case n > next || n < next && !d.Redelivered:
				return fmt.Errorf("message %d came where %d should have, redelivered %v", n, next, d.Redelivered)
			case !bytes.Equal(d.Body, body(n, size)):
				return fmt.Errorf("message %d has changed", n)
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("%w: %w", errLost, err)
			}
			next = max(next, n+1)
		case <-ctx.Done():
			return fmt.Errorf("message %d did not come: %w", next, ctx.Err())
		}
	}
	return nil
}
