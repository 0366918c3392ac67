package clients

import (
	"context"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// Client is a client program or library. Each call is a connection of its own to the broker
// at a port of this host.
type Client interface {
	Name() string
	// As returns the same client with a user's name and password.
	As(Login) Client
	// Declare makes a durable queue.
	Declare(ctx context.Context, port int, queue string) error
	// Publish publishes durable messages and returns when all are acknowledged.
	Publish(ctx context.Context, port int, queue string, bodies ...string) error
	// Consume takes count messages, acknowledges each and returns their bodies.
	Consume(ctx context.Context, port int, queue string, count int) ([]string, error)
}

// Login is who a client says it is. The zero value is nobody in particular.
type Login struct{ User, Password string }

// Available returns the clients that can be run here; the test is told of the others.
func Available(t testing.TB) []Client {
	t.Helper()
	list := append(Go(), node(t)...)
	return append(list, python(t)...)
}

// Go returns the clients that are Go packages.
func Go() []Client { return []Client{GoAMQP{}, Amqp091{}} }

// missing says why a client cannot be run: a failure where all should be there.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if harness.Integration() {
		t.Errorf(format, args...)
		return
	}
	t.Logf("left out: "+format, args...)
}
