package knet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Config is what a member must know of the others. The names are those of corosync.conf,
// without knet_.
type Config struct {
	Node  wire.NodeID
	Peers map[wire.NodeID]netip.AddrPort // without Node

	PingInterval time.Duration // 1 s
	PingTimeout  time.Duration // 2 s
	PongCount    int           // 2

	// MTU is the longest IP packet that the interface takes. With PMTUDInterval each peer is
	// asked that often what reaches it; with 0, MTU does.
	MTU           int
	PMTUDInterval time.Duration

	Crypto *Crypto
	// Random fills a salt with bytes that nobody can foretell. Crypto needs it.
	Random func([]byte)
	// Blocks are what packets are put together in. They have MaxMessageBytes each.
	Blocks *wire.Pool
}

func (c Config) withDefaults() Config {
	if c.PingInterval == 0 {
		c.PingInterval = time.Second
	}
	if c.PingTimeout == 0 {
		c.PingTimeout = 2 * time.Second
	}
	if c.PongCount == 0 {
		c.PongCount = 2
	}
	return c
}

// What IP and UDP take of a packet, and what every path carries.
const (
	overheadIPv4, leastIPv4 = 28, 576
	overheadIPv6, leastIPv6 = 48, 1280
)

// Validate checks the configuration.
func (c Config) Validate() error {
	if c.Node == 0 || c.Node > MaxNode {
		return fmt.Errorf("knet: our node id is %d, and must be 1 to %d", c.Node, MaxNode)
	}
	if len(c.Peers) > wire.MaxMembers {
		return fmt.Errorf("knet: %d peers, and a ring has %d at the most", len(c.Peers), wire.MaxMembers)
	}
	for n, a := range c.Peers {
		switch {
		case n == 0 || n > MaxNode || n == c.Node:
			return fmt.Errorf("knet: a peer has node id %d, and must have 1 to %d, and not ours", n, MaxNode)
		case !a.IsValid():
			return fmt.Errorf("knet: node %d has no address", n)
		case c.MTU < least(a):
			return fmt.Errorf("knet: the interface's MTU is %d, and must be %d at the least", c.MTU, least(a))
		}
	}
	if c.PingInterval <= 0 || c.PingTimeout <= 0 || c.PongCount < 1 {
		return fmt.Errorf("knet: knet_ping_interval %v, knet_ping_timeout %v and knet_pong_count %d must be above 0", c.PingInterval, c.PingTimeout, c.PongCount)
	}
	return nil
}

func overhead(a netip.AddrPort) int {
	if a.Addr().Unmap().Is4() {
		return overheadIPv4
	}
	return overheadIPv6
}

func least(a netip.AddrPort) int {
	if a.Addr().Unmap().Is4() {
		return leastIPv4
	}
	return leastIPv6
}
