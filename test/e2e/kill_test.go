package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

const (
	beforeKill = 500 // messages promised before a broker is killed
	afterKill  = 500 // and more by the others after it
	goOnLimit  = 30 * time.Second
)

// TestKillEach kills each broker in turn under load, and starts it again. Nothing that a
// publisher was promised is lost, and what was held by consumers of the dead broker goes to
// others.
func TestKillEach(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	c := harness.Start(t, 3)
	l := &load{t: t, cluster: c, queue: "load", ledger: newLedger()}
	for _, b := range c.Brokers {
		l.ports = append(l.ports, b.Port)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := (clients.Amqp091{}).Declare(ctx, l.ports[0], l.queue); err != nil {
		t.Fatal(err)
	}
	for victim := range c.Brokers {
		t.Run(fmt.Sprintf("broker %d", victim), func(t *testing.T) { l.killOne(t, victim) })
	}
}

func (l *load) killOne(t *testing.T, victim int) {
	publishing, stopPublishing := context.WithCancel(t.Context())
	consuming, stopConsuming := context.WithCancel(t.Context())
	defer l.clients.Wait()
	defer stopConsuming()
	defer stopPublishing()

	// Consumers that hold what they get are on the victim; so is one publisher.
	holding, stopHolding := context.WithCancel(t.Context())
	defer stopHolding()
	l.runOnce(holding, victim, l.consume091(true))
	l.runOnce(holding, victim, l.consume100(true))
	promised, held := l.ledger.count()
	for i := range l.ports {
		l.run(publishing, i, l.publish091(fmt.Sprintf("old-%d-%d", victim, i)))
		l.run(publishing, i, l.publish100(fmt.Sprintf("new-%d-%d", victim, i)))
	}
	l.await(t, "load, and messages held", promised+beforeKill, held+2*inFlight)

	others := (victim + 1) % len(l.ports)
	l.run(consuming, others, l.consume091(false))
	l.run(consuming, others+1, l.consume100(false))
	promised, _ = l.ledger.count()
	started := time.Now()
	l.cluster.Kill(victim)
	l.await(t, "the others go on", promised+afterKill, 0)
	t.Logf("%d more messages were promised %v after the kill", afterKill, time.Since(started).Round(time.Millisecond))

	stopPublishing()
	harness.Eventually(t, goOnLimit, "all that was promised or held is consumed", func() error {
		if list := l.ledger.missing(); len(list) > 0 {
			return fmt.Errorf("%d messages are missing: %.10v", len(list), list)
		}
		return nil
	})
	l.cluster.Restart(victim)
}

// await waits until so many messages are promised and held in all.
func (l *load) await(t *testing.T, what string, promised, held int) {
	t.Helper()
	harness.Eventually(t, goOnLimit, what, func() error {
		if p, h := l.ledger.count(); p < promised || h < held {
			return fmt.Errorf("%d of %d promised, %d of %d held", p, promised, h, held)
		}
		return nil
	})
}

// runOnce has a client work with one broker, to its end.
func (l *load) runOnce(ctx context.Context, at int, work func(ctx context.Context, port int) error) {
	l.clients.Add(1)
	go func() {
		defer l.clients.Done()
		_ = work(ctx, l.ports[at]) // it ends with the broker
	}()
}
