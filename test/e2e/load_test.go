package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	azure "github.com/Azure/go-amqp"
	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// inFlight is how many messages a publisher of the load sends ahead of their confirms.
const inFlight = 50

// ledger keeps what publishers were promised and what consumers have seen.
type ledger struct {
	mu       sync.Mutex
	promised map[string]bool // acknowledged to its publisher
	seen     map[string]int  // how often it was received by a consumer that acknowledges
	held     map[string]bool // received by one that does not
}

func newLedger() *ledger {
	return &ledger{promised: map[string]bool{}, seen: map[string]int{}, held: map[string]bool{}}
}

func (l *ledger) promise(body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised[body] = true
}

func (l *ledger) see(body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[body]++
}

func (l *ledger) hold(body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[body] = true
}

func (l *ledger) count() (promised, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.promised), len(l.held)
}

// missing lists what was promised or held and has not been seen.
func (l *ledger) missing() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range []map[string]bool{l.promised, l.held} {
		for body := range of {
			if l.seen[body] == 0 {
				list = append(list, body)
			}
		}
	}
	return list
}

// load keeps clients going against the brokers of a cluster. Each that loses its broker
// goes on with the next one.
type load struct {
	t       *testing.T
	cluster *harness.Cluster
	ports   []int
	ledger  *ledger
	queue   string
	clients sync.WaitGroup
}

// run repeats a client's work from one broker to the next until ctx ends.
func (l *load) run(ctx context.Context, first int, work func(ctx context.Context, port int) error) {
	l.clients.Add(1)
	go func() {
		defer l.clients.Done()
		for i := first; ctx.Err() == nil; i++ {
			// What ends the work is a broker's end, or ctx; either way messages tell the rest.
			_ = work(ctx, l.ports[i%len(l.ports)])
		}
	}()
}

// publish091 publishes with amqp091-go; only what is confirmed is promised.
func (l *load) publish091(name string) func(context.Context, int) error {
	next := 0
	return func(ctx context.Context, port int) error {
		conn, err := rabbit.Dial(fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		type sent struct {
			body    string
			confirm *rabbit.DeferredConfirmation
		}
		var ahead []sent
		for {
			if len(ahead) == inFlight {
				ok, err := ahead[0].confirm.WaitContext(ctx)
				if err != nil || !ok {
					return fmt.Errorf("%s: confirmed: %v: %w", ahead[0].body, ok, err)
				}
				l.ledger.promise(ahead[0].body)
				ahead = ahead[1:]
			}
			body := fmt.Sprintf("%s-%d", name, next)
			next++
			confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", l.queue, true, false, rabbit.Publishing{DeliveryMode: rabbit.Persistent, Body: []byte(body)})
			if err != nil {
				return err
			}
			ahead = append(ahead, sent{body, confirm})
		}
	}
}

// publish100 publishes with go-amqp; only what is accepted is promised.
func (l *load) publish100(name string) func(context.Context, int) error {
	next := 0
	return func(ctx context.Context, port int) error {
		conn, err := azure.Dial(ctx, fmt.Sprintf("amqp://127.0.0.1:%d", port), nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		session, err := conn.NewSession(ctx, nil)
		if err != nil {
			return err
		}
		sender, err := session.NewSender(ctx, l.queue, nil)
		if err != nil {
			return err
		}
		type sent struct {
			body    string
			receipt azure.SendReceipt
		}
		var ahead []sent
		for {
			if len(ahead) == inFlight {
				state, err := ahead[0].receipt.Wait(ctx)
				if err != nil {
					return err
				}
				if _, ok := state.(*azure.StateAccepted); ok {
					l.ledger.promise(ahead[0].body)
				}
				ahead = ahead[1:]
			}
			body := fmt.Sprintf("%s-%d", name, next)
			next++
			m := azure.NewMessage([]byte(body))
			m.Header = &azure.MessageHeader{Durable: true}
			receipt, err := sender.SendWithReceipt(ctx, m, nil)
			if err != nil {
				return err
			}
			ahead = append(ahead, sent{body, receipt})
		}
	}
}

var errEnded = errors.New("the connection ended")

// consume091 consumes with amqp091-go and acknowledges each message, or, to be a holder,
// none.
func (l *load) consume091(hold bool) func(context.Context, int) error {
	return func(ctx context.Context, port int) error {
		conn, err := rabbit.Dial(fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if err := ch.Qos(inFlight, 0, false); err != nil {
			return err
		}
		deliveries, err := ch.ConsumeWithContext(ctx, l.queue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for d := range deliveries {
			if hold {
				l.ledger.hold(string(d.Body))
				continue
			}
			l.ledger.see(string(d.Body))
			if err := d.Ack(false); err != nil {
				return err
			}
		}
		return errEnded
	}
}

// consume100 is consume091 with go-amqp.
func (l *load) consume100(hold bool) func(context.Context, int) error {
	return func(ctx context.Context, port int) error {
		conn, err := azure.Dial(ctx, fmt.Sprintf("amqp://127.0.0.1:%d", port), nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		session, err := conn.NewSession(ctx, nil)
		if err != nil {
			return err
		}
		receiver, err := session.NewReceiver(ctx, l.queue, &azure.ReceiverOptions{Credit: inFlight})
		if err != nil {
			return err
		}
		for {
			m, err := receiver.Receive(ctx, nil)
			if err != nil {
				return err
			}
			if hold {
				l.ledger.hold(string(m.GetData()))
				continue
			}
			l.ledger.see(string(m.GetData()))
			if err := receiver.AcceptMessage(ctx, m); err != nil {
				return err
			}
		}
	}
}
