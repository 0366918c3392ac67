package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/rabbitmq/amqp091-go"
)

// holdAll has all clients that publish wait, or go on.
func holdAll(b *Broker, held bool) {
	b.engine.call(func(time.Duration) {
		for _, c := range b.engine.clients {
			c.hold(held)
		}
	})
}

// patience is how long a held client keeps publishing here: several times what it may be silent for.
const patience = 4 * time.Second

// TestHeldClientsAreNotTakenForDead holds clients that publish for longer than they may be silent. Their
// heartbeats are not read meanwhile, and they are not cut off for that; then all they published is taken.
func TestHeldClientsAreNotTakenForDead(t *testing.T) {
	b := startBroker(t, "--no-data-dir", "--auth=no")
	defer b.Stop()
	b.session.Heartbeat = 100 * time.Millisecond // what AMQP 1.0 clients are told; the others ask for a second
	c, err := amqp091.DialConfig("amqp://"+b.listener[0].Addr().String()+"/", amqp091.Config{Heartbeat: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := amqp.Dial(ctx, "amqp://"+b.listener[0].Addr().String(), &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		t.Fatal(err)
	}

	blocked := c.NotifyBlocked(make(chan amqp091.Blocking, 4))
	holdAll(b, true)
	sent := make(chan error, 1)
	go func() {
		// The first is taken, as it is known to be one only then; the second waits in the socket.
		for range 2 {
			if err := sender.Send(ctx, amqp.NewMessage([]byte("new")), nil); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var old []*amqp091.DeferredConfirmation
	for range 2 {
		d, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Body: []byte("old")})
		if err != nil {
			t.Fatal(err)
		}
		if len(old) == 0 {
			d.Wait()
		}
		old = append(old, d)
	}
	select {
	case err := <-c.NotifyClose(make(chan *amqp091.Error, 1)):
		t.Fatalf("AMQP 0-9-1: %v", err)
	case err := <-sent:
		t.Fatalf("AMQP 1.0: it went on, or ended: %v", err)
	case <-old[1].Done():
		t.Fatal("AMQP 0-9-1: it was not held")
	case <-time.After(patience):
	}
	if x := <-blocked; !x.Active || x.Reason == "" {
		t.Errorf("AMQP 0-9-1: it was told %+v", x)
	}
	holdAll(b, false)
	if x := <-blocked; x.Active {
		t.Errorf("AMQP 0-9-1: it was told %+v afterwards", x)
	}
	if ok, err := old[1].WaitContext(ctx); !ok || err != nil {
		t.Errorf("AMQP 0-9-1: afterwards %v, %v", ok, err)
	}
	if err := <-sent; err != nil {
		t.Errorf("AMQP 1.0: afterwards %v", err)
	}
}
