package conf

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// NodeID is the node id that corosync makes of an IPv4 address. Of others there is none: 0.
func NodeID(a netip.Addr, clearHighBit bool) uint32 {
	if a = a.Unmap(); !a.Is4() {
		return 0
	}
	b := a.As4()
	id := binary.BigEndian.Uint32(b[:])
	if clearHighBit {
		id &= 1<<31 - 1
	}
	return id
}

// NodeNamed is the place in the nodelist of the node that a host's name is of, by its name or
// its first address, or -1. As corosync has it: the name as it is, then with parts of its domain
// taken off, then without a domain against the nodelist's names without theirs.
func (c *Config) NodeNamed(host string) int {
	for name := host; name != ""; {
		for i, n := range c.Nodes {
			if n.Name == name || n.Addrs[0] == name {
				return i
			}
		}
		name = name[:max(strings.LastIndexByte(name, '.'), 0)]
	}
	short, _, _ := strings.Cut(host, ".")
	for i, n := range c.Nodes {
		for _, name := range []string{n.Name, n.Addrs[0]} {
			if _, err := netip.ParseAddr(name); err == nil {
				continue // what is before the dot is no name
			}
			if first, _, _ := strings.Cut(name, "."); first == short && short != "" {
				return i
			}
		}
	}
	return -1
}

// Example tells whether this is the file as Debian's package of corosync brings it, which
// nobody has made his own: its cluster is called debian, and no address is of a network.
func (c *Config) Example() bool {
	if c.Totem.ClusterName != "debian" {
		return false
	}
	for _, i := range c.Interfaces {
		if i.BindNetAddr.IsValid() && !i.BindNetAddr.IsLoopback() {
			return false
		}
	}
	for _, n := range c.Nodes {
		if a, err := netip.ParseAddr(n.Addrs[0]); err != nil || !a.IsLoopback() {
			return false
		}
	}
	return true
}
