package load

import (
	"context"

	amqp "github.com/Azure/go-amqp"
)

// driver100 speaks AMQP 1.0, which has no declarations: those are made by 0-9-1.
type driver100 struct{}

func (driver100) declare(ctx context.Context, url string, o *Options) error {
	return driver091{}.declare(ctx, url, o)
}

func (driver100) delete(ctx context.Context, url string, o *Options) error {
	return driver091{}.delete(ctx, url, o)
}

func dial100(ctx context.Context, url string) (*amqp.Conn, *amqp.Session, error) {
	conn, err := amqp.Dial(ctx, url, &amqp.ConnOptions{SASLType: saslOf(url)})
	if err != nil {
		return nil, nil, err
	}
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, s, nil
}

type producer100 struct {
	conn    *amqp.Conn
	sender  *amqp.Sender
	durable bool
}

func (driver100) producer(ctx context.Context, url string, o *Options) (producer, error) {
	conn, s, err := dial100(ctx, url)
	if err != nil {
		return nil, err
	}
	sender, err := s.NewSender(ctx, o.Prefix100+o.Queue, nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &producer100{conn: conn, sender: sender, durable: o.Durable}, nil
}

// receipt100 is the ticket of a message.
type receipt100 struct{ amqp.SendReceipt }

func (p *producer100) send(ctx context.Context, body []byte) (ticket, error) {
	m := amqp.Message{Data: [][]byte{body}, Header: &amqp.MessageHeader{Durable: p.durable}}
	r, err := p.sender.SendWithReceipt(ctx, &m, nil)
	return &receipt100{r}, err
}

func (r *receipt100) wait(ctx context.Context) (bool, error) {
	state, err := r.Wait(ctx)
	if err != nil {
		return false, err
	}
	_, ok := state.(*amqp.StateAccepted)
	return ok, nil
}

func (p *producer100) close() { p.conn.Close() }

type consumer100 struct {
	conn     *amqp.Conn
	receiver *amqp.Receiver
}

func (driver100) consumer(ctx context.Context, url string, o *Options) (consumer, error) {
	conn, s, err := dial100(ctx, url)
	if err != nil {
		return nil, err
	}
	receiver, err := s.NewReceiver(ctx, o.Prefix100+o.Queue, &amqp.ReceiverOptions{Credit: int32(o.Prefetch)})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &consumer100{conn: conn, receiver: receiver}, nil
}

func (c *consumer100) run(ctx context.Context, handle func(body []byte)) error {
	for {
		m, err := c.receiver.Receive(ctx, nil)
		if err != nil {
			return err
		}
		handle(m.GetData())
		if err := c.receiver.AcceptMessage(ctx, m); err != nil {
			return err
		}
	}
}

func (c *consumer100) close() { c.conn.Close() }

// saslOf is ANONYMOUS for a URL without a user; with one the library uses PLAIN itself.
func saslOf(url string) amqp.SASLType {
	if hasUser(url) {
		return nil
	}
	return amqp.SASLTypeAnonymous()
}
