package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type driver091 struct{}

func (driver091) declare(_ context.Context, url string, o *Options) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if _, err := ch.QueueDelete(o.Queue, false, false, false); err != nil {
		return err
	}
	_, err = ch.QueueDeclare(o.Queue, o.Durable, false, false, false, amqp.Table{"x-queue-type": o.QueueType})
	return err
}

func (driver091) delete(_ context.Context, url string, o *Options) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDelete(o.Queue, false, false, false)
	return err
}

// producer091 confirms by one channel of confirmations, which come in the order of their
// messages. It is its own ticket.
type producer091 struct {
	conn     *amqp.Connection
	ch       *amqp.Channel
	queue    string
	mode     uint8
	confirms chan amqp.Confirmation
	closed   chan *amqp.Error
}

var errConfirmsEnd = errors.New("the channel was closed")

// dial091 connects as amqp.Dial does, but for how bytes are written.
func dial091(url string, o *Options) (*amqp.Connection, error) {
	cfg := amqp.Config{Locale: "en_US", Heartbeat: 10 * time.Second}
	if o.Rate == 0 {
		cfg.Dial = dialCoalescing
	}
	return amqp.DialConfig(url, cfg)
}

func (driver091) producer(_ context.Context, url string, o *Options) (producer, error) {
	conn, err := dial091(url, o)
	if err != nil {
		return nil, err
	}
	p := &producer091{conn: conn, queue: o.Queue, mode: amqp.Transient}
	if o.Durable {
		p.mode = amqp.Persistent
	}
	if p.ch, err = conn.Channel(); err == nil {
		err = p.ch.Confirm(false)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	p.confirms = p.ch.NotifyPublish(make(chan amqp.Confirmation, o.InFlight+1))
	p.closed = p.ch.NotifyClose(make(chan *amqp.Error, 1))
	return p, nil
}

func (p *producer091) send(ctx context.Context, body []byte) (ticket, error) {
	err := p.ch.PublishWithContext(ctx, "", p.queue, false, false, amqp.Publishing{DeliveryMode: p.mode, Body: body})
	return p, err
}

func (p *producer091) wait(ctx context.Context) (bool, error) {
	select {
	case c, ok := <-p.confirms:
		if ok {
			return c.Ack, nil
		}
		select {
		case err := <-p.closed:
			if err != nil {
				return false, err
			}
		default:
		}
		return false, errConfirmsEnd
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (p *producer091) close() { p.conn.Close() }

type consumer091 struct {
	conn       *amqp.Connection
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	ackEvery   int
	closed     chan *amqp.Error
}

func (driver091) consumer(_ context.Context, url string, o *Options) (consumer, error) {
	conn, err := dial091(url, o)
	if err != nil {
		return nil, err
	}
	c := &consumer091{conn: conn, ackEvery: o.AckEvery}
	if c.ch, err = conn.Channel(); err == nil {
		err = c.ch.Qos(o.Prefetch, 0, false)
	}
	if err == nil {
		c.closed = c.ch.NotifyClose(make(chan *amqp.Error, 1))
		c.deliveries, err = c.ch.Consume(o.Queue, "", false, false, false, false, nil)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// run acknowledges every ackEvery messages, and what is left when nothing more is there.
func (c *consumer091) run(ctx context.Context, handle func(body []byte)) error {
	var tag uint64
	unacked := 0
	for {
		var d amqp.Delivery
		ok := true
		select {
		case d, ok = <-c.deliveries:
		default:
			if unacked > 0 {
				unacked = 0
				if err := c.ch.Ack(tag, true); err != nil {
					return err
				}
			}
			select {
			case d, ok = <-c.deliveries:
			case <-ctx.Done():
				return nil
			}
		}
		if !ok {
			select {
			case err := <-c.closed:
				return fmt.Errorf("consumer: %w", err)
			default:
				return errors.New("consumer: deliveries ended")
			}
		}
		handle(d.Body)
		tag = d.DeliveryTag
		if unacked++; unacked >= c.ackEvery {
			unacked = 0
			if err := c.ch.Ack(tag, true); err != nil {
				return err
			}
		}
	}
}

func (c *consumer091) close() { c.conn.Close() }
