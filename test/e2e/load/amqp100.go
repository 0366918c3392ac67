package load

import (
	"bytes"
	"context"
	"fmt"

	azure "github.com/Azure/go-amqp"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Dial100 opens a connection and a session with go-amqp.
func Dial100(ctx context.Context, b *harness.Broker) (*azure.Session, func(), error) {
	sock, err := b.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	opening, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	conn, err := azure.NewConn(opening, sock, &azure.ConnOptions{SASLType: azure.SASLTypeAnonymous()})
	if err != nil {
		return nil, nil, err
	}
	session, err := conn.NewSession(opening, nil)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return session, func() { _ = conn.Close() }, nil
}

// Publish100 publishes with go-amqp; only what is accepted is promised.
func (l *Load) Publish100(name string) Work {
	names := incarnations(name)
	return func(ctx context.Context, b *harness.Broker) error {
		name, next := names(), 0
		session, end, err := Dial100(ctx, b)
		if err != nil {
			return err
		}
		defer end()
		sender, err := session.NewSender(ctx, l.Queue, nil)
		if err != nil {
			return err
		}
		type sent struct {
			m       Message
			receipt azure.SendReceipt
		}
		var ahead []sent
		for {
			if len(ahead) == InFlight {
				state, err := ahead[0].receipt.Wait(ctx)
				if err != nil {
					return err
				}
				if _, ok := state.(*azure.StateAccepted); ok {
					l.Ledger.promise(ahead[0].m)
				}
				ahead = ahead[1:]
			}
			m := Message{name, next}
			next++
			message := azure.NewMessage([]byte(m.String()))
			message.Header = &azure.MessageHeader{Durable: true}
			receipt, err := sender.SendWithReceipt(ctx, message, nil)
			if err != nil {
				return err
			}
			ahead = append(ahead, sent{m, receipt})
		}
	}
}

// Consume100 is Consume091 with go-amqp.
func (l *Load) Consume100(name string, hold bool) Work {
	return func(ctx context.Context, b *harness.Broker) error {
		session, end, err := Dial100(ctx, b)
		if err != nil {
			return err
		}
		defer end()
		by := subscribe(name)
		receiver, err := session.NewReceiver(ctx, l.Queue, &azure.ReceiverOptions{Credit: InFlight})
		if err != nil {
			return err
		}
		for {
			m, err := receiver.Receive(ctx, nil)
			if err != nil {
				return err
			}
			again := m.Header != nil && m.Header.DeliveryCount > 0
			if hold {
				l.Ledger.hold(by, parse(m.GetData()), again)
				continue
			}
			l.Ledger.see(by, parse(m.GetData()), again)
			if err := receiver.AcceptMessage(ctx, m); err != nil {
				return err
			}
		}
	}
}

// PassOn sends one message to one broker and receives it from another.
func PassOn(ctx context.Context, from, to *harness.Broker, body []byte) error {
	const queue = "pass-on"
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	out, end, err := Dial100(ctx, from)
	if err != nil {
		return err
	}
	defer end()
	sender, err := out.NewSender(ctx, queue, &azure.SenderOptions{TargetCapabilities: []string{"create-on-demand"}})
	if err != nil {
		return err
	}
	if err := sender.Send(ctx, azure.NewMessage(body), nil); err != nil {
		return err
	}
	in, end, err := Dial100(ctx, to)
	if err != nil {
		return err
	}
	defer end()
	receiver, err := in.NewReceiver(ctx, queue, nil)
	if err != nil {
		return err
	}
	m, err := receiver.Receive(ctx, nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(m.GetData(), body) {
		return fmt.Errorf("%d bytes were sent, %d other ones received", len(body), len(m.GetData()))
	}
	return receiver.AcceptMessage(ctx, m)
}
