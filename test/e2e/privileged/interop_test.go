package privileged

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

func TestEveryClientEverywhere(t *testing.T) {
	harness.Privileged(t)
	clients.Everywhere(t, clients.Available(t))
}
