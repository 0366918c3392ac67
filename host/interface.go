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

// RingAddress chooses where the ring runs. bindnetaddr is an address of the host or one of its
// network, as in corosync.conf; empty means the interface of the default route, else any
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

// bound finds the interface that bindnetaddr means, as corosync does: the one with this address,
// else the first that has it in its network, the network's own address as well as any other.
func bound(bindnetaddr string, list []address) (Choice, error) {
	want, err := netip.ParseAddr(bindnetaddr)
	if err != nil {
		return Choice{}, fmt.Errorf("bindnetaddr %q is no IP address: give the address of an interface or of its network", bindnetaddr)
	}
	want = want.Unmap()
	if want.Is6() && want.IsLinkLocalUnicast() {
		return Choice{}, fmt.Errorf("bindnetaddr %s is a link-local address, which means something else on each host, so that members and clients cannot be told it; give the interface one that is unique (ip addr add fd00:1::5/64 dev …), or use one of: %s", bindnetaddr, offers(want, list))
	}
	down := ""
	for _, test := range []func(a *address) string{
		func(a *address) string { return when(a.prefix.Addr() == want, "its address is bindnetaddr") },
		func(a *address) string {
			return when(a.prefix.Masked().Addr() == want, "its network is bindnetaddr")
		},
		func(a *address) string {
			return when(a.prefix.Contains(want), "bindnetaddr is in its network, "+a.prefix.Masked().String())
		},
	} {
		for i := range list {
			a := &list[i]
			switch reason := test(a); {
			case reason == "":
			case a.flags&net.FlagUp == 0:
				down = a.name
			case a.flags&net.FlagLoopback != 0:
				return a.chosen(reason + "; loopback: members on this host only"), nil
			default:
				return a.chosen(reason), nil
			}
		}
	}
	if down != "" {
		return Choice{}, fmt.Errorf("bindnetaddr %s is of interface %s, which is down; bring it up (ip link set %s up), or use one of: %s", bindnetaddr, down, down, offers(want, list))
	}
	return Choice{}, fmt.Errorf("bindnetaddr %s is on no interface that is up; use one of: %s", bindnetaddr, offers(want, list))
}

// Offers lists the interfaces with their addresses of the family of like, for a message.
func Offers(like netip.Addr) string {
	list, err := addresses()
	if err != nil {
		return err.Error()
	}
	return offers(like, list)
}

func when(is bool, reason string) string {
	if is {
		return reason
	}
	return ""
}

// maxOffers bounds a message: a host of containers has hundreds of interfaces.
const maxOffers = 16

// offers lists the interfaces with what bindnetaddr would have to be for each: those of the
// family that was wanted, if there are any.
func offers(want netip.Addr, list []address) string {
	var same, other []string
	for i := range list {
		a := &list[i]
		ip := a.prefix.Addr()
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			continue
		}
		what := ""
		switch {
		case a.flags&net.FlagUp == 0:
			what = "; it is down"
		case a.flags&net.FlagLoopback != 0:
			what = "; loopback, for members on this host only"
		}
		text := fmt.Sprintf("%s has %s (network %s%s)", a.name, ip, a.prefix.Masked().Addr(), what)
		if ip.Is4() == want.Is4() {
			same = append(same, text)
		} else {
			other = append(other, text)
		}
	}
	if len(same) == 0 {
		same = other
	}
	if n := len(same); n > maxOffers {
		same = append(same[:maxOffers], fmt.Sprintf("%d more that `ip addr` shows", n-maxOffers))
	}
	return strings.Join(same, ", ")
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
