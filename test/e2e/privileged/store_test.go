package privileged

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// bulk is a queue of large messages, to fill a disk with.
type bulk struct {
	t         *testing.T
	c         *harness.Cluster
	confirmed int
}

const (
	bulkQueue = "bulk"
	bulkBytes = 256 << 10
	fillLimit = 60 * time.Second
)

// publish publishes until a message is refused, or so many were confirmed.
func (b *bulk) publish(most int) (refused bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), fillLimit)
	defer cancel()
	ch, end, err := load.Dial091(ctx, b.c.Brokers[0])
	if err != nil {
		b.t.Fatal(err)
	}
	defer end()
	if _, err := ch.QueueDeclare(bulkQueue, true, false, false, false, nil); err != nil {
		b.t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		b.t.Fatal(err)
	}
	body := bytes.Repeat([]byte{'b'}, bulkBytes)
	for range most {
		d, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", bulkQueue, true, false, rabbit.Publishing{DeliveryMode: rabbit.Persistent, Body: body})
		if err != nil {
			b.t.Fatal(err)
		}
		ok, err := d.WaitContext(ctx)
		if err != nil {
			b.t.Fatalf("after %d messages: %v: the broker's log: %s", b.confirmed, err, b.c.LogText(0))
		}
		if !ok {
			return true
		}
		b.confirmed++
	}
	return false
}

// count is how many messages the broker has.
func (b *bulk) count() int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), load.Patience)
	defer cancel()
	ch, end, err := load.Dial091(ctx, b.c.Brokers[0])
	if err != nil {
		b.t.Fatal(err)
	}
	defer end()
	q, err := ch.QueueDeclarePassive(bulkQueue, true, false, false, false, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return q.Messages
}

// TestBrokerFillsItsVolume fills a broker's file system to the last block under load. Publishers
// are refused, consumers go on, it works again by itself when there is room, and also a broker that
// is killed on a full disk has everything that was confirmed.
func TestBrokerFillsItsVolume(t *testing.T) {
	for _, kind := range harness.FileSystems {
		t.Run(kind, func(t *testing.T) {
			v := harness.NewVolume(t, kind, journalVolume)
			c := harness.Start(t, 1, "--store-dir="+v.Dir)
			s := load.NewStage(t, c)
			s.Ledger.AcksLost = true
			b := &bulk{t: t, c: c}
			if b.publish(10) {
				t.Fatal("refused on an empty disk")
			}
			s.Run(s.Publishing, 0, s.Publish091("old"))
			s.Run(s.Publishing, 0, s.Publish100("new"))
			s.Await(t, "load", 200, 0, 0)
			v.Fill(100 << 20)
			if !b.publish(journalVolume / bulkBytes) {
				t.Fatal("more was confirmed than there is room for")
			}
			c.AwaitLog(0, 1, "the disk is full")
			v.Fill(0)
			s.Run(s.Consuming, 0, s.Consume091("consumer", false))
			s.Await(t, "consumers go on", 0, 200, 0)
			c.Kill(0)
			c.Restart(0)
			if n := b.count(); n < b.confirmed {
				t.Errorf("%d messages of %d are there after a kill on a full disk", n, b.confirmed)
			}
			v.Relieve()
			s.Await(t, "publishers go on when there is room", 200, 200, 0)
			harness.Eventually(t, load.Patience, "large messages are taken again", func() error {
				if b.publish(10) {
					return fmt.Errorf("refused, %d so far", b.confirmed)
				}
				return nil
			})
			c.Kill(0)
			c.Restart(0)
			if n := b.count(); n < b.confirmed {
				t.Errorf("%d messages of %d are there at the end", n, b.confirmed)
			}
			s.Settle(t)
		})
	}
}

// TestBrokerLosesItsVolume has a broker's file system fail under load. The broker says what is
// wrong and ends, and everything that it has confirmed is there when the file system works again.
func TestBrokerLosesItsVolume(t *testing.T) {
	for _, kind := range harness.FileSystems {
		t.Run(kind, func(t *testing.T) {
			v := harness.NewVolume(t, kind, journalVolume)
			c := harness.Start(t, 1, "--store-dir="+v.Dir)
			for round := range 3 {
				s := load.NewStage(t, c)
				s.Ledger.AcksLost = true
				s.Run(s.Publishing, 0, s.Publish091("old"))
				s.Run(s.Publishing, 0, s.Publish100("new"))
				s.Run(s.Consuming, 0, s.Consume091("consumer", false))
				s.Await(t, "load", 300, 100, 0)
				v.Shutdown()
				c.AwaitEnd(0)
				c.AwaitLog(0, round+1, "look at the kernel's log (dmesg)")
				v.Unmount()
				v.Mount()
				c.Restart(0)
				s.Await(t, "load again", 100, 100, 0)
				s.Settle(t)
				s.StopConsuming()
			}
		})
	}
}
