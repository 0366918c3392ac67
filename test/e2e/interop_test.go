package e2e

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
)

// TestGoClientsEverywhere has an AMQP 1.0 and an AMQP 0-9-1 client of Go publish to each
// other. Package privileged does it with every client that there is.
func TestGoClientsEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers")
	}
	clients.Everywhere(t, clients.Go())
}
