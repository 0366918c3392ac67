package clients

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Amqp091 is rabbitmq/amqp091-go: AMQP 0-9-1.
type Amqp091 struct{ Login }

// As implements Client.
func (Amqp091) As(l Login) Client { return Amqp091{l} }

// Name implements Client.
func (Amqp091) Name() string { return "amqp091-go" }

func (c Amqp091) channel(port int, do func(*amqp.Channel) error) error {
	user, password := "guest", "guest"
	if c.User != "" {
		user, password = c.User, c.Password
	}
	conn, err := amqp.DialConfig(fmt.Sprintf("amqp://127.0.0.1:%d/", port), amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return do(ch)
}

// Declare implements Client.
func (c Amqp091) Declare(_ context.Context, port int, queue string) error {
	return c.channel(port, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
		return err
	})
}

// Publish implements Client.
func (c Amqp091) Publish(ctx context.Context, port int, queue string, bodies ...string) error {
	return c.channel(port, func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		for _, body := range bodies {
			confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false,
				amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
			if err != nil {
				return err
			}
			if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
				return errors.Join(err, fmt.Errorf("%q: confirmed: %v", body, ok))
			}
		}
		return nil
	})
}

// Consume implements Client.
func (c Amqp091) Consume(ctx context.Context, port int, queue string, count int) (bodies []string, err error) {
	err = c.channel(port, func(ch *amqp.Channel) error {
		if err := ch.Qos(count, 0, false); err != nil {
			return err
		}
		deliveries, err := ch.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for range count {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return errors.New("the channel was closed")
				}
				bodies = append(bodies, string(d.Body))
				if err := d.Ack(false); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return bodies, err
}
