package clients

import (
	"context"
	"fmt"

	"github.com/Azure/go-amqp"
)

// GoAMQP is Azure/go-amqp: AMQP 1.0.
type GoAMQP struct{ Login }

// As implements Client.
func (GoAMQP) As(l Login) Client { return GoAMQP{l} }

// Name implements Client.
func (GoAMQP) Name() string { return "go-amqp" }

func (c GoAMQP) session(ctx context.Context, port int, do func(*amqp.Session) error) error {
	mechanism := amqp.SASLTypeAnonymous()
	if c.User != "" {
		mechanism = amqp.SASLTypePlain(c.User, c.Password)
	}
	conn, err := amqp.Dial(ctx, fmt.Sprintf("amqp://127.0.0.1:%d", port), &amqp.ConnOptions{SASLType: mechanism})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		return err
	}
	return do(session)
}

// Declare implements Client.
func (c GoAMQP) Declare(ctx context.Context, port int, queue string) error {
	return c.session(ctx, port, func(s *amqp.Session) error {
		sender, err := s.NewSender(ctx, queue, &amqp.SenderOptions{
			TargetCapabilities: []string{"create-on-demand"}, TargetDurability: amqp.DurabilityConfiguration,
		})
		if err != nil {
			return err
		}
		return sender.Close(ctx)
	})
}

// Publish implements Client.
func (c GoAMQP) Publish(ctx context.Context, port int, queue string, bodies ...string) error {
	return c.session(ctx, port, func(s *amqp.Session) error {
		sender, err := s.NewSender(ctx, queue, nil)
		if err != nil {
			return err
		}
		for _, body := range bodies {
			m := amqp.NewMessage([]byte(body))
			m.Header = &amqp.MessageHeader{Durable: true}
			if err := sender.Send(ctx, m, nil); err != nil {
				return err
			}
		}
		return sender.Close(ctx)
	})
}

// Consume implements Client.
func (c GoAMQP) Consume(ctx context.Context, port int, queue string, count int) (bodies []string, err error) {
	err = c.session(ctx, port, func(s *amqp.Session) error {
		receiver, err := s.NewReceiver(ctx, queue, &amqp.ReceiverOptions{Credit: -1})
		if err != nil {
			return err
		}
		if err := receiver.IssueCredit(uint32(count)); err != nil {
			return err
		}
		for range count {
			m, err := receiver.Receive(ctx, nil)
			if err != nil {
				return err
			}
			bodies = append(bodies, string(m.GetData()))
			if err := receiver.AcceptMessage(ctx, m); err != nil {
				return err
			}
		}
		return receiver.Close(ctx)
	})
	return bodies, err
}
