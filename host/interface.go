package host

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// Choice is the address that a ring is bound to, and why.
type Choice struct {
	Address   netip.Addr
	Interface string
	MTU       int // of the interface, in bytes
	Reason    string
}

// RingAddress chooses where the ring runs. bindnetaddr is a network address or a host
// address, as in corosync.conf; empty means the interface of the default route, else any
// that is up and does multicast, else loopback.
func RingAddress(bindnetaddr string) (Choice, error) {
	list, err := addresses()
	if err != nil {
		return Choice{}, fmt.Errorf("host: interfaces: %w", err)
	}
	if bindnetaddr != "" {
		return bound(bindnetaddr, list)
	}
	if name := defaultRoute(); name != "" {
		for _, a := range list {
			if a.name == name && a.usable() {
				return a.chosen("interface of the default route"), nil
			}
		}
	}
	for _, a := range list {
		if a.usable() && a.flags&net.FlagMulticast != 0 && a.flags&net.FlagLoopback == 0 {
			return a.chosen("first interface that is up and does multicast"), nil
		}
	}
	for _, a := range list {
		if a.usable() && a.flags&net.FlagLoopback != 0 {
			return a.chosen("no interface but loopback: members on this host only"), nil
		}
	}
	return Choice{}, fmt.Errorf("host: no interface is up with an address, not even loopback; bring one up (ip link set lo up)")
}

type address struct {
	name   string
	mtu    int
	flags  net.Flags
	prefix netip.Prefix
}

func (a *address) chosen(reason string) Choice {
	return Choice{a.prefix.Addr(), a.name, a.mtu, reason}
}

func (a *address) usable() bool {
	return a.flags&net.FlagUp != 0 && a.prefix.Addr().Is4()
}

func addresses() ([]address, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []address
	for _, i := range ifs {
		addrs, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, address{i.Name, i.MTU, i.Flags, netip.PrefixFrom(p.Addr().Unmap(), p.Bits())})
			}
		}
	}
	return list, nil
}

// bound finds the interface that bindnetaddr means: the one with this address, else the
// first whose network it is.
func bound(bindnetaddr string, list []address) (Choice, error) {
	want, err := netip.ParseAddr(bindnetaddr)
	if err != nil {
		return Choice{}, fmt.Errorf("bindnetaddr %q is no IP address: give the address of an interface or of its network", bindnetaddr)
	}
	for _, a := range list {
		if a.prefix.Addr() == want && a.flags&net.FlagUp != 0 {
			return a.chosen("its address is bindnetaddr"), nil
		}
	}
	for _, a := range list {
		if a.prefix.Masked().Addr() == want && a.flags&net.FlagUp != 0 {
			return a.chosen("its network is bindnetaddr"), nil
		}
	}
	var have []string
	for _, a := range list {
		have = append(have, fmt.Sprintf("%s has %s (network %s)", a.name, a.prefix.Addr(), a.prefix.Masked().Addr()))
	}
	return Choice{}, fmt.Errorf("bindnetaddr %s is on no interface that is up; use one of: %s", bindnetaddr, strings.Join(have, ", "))
}

// defaultRoute is the name of the interface of the default route, or empty.
func defaultRoute() string {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return ""
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			return l.Attrs().Name
		}
	}
	return ""
}
