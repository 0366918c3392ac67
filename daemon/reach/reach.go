package reach

import (
	"net/netip"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/host/firewall"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// Reach is where a member of a ring is reached.
type Reach struct {
	Ring    *ringconf.Setup
	At      netip.AddrPort // where the ring's tokens come to
	Mesh    uint16         // 0: not known
	Clients []uint16
}

// open tells whether members may come that no configuration names.
func (r *Reach) open() bool {
	return r.Ring.Link.Transport == link.Multicast || r.Ring.Link.AcceptUnlisted || len(r.Ring.Link.Peers) == 0
}

// Policy is what the table is to be. Who is not configured may come from the ring's network, or,
// where multicasts are to pass routers, from anywhere.
func (r *Reach) Policy(table string) firewall.Policy {
	p := firewall.Policy{Table: table, Clients: r.Clients, Ring: []uint16{r.Ring.Link.Port}, Mesh: r.Mesh}
	if r.At.Port() != r.Ring.Link.Port {
		p.Ring = append(p.Ring, r.At.Port())
	}
	for _, a := range r.Ring.Link.Peers {
		p.Peers = append(p.Peers, a.Addr())
	}
	slices.SortFunc(p.Peers, netip.Addr.Compare)
	if !r.open() {
		return p
	}
	if n, known := host.Network(r.At.Addr()); known && r.Ring.Link.TTL <= 1 {
		p.Networks = []netip.Prefix{n}
	} else {
		p.Networks = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	return p
}

// Admits tells whether a member may be at an address.
func (r *Reach) Admits(from netip.Addr) bool {
	p := r.Policy("")
	return slices.Contains(p.Peers, from) || slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(from) })
}

// Probes are packets that have to get in: from a peer that is configured, else from a neighbour.
func (r *Reach) Probes() (list []firewall.Probe) {
	self, network := r.At.Addr(), netip.Prefix{}
	from := self.Next()
	if n, known := host.Network(self); known {
		if network = n; !n.Contains(from) {
			from = self.Prev()
		}
	}
	for _, a := range r.Ring.Link.Peers {
		from = a.Addr()
		if !network.Contains(from) {
			network = netip.PrefixFrom(from, from.BitLen())
		}
		break
	}
	probe := func(what, protocol string, port uint16, to netip.Addr, network netip.Prefix) {
		list = append(list, firewall.Probe{What: what, Protocol: protocol, Port: port, Source: from, Destination: to, Interface: r.Ring.At.Interface, Network: network})
	}
	probe("packets of the ring", "udp", r.At.Port(), self, network)
	if g := r.Ring.Link.Group; r.Ring.Link.Transport == link.Multicast && g.IsValid() {
		probe("multicasts of the ring", "udp", r.Ring.Link.Port, g, network)
	}
	if r.Mesh != 0 {
		probe("connections of other members", "tcp", r.Mesh, self, network)
	}
	for _, port := range r.Clients {
		probe("clients", "tcp", port, self, netip.Prefix{})
	}
	return list
}
