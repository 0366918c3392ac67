package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
)

// mmsghdr is struct mmsghdr. The compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// foreign sends packets that are no ring's to a group and port, so many a second, or as many as it can, for a
// time: as frames, several with a call, past the queueing discipline, which takes the least of the
// machine's processors that a flood can take.
func (t *task) foreign(from netip.Addr, group netip.AddrPort) error {
	i, err := interfaceOf(from)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return os.NewSyscallError("PACKET_QDISC_BYPASS", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	template := frame.NewTemplate(frame.Route{Source: frame.MAC(i.HardwareAddr), Destination: frame.GroupMAC(group.Addr()), From: netip.AddrPortFrom(from, 9999), To: group, TTL: 1})
	b := make([]byte, frame.MaxHeaderBytes+t.size) // of zeros
	n := template.Put(b, t.size)
	template.Finish(b[:n], b[n:n+t.size])
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(n + t.size)
	var batch [rawBatch]mmsghdr
	for i := range batch {
		batch[i].hdr.Iov = &iov
		batch[i].hdr.SetIovlen(1)
	}
	var sent, refused int64
	begin := monotonic()
	fmt.Println("begin")
	for now := begin; now < begin+t.warm+t.time; now = monotonic() {
		if due := int64(t.count) * int64(now-begin) / int64(time.Second); sent+refused >= due {
			wait := unix.NsecToTimespec(int64(50 * time.Microsecond))
			_, _ = unix.Ppoll(nil, &wait, nil) // woken early is as good
			continue
		}
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&batch)), rawBatch, 0, 0, 0)
		if errno != 0 {
			refused++ // the card is full
			continue
		}
		sent += int64(k)
	}
	fmt.Printf("end {\"messages\":%d,\"nanoseconds\":%d}\n", sent, monotonic()-begin)
	return nil
}

// interfaceOf is the one that has an address.
func interfaceOf(at netip.Addr) (*net.Interface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		addresses, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == at {
				return &i, nil
			}
		}
	}
	return nil, fmt.Errorf("no interface has %v", at)
}
