package harness

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// Network is some hosts on one Ethernet.
type Network = netlab.Network

// Host is one host of a network.
type Host = netlab.Host

// NewNetwork makes a network of n hosts whose interfaces have an MTU, and removes it with the
// test's end.
func NewNetwork(t testing.TB, n, mtu int) *Network {
	t.Helper()
	Privileged(t)
	w := netlab.New(n, mtu, t.Fatalf)
	t.Cleanup(w.Close)
	return w
}
