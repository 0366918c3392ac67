package ringconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// lookupLimit is how long names of the nodelist may take to be found, all in all.
const lookupLimit = 5 * time.Second

const bindnetaddr = "totem.interface.0.bindnetaddr"

// place finds where the ring runs on this host, and which node of the nodelist it is, -1 if
// none: by --bindnetaddr, the nodelist, or bindnetaddr.
func (s *Setup) place(c *conf.Config, o *config.Options, say func(string)) (self int, err error) {
	s.resolve(c, say)
	bind := c.Interface(0).BindNetAddr
	switch {
	case o.BindNetAddr != "":
		s.At, err = host.RingAddress(o.BindNetAddr)
	case len(c.Nodes) > 0:
		if self, err = s.thisHost(c); err != nil {
			return -1, err
		}
		if s.At, err = host.RingAddress(s.nodes[self].String()); err != nil {
			return -1, err
		}
		s.At.Reason = "its address is a node's in the nodelist"
		if bind.IsValid() && !on(bind, s.At.Interface) {
			say(fmt.Sprintf("%s: bindnetaddr %s has no effect, as the nodelist has %s for this host", c.Where(bindnetaddr), bind, s.At.Address))
		}
	case bind.IsValid():
		if s.At, err = host.RingAddress(bind.String()); err != nil {
			return -1, fmt.Errorf("%s: %w", c.Where(bindnetaddr), err)
		}
	default:
		say(c.File + " has no bindnetaddr: the interface is chosen as without the file")
		s.At, err = host.RingAddress("")
	}
	if err != nil {
		return -1, err
	}
	for i, a := range s.nodes {
		if a == s.At.Address {
			s.nodeID = idOf(c, i, a)
			return i, nil
		}
	}
	if len(c.Nodes) > 0 {
		say(fmt.Sprintf("%s: no node of the nodelist has address %s: this member's node id is made of it", c.Where("nodelist"), s.At.Address))
	}
	return -1, nil
}

// on tells whether bindnetaddr means an interface.
func on(bind netip.Addr, name string) bool {
	at, err := host.RingAddress(bind.String())
	return err == nil && at.Interface == name
}

// idOf is a node's id: given, or made of its address.
func idOf(c *conf.Config, i int, a netip.Addr) uint32 {
	if id := c.Nodes[i].ID; id != 0 {
		return id
	}
	return conf.NodeID(a, c.Totem.ClearNodeHighBit)
}

// thisHost is the node of the nodelist that this host is: as corosync has it, the one of its
// name, else one of an address of its.
func (s *Setup) thisHost(c *conf.Config) (int, error) {
	name, err := os.Hostname()
	if err != nil {
		return -1, err
	}
	named := c.NodeNamed(name)
	if named >= 0 && s.nodes[named].IsValid() && host.Local(s.nodes[named]) {
		return named, nil
	}
	var have []string
	like := netip.IPv4Unspecified()
	for i, a := range s.nodes {
		if a.IsValid() && host.Local(a) {
			return i, nil
		}
		if a.Is6() {
			like = a
		}
		have = append(have, c.Nodes[i].Addrs[0])
	}
	const most = 16
	if len(have) > most {
		have = append(have[:most], "…")
	}
	return -1, fmt.Errorf("%s: no node of the nodelist is this host: none of their addresses (%s) is on it; this host's ring0_addr may be one of: %s",
		c.Where("nodelist"), strings.Join(have, ", "), host.Offers(like))
}

// resolve finds the addresses of the nodelist. A name that has none is not fatal: where its node
// is shows when it speaks.
func (s *Setup) resolve(c *conf.Config, say func(string)) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	for i, n := range c.Nodes {
		a, err := lookup(ctx, n.Addrs[0], c.Totem.IPVersion)
		if err != nil {
			say(fmt.Sprintf("%s: ring0_addr %s: %v; the node's address is learned when it speaks", c.Where(fmt.Sprintf("nodelist.node.%d", i)), n.Addrs[0], err))
		}
		s.nodes = append(s.nodes, a)
	}
	if len(c.Nodes) > 0 || c.Totem.Transport == conf.UDP {
		return
	}
	for _, name := range c.Interface(0).Members {
		a, err := lookup(ctx, name, c.Totem.IPVersion)
		if err != nil {
			say(fmt.Sprintf("%s: memberaddr %s: %v", c.Where("totem.interface.0"), name, err))
		}
		s.members = append(s.members, a)
	}
}

// lookup finds an address of the version that corosync would choose.
func lookup(ctx context.Context, name, version string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap(), nil
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return netip.Addr{}, err
	}
	var v4, v6 netip.Addr
	for _, a := range list {
		if a = a.Unmap(); a.Is4() && !v4.IsValid() {
			v4 = a
		} else if a.Is6() && !v6.IsValid() {
			v6 = a
		}
	}
	order := map[string][]netip.Addr{"ipv4": {v4}, "ipv6": {v6}, "ipv4-6": {v4, v6}, "ipv6-4": {v6, v4}}[version]
	for _, a := range order {
		if a.IsValid() {
			return a, nil
		}
	}
	return netip.Addr{}, errors.New("it has no address of ip_version " + version)
}

// peers are the nodes of the nodelist, or the members of the interface, that are not this one.
func (s *Setup) peers(c *conf.Config) map[wire.NodeID]netip.AddrPort {
	list := map[wire.NodeID]netip.AddrPort{}
	for i, a := range s.nodes {
		if !a.IsValid() || a == s.At.Address {
			continue
		}
		if id := idOf(c, i, a); id != 0 {
			list[wire.NodeID(id)] = netip.AddrPortFrom(a, s.Link.Port)
		}
	}
	for _, a := range s.members {
		if id := conf.NodeID(a, c.Totem.ClearNodeHighBit); id != 0 && a != s.At.Address {
			list[wire.NodeID(id)] = netip.AddrPortFrom(a, s.Link.Port)
		}
	}
	return list
}
