package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func (u *UDP) openSockets() error {
	token, err := socket(u.cfg.Address, u.bindToken)
	if err != nil {
		return err
	}
	u.token = token
	if u.cfg.Transport == Multicast {
		u.mcast, err = socket(u.cfg.Address, u.bindMulticast)
	}
	return err
}

// socket opens one of the family of an address, and has it prepared.
func socket(like netip.Addr, prepare func(fd int) error) (int, error) {
	family := unix.AF_INET
	if !like.Unmap().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("link: socket", err)
	}
	if err := prepare(fd); err != nil {
		_ = unix.Close(fd) // what failed is the preparation
		return -1, err
	}
	return fd, nil
}

// bindToken binds address:port, or another port if that is taken by another member here and
// addresses are learned.
func (u *UDP) bindToken(fd int) (err error) {
	u.own, err = bindAddress(fd, &u.cfg, u.ifindex, &u.stats)
	if err != nil {
		return err
	}
	// Linux 5.1. Without it nobody knows how long a token has waited.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
	if u.cfg.Transport == Unicast {
		return allowFragments(fd, u.cfg.Address.Unmap())
	}
	return errors.Join(allowFragments(fd, u.cfg.Address.Unmap()), u.multicastOptions(fd))
}

func bindAddress(fd int, cfg *Config, ifindex int, stats *Stats) (sockaddr, error) {
	at := cfg.Address.Unmap()
	err := unix.Bind(fd, bindTo(netip.AddrPortFrom(at, cfg.Port), ifindex))
	if errors.Is(err, unix.EADDRINUSE) && cfg.Transport == Multicast {
		err = unix.Bind(fd, bindTo(netip.AddrPortFrom(at, 0), ifindex))
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return sockaddr{}, fmt.Errorf("link: port %d of %v is in use, and with transport %s others look for this member there only; stop what uses it, or give each member on this host an address of its own", cfg.Port, at, cfg.Transport)
	}
	if err != nil {
		return sockaddr{}, fmt.Errorf("link: bind %v: %w", at, err)
	}
	stats.SendBuffer = askBuffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, cfg.SendBuffer)
	stats.ReceiveBuffer = askBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, cfg.ReceiveBuffer)
	return boundTo(fd)
}

// forbidFragments sets DF, and lets packets be as long as the interface takes: what the path
// takes is found out.
func forbidFragments(fd int, at netip.Addr) error {
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	if !at.Is4() {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE
	}
	return os.NewSyscallError("link: MTU_DISCOVER", unix.SetsockoptInt(fd, level, option, value))
}

// allowFragments lets packets be longer than the MTU, as those of recovery may be: they are
// fragmented.
func allowFragments(fd int, at netip.Addr) error {
	level, option, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if !at.Is4() {
		level, option, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT
	}
	return os.NewSyscallError("link: MTU_DISCOVER", unix.SetsockoptInt(fd, level, option, value))
}

// multicastOptions sets what the sender of multicasts needs. Members on this host must hear
// them too, so they are looped.
func (u *UDP) multicastOptions(fd int) error {
	var errs []error
	set := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("link: %s: %w", name, err))
		}
	}
	switch {
	case u.cfg.Broadcast:
		// The interface follows from the address that the socket is bound to.
		set("SO_BROADCAST", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	case u.group.family() == unix.AF_INET:
		set("IP_MULTICAST_IF", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
			&unix.IPMreqn{Address: u.cfg.Address.Unmap().As4(), Ifindex: int32(u.ifindex)}))
		set("IP_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1))
		set("IP_MULTICAST_TTL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, max(u.cfg.TTL, 0)))
	default:
		set("IPV6_MULTICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, u.ifindex))
		set("IPV6_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1))
		set("IPV6_MULTICAST_HOPS", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, max(u.cfg.TTL, 0)))
	}
	return errors.Join(errs...)
}

// bindMulticast joins the group. Members on one host share the port by SO_REUSEADDR, with
// which each gets every packet; SO_REUSEPORT would give each packet to one of them.
func (u *UDP) bindMulticast(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("link: SO_REUSEADDR", err)
	}
	u.stats.ReceiveBuffer = askBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, u.cfg.ReceiveBuffer)
	u.filterOwn(fd) // before bind, so that not one of our own comes through
	at := netip.AddrPortFrom(u.cfg.Group.Unmap(), u.cfg.Port)
	err := unix.Bind(fd, bindTo(at, u.ifindex))
	if err != nil {
		return fmt.Errorf("link: bind %v: %w", at, err)
	}
	return u.joinGroup(fd)
}

// joinGroup has a socket hear what is for everyone on the interface.
func (u *UDP) joinGroup(fd int) (err error) {
	switch {
	case u.cfg.Broadcast:
		// Which come by every interface, and the filter keeps those of others out: to bind the socket to
		// another one when the interface is made again would take CAP_NET_RAW.
		u.filterOwn(fd)
		return nil
	case u.group.family() == unix.AF_INET:
		// Without this a socket gets the groups that any socket of the host has joined.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{
			Multiaddr: u.cfg.Group.Unmap().As4(), Address: u.cfg.Address.Unmap().As4(),
			Ifindex: int32(u.ifindex),
		})
	default:
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{
			Multiaddr: u.cfg.Group.As16(), Interface: uint32(u.ifindex),
		})
	}
	if err != nil {
		return fmt.Errorf("link: joining %v on interface %d: %w", u.cfg.Group, u.ifindex, err)
	}
	return nil
}

// leaveGroup ends that on an interface that is gone.
func (u *UDP) leaveGroup(index int) {
	// The kernel may have done it.
	switch {
	case u.cfg.Broadcast:
	case u.group.family() == unix.AF_INET:
		_ = unix.SetsockoptIPMreqn(u.mcast, unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, &unix.IPMreqn{Multiaddr: u.cfg.Group.Unmap().As4(), Ifindex: int32(index)})
	default:
		_ = unix.SetsockoptIPv6Mreq(u.mcast, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &unix.IPv6Mreq{Multiaddr: u.cfg.Group.As16(), Interface: uint32(index)})
	}
}

func bindTo(a netip.AddrPort, ifindex int) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() || a.Addr().IsLinkLocalMulticast() {
		s.ZoneId = uint32(ifindex)
	}
	return s
}

func boundTo(fd int) (sockaddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return sockaddr{}, os.NewSyscallError("link: getsockname", err)
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return makeSockaddr(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), 0), nil
	case *unix.SockaddrInet6:
		return makeSockaddr(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), int(a.ZoneId)), nil
	}
	return sockaddr{}, fmt.Errorf("link: socket bound to an address of type %T", sa)
}

// askBuffer sets a socket buffer beyond the limit if we may, else up to it, and returns what
// the kernel gave.
func askBuffer(fd, option, force, bytes int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bytes) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, bytes)
	}
	given, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return given
}
