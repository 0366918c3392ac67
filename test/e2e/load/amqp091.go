package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Dial091 opens a connection and a channel with amqp091-go. They end with ctx.
func Dial091(ctx context.Context, b *harness.Broker) (*rabbit.Channel, func(), error) {
	conn, err := rabbit.DialConfig("amqp://guest:guest@"+b.Address()+"/", rabbit.Config{
		Heartbeat: 10 * time.Second,
		Dial:      func(string, string) (net.Conn, error) { return deadline(b.Dial(ctx)) },
	})
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	end := func() {
		stop()
		_ = conn.Close()
	}
	ch, err := conn.Channel()
	if err != nil {
		end()
		return nil, nil, err
	}
	return ch, end, nil
}

// handshakeLimit keeps a client from waiting for ever for a broker that says nothing.
const handshakeLimit = 5 * time.Second

func deadline(c net.Conn, err error) (net.Conn, error) {
	if err == nil {
		err = c.SetDeadline(time.Now().Add(handshakeLimit))
	}
	return c, err
}

// Declare declares the load's queue, durable.
func (l *Load) Declare(ctx context.Context, at int) error {
	ch, end, err := Dial091(ctx, l.Brokers[at])
	if err != nil {
		return err
	}
	defer end()
	_, err = ch.QueueDeclare(l.Queue, true, false, false, false, nil)
	return err
}

// Publish091 publishes with amqp091-go; only what is confirmed is promised.
func (l *Load) Publish091(name string) Work {
	names := incarnations(name)
	return func(ctx context.Context, b *harness.Broker) error {
		name, next := names(), 0
		ch, end, err := Dial091(ctx, b)
		if err != nil {
			return err
		}
		defer end()
		if err := ch.Confirm(false); err != nil {
			return err
		}
		type sent struct {
			m       Message
			confirm *rabbit.DeferredConfirmation
		}
		closed := ch.NotifyClose(make(chan *rabbit.Error, 1))
		var ahead []sent
		for {
			if len(ahead) == InFlight {
				ok, err := ahead[0].confirm.WaitContext(ctx)
				if err != nil || !ok {
					return fmt.Errorf("%v: confirmed: %v: %w", ahead[0].m, ok, errors.Join(err, reason(closed)))
				}
				l.Ledger.promise(ahead[0].m)
				ahead = ahead[1:]
			}
			m := Message{name, next}
			next++
			confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", l.Queue, true, false, rabbit.Publishing{DeliveryMode: rabbit.Persistent, Body: []byte(m.String())})
			if err != nil {
				return errors.Join(err, reason(closed))
			}
			ahead = append(ahead, sent{m, confirm})
		}
	}
}

// reason is what the broker said when it closed.
func reason(closed chan *rabbit.Error) error {
	select {
	case err, ok := <-closed:
		if ok {
			return err
		}
	default:
	}
	return nil
}

var errEnded = errors.New("the connection ended")

// Consume091 consumes with amqp091-go and acknowledges each message, or, to be a holder,
// none.
func (l *Load) Consume091(name string, hold bool) Work {
	return func(ctx context.Context, b *harness.Broker) error {
		ch, end, err := Dial091(ctx, b)
		if err != nil {
			return err
		}
		defer end()
		if err := ch.Qos(InFlight, 0, false); err != nil {
			return err
		}
		closed := ch.NotifyClose(make(chan *rabbit.Error, 1))
		by := subscribe(name)
		deliveries, err := ch.ConsumeWithContext(ctx, l.Queue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for d := range deliveries {
			if hold {
				l.Ledger.hold(by, parse(d.Body), d.Redelivered)
				continue
			}
			l.Ledger.see(by, parse(d.Body), d.Redelivered)
			if err := d.Ack(false); err != nil {
				return err
			}
		}
		return errors.Join(errEnded, reason(closed))
	}
}
