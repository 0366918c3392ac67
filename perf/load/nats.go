package load

import (
	"context"
	"errors"
	"net/url"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// driverNATS is JetStream: the queue is a stream with one subject of its own name, and a
// durable consumer on it.
type driverNATS struct{}

const consumerName = "perf"

func hasUser(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.User != nil
}

func connectNATS(raw string, o ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect(raw, nats.NoReconnect())
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc, o...)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

func (driverNATS) declare(ctx context.Context, url string, o *Options) error {
	nc, js, err := connectNATS(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := js.DeleteStream(ctx, o.Queue); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	cfg := jetstream.StreamConfig{
		Name: o.Queue, Subjects: []string{o.Queue}, Replicas: 1, Storage: jetstream.MemoryStorage,
	}
	if o.QueueType == "quorum" {
		cfg.Replicas = 3
	}
	if o.Durable {
		cfg.Storage = jetstream.FileStorage
	}
	if _, err = js.CreateStream(ctx, cfg); err != nil {
		return err
	}
	c := jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: o.Prefetch * max(o.Consumers, 1),
	}
	if o.AckEvery > 1 && o.Consumers == 1 {
		c.AckPolicy = jetstream.AckAllPolicy
	}
	_, err = js.CreateConsumer(ctx, o.Queue, c)
	return err
}

func (driverNATS) delete(ctx context.Context, url string, o *Options) error {
	nc, js, err := connectNATS(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	return js.DeleteStream(ctx, o.Queue)
}

type producerNATS struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	subject string
}

func (driverNATS) producer(_ context.Context, url string, o *Options) (producer, error) {
	nc, js, err := connectNATS(url, jetstream.WithPublishAsyncMaxPending(o.InFlight+1))
	if err != nil {
		return nil, err
	}
	return &producerNATS{nc: nc, js: js, subject: o.Queue}, nil
}

// futureNATS is the ticket of a message.
type futureNATS struct{ jetstream.PubAckFuture }

func (p *producerNATS) send(_ context.Context, body []byte) (ticket, error) {
	f, err := p.js.PublishAsync(p.subject, body)
	return futureNATS{f}, err
}

func (f futureNATS) wait(ctx context.Context) (bool, error) {
	select {
	case <-f.Ok():
		return true, nil
	case err := <-f.Err():
		return false, err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

func (p *producerNATS) close() { p.nc.Close() }

type consumerNATS struct {
	nc       *nats.Conn
	consumer jetstream.Consumer
	prefetch int
	ackEvery int
}

func (driverNATS) consumer(ctx context.Context, url string, o *Options) (consumer, error) {
	nc, js, err := connectNATS(url)
	if err != nil {
		return nil, err
	}
	c, err := js.Consumer(ctx, o.Queue, consumerName)
	if err != nil {
		nc.Close()
		return nil, err
	}
	k := &consumerNATS{nc: nc, consumer: c, prefetch: o.Prefetch, ackEvery: 1}
	if o.Consumers == 1 {
		k.ackEvery = o.AckEvery
	}
	return k, nil
}

func (c *consumerNATS) run(ctx context.Context, handle func(body []byte)) error {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	c.nc.SetClosedHandler(func(*nats.Conn) { fail(errors.New("consumer: connection closed")) })
	n := 0
	consume, err := c.consumer.Consume(func(m jetstream.Msg) {
		handle(m.Data())
		if n++; n < c.ackEvery {
			return
		}
		n = 0
		if err := m.Ack(); err != nil {
			fail(err)
		}
	}, jetstream.PullMaxMessages(c.prefetch))
	if err != nil {
		return err
	}
	defer consume.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (c *consumerNATS) close() { c.nc.Close() }
