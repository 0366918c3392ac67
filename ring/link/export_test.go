package link

import (
	"net/netip"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Peers are the unicast addresses known now.
func (u *UDP) Peers() map[wire.NodeID]netip.AddrPort {
	known := make(map[wire.NodeID]netip.AddrPort, len(u.peers))
	for n, a := range u.peers {
		known[n] = a.addrPort()
	}
	return known
}
