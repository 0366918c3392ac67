package link

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func (u *UDP) openSockets() error {
	token, err := u.socket(u.bindToken)
	if err != nil {
		return err
	}
	u.token = token
	mcast, err := u.socket(u.bindMulticast)
	if err != nil {
		return err
	}
	u.mcast = mcast
	u.probe()
	return nil
}

// socket opens one and has it prepared.
func (u *UDP) socket(prepare func(fd int) error) (int, error) {
	family := unix.AF_INET
	if u.group.family() == unix.AF_INET6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("link: socket", err)
	}
	if err := prepare(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindToken binds address:port, or another port if that is taken by another member here.
func (u *UDP) bindToken(fd int) error {
	at := u.cfg.Address.Unmap()
	err := unix.Bind(fd, u.sockaddr(netip.AddrPortFrom(at, u.cfg.Port)))
	if errors.Is(err, unix.EADDRINUSE) {
		err = unix.Bind(fd, u.sockaddr(netip.AddrPortFrom(at, 0)))
	}
	if err != nil {
		return fmt.Errorf("link: bind %v: %w", at, err)
	}
	if u.own, err = boundTo(fd); err != nil {
		return err
	}
	u.stats.SendBuffer = askBuffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, u.cfg.SendBuffer)
	askBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, u.cfg.ReceiveBuffer)
	return u.multicastOptions(fd)
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
	if u.group.family() == unix.AF_INET {
		set("IP_MULTICAST_IF", unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF,
			&unix.IPMreqn{Address: u.cfg.Address.Unmap().As4(), Ifindex: int32(u.ifindex)}))
		set("IP_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1))
		set("IP_MULTICAST_TTL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, u.cfg.TTL))
		// Recovery packets may be longer than the MTU: they are to be fragmented.
		set("IP_MTU_DISCOVER", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT))
	} else {
		set("IPV6_MULTICAST_IF", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, u.ifindex))
		set("IPV6_MULTICAST_LOOP", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 1))
		set("IPV6_MULTICAST_HOPS", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, u.cfg.TTL))
		set("IPV6_MTU_DISCOVER", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT))
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
	err := unix.Bind(fd, u.sockaddr(at))
	if err != nil {
		return fmt.Errorf("link: bind %v: %w", at, err)
	}
	if u.group.family() == unix.AF_INET {
		// Without this a socket gets the groups that any socket of the host has joined.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{
			Multiaddr: u.cfg.Group.Unmap().As4(), Address: u.cfg.Address.Unmap().As4(),
			Ifindex: int32(u.ifindex),
		})
	} else {
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{
			Multiaddr: u.cfg.Group.As16(), Interface: uint32(u.ifindex),
		})
	}
	if err != nil {
		return fmt.Errorf("link: joining %v on interface %d: %w", u.cfg.Group, u.ifindex, err)
	}
	return nil
}

func (u *UDP) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	s := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if a.Addr().IsLinkLocalUnicast() || a.Addr().IsLinkLocalMulticast() {
		s.ZoneId = uint32(u.ifindex)
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
