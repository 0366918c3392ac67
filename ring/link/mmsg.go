package link

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's interface to batches of datagrams, which x/sys does not wrap.

// mmsghdr is struct mmsghdr. The compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func recvmmsg(fd int, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func sendmmsg(fd int, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(m))), uintptr(len(m)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// sockaddr is a struct sockaddr_in or sockaddr_in6.
type sockaddr struct {
	raw [unix.SizeofSockaddrInet6]byte
	len uint32
}

func makeSockaddr(a netip.AddrPort, ifindex int) sockaddr {
	var s sockaddr
	binary.BigEndian.PutUint16(s.raw[2:], a.Port())
	if ip := a.Addr().Unmap(); ip.Is4() {
		binary.NativeEndian.PutUint16(s.raw[:], unix.AF_INET)
		b := ip.As4()
		copy(s.raw[4:], b[:])
		s.len = unix.SizeofSockaddrInet4
		return s
	}
	binary.NativeEndian.PutUint16(s.raw[:], unix.AF_INET6)
	b := a.Addr().As16()
	copy(s.raw[8:], b[:])
	if a.Addr().IsLinkLocalUnicast() || a.Addr().IsLinkLocalMulticast() {
		binary.NativeEndian.PutUint32(s.raw[24:], uint32(ifindex))
	}
	s.len = unix.SizeofSockaddrInet6
	return s
}

// same reports whether two addresses have the same family, port and address.
func (s *sockaddr) same(o *sockaddr) bool {
	if s.len == unix.SizeofSockaddrInet4 {
		return [8]byte(s.raw[:8]) == [8]byte(o.raw[:8])
	}
	return [4]byte(s.raw[:4]) == [4]byte(o.raw[:4]) && [16]byte(s.raw[8:24]) == [16]byte(o.raw[8:24])
}

func (s *sockaddr) port() uint16     { return binary.BigEndian.Uint16(s.raw[2:]) }
func (s *sockaddr) setPort(p uint16) { binary.BigEndian.PutUint16(s.raw[2:], p) }
func (s *sockaddr) family() uint16   { return binary.NativeEndian.Uint16(s.raw[:]) }

func (s *sockaddr) addrPort() netip.AddrPort {
	if s.family() == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s.raw[4:8])), s.port())
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(s.raw[8:24])), s.port())
}

// cmsgSpace is room for a control message of an int, which is what both directions use, and in those
// that come one of a time.
const (
	intSpace  = 24
	timeSpace = 32
	cmsgSpace = intSpace + timeSpace
)

type control [cmsgSpace]byte

// setSegment makes a control message that has the kernel cut the data into packets of size
// bytes.
func (c *control) setSegment(size int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(c))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c[unix.CmsgLen(0):], uint16(size))
	return unix.CmsgSpace(2)
}

// read reads what the kernel says of what it gave: the size of the packets that it joined, 0 if it did not, and
// when the last came in, 0 if it does not say.
func (c *control) read(n int) (size int, arrived time.Duration) {
	for at := 0; at+unix.CmsgLen(0) <= n; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
		length := int(h.Len)
		if length < unix.CmsgLen(0) || at+length > n {
			break
		}
		data := c[at+unix.CmsgLen(0) : at+length]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			size = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS_NEW && len(data) >= 16:
			arrived = time.Duration(binary.NativeEndian.Uint64(data))*time.Second + time.Duration(binary.NativeEndian.Uint64(data[8:]))
		}
		at += unix.CmsgSpace(length - unix.CmsgLen(0))
	}
	return size, arrived
}
