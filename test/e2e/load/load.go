package load

import (
	"context"
	"fmt"
	"sync"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// InFlight is how many messages a publisher sends ahead of their confirms, and how many a
// consumer takes ahead.
const InFlight = 50

// Work is what a client does with one broker, until that or ctx ends.
type Work func(ctx context.Context, b *harness.Broker) error

// Load is clients that work with one queue.
type Load struct {
	Queue   string
	Brokers []*harness.Broker
	Ledger  *Ledger

	clients sync.WaitGroup
	mu      sync.Mutex
	ends    []error
}

// New makes a load without clients.
func New(queue string, brokers ...*harness.Broker) *Load {
	return &Load{Queue: queue, Brokers: brokers, Ledger: newLedger()}
}

// incarnations names a publisher anew for each connection: only the order of one connection
// is promised. What it sent on the last one may come after what it sends on the next.
func incarnations(name string) func() string {
	n := 0
	return func() string {
		n++
		if n == 1 {
			return name
		}
		return fmt.Sprintf("%s.%d", name, n)
	}
}

// Run repeats a client's work from one broker to the next until ctx ends.
func (l *Load) Run(ctx context.Context, first int, work Work) {
	l.clients.Go(func() {
		for i := first; ctx.Err() == nil; i++ {
			// What ends the work is a broker's end, or ctx; either way messages tell the rest.
			l.ended(ctx, work(ctx, l.Brokers[i%len(l.Brokers)]))
		}
	})
}

// RunOnce has a client work with one broker, to its end.
func (l *Load) RunOnce(ctx context.Context, at int, work Work) {
	l.clients.Go(func() { l.ended(ctx, work(ctx, l.Brokers[at])) })
}

// Wait waits for the clients, whose contexts have ended.
func (l *Load) Wait() { l.clients.Wait() }

const maxEnds = 100

// ended notes why a client left a broker, unless it was told to.
func (l *Load) ended(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ends) < maxEnds {
		l.ends = append(l.ends, err)
	}
}

// Ends lists why clients had to leave a broker.
func (l *Load) Ends() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]error(nil), l.ends...)
}

// Above is an error while fewer messages than that are promised, seen or held.
func (l *Load) Above(promised, seen, held int) error {
	if p, s, h := l.Ledger.Count(); p < promised || s < seen || h < held {
		return fmt.Errorf("%d of %d promised, %d of %d seen, %d of %d held; clients lost brokers by %v", p, promised, s, seen, h, held, l.Ends())
	}
	return nil
}
