package xdp

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// ringEntries is the length of each ring: some windows of a ring of members.
	ringEntries = 2048
	// umemFrames: half of them to receive, half to send.
	umemFrames = 2 * ringEntries
	// kernelHeadroom is what the kernel leaves free at the beginning of a frame (XDP_PACKET_HEADROOM).
	kernelHeadroom = 256
	pageBytes      = 4096
	// mostPieces is in how many frames a packet is sent, and received: the kernel has one more for a
	// packet that it makes of them (MAX_SKB_FRAGS).
	mostPieces = 16
	// umemPatience is how often the kernel is asked to take a umem, each 5 ms: it gives back the locked
	// memory of a socket that was closed some time later, and there is a limit to it.
	umemPatience = 40
)

// socket is an AF_XDP socket on one queue.
type socket struct {
	fd    int
	queue int
	zero  bool // zero-copy
	sg    bool // packets may be in several frames (Linux 6.6)
	umem  []byte
	frame int // bytes

	fill       *ring[uint64]
	completion *ring[uint64]
	rx         *ring[unix.XDPDesc]
	tx         *ring[unix.XDPDesc]
	free       []uint64 // frames to send
	frames     bool     // some that were received are to be given back
}

// frameBytes is how long frames of umem are for an MTU. What does not fit into one goes in several.
func frameBytes(mtu int) int {
	const ethernet = 14
	if kernelHeadroom+ethernet+mtu <= pageBytes/2 {
		return pageBytes / 2
	}
	return pageBytes
}

// newSocket makes one that is nowhere yet, which takes CAP_NET_RAW.
func newSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.EAFNOSUPPORT):
		return -1, errors.New("the kernel has no AF_XDP (Linux 4.18, CONFIG_XDP_SOCKETS)")
	case errors.Is(err, unix.EPERM):
		return -1, errNotPermitted
	}
	return -1, os.NewSyscallError("socket", err)
}

var errNotPermitted = errors.New("it takes CAP_NET_RAW")

// openSocket binds a new one, with frames of so many bytes, to a queue.
func openSocket(fd, index, queue, frame int) (*socket, error) {
	s := &socket{fd: fd, queue: queue, frame: frame}
	if err := s.open(index); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) open(index int) (err error) {
	if s.umem, err = unix.Mmap(-1, 0, umemFrames*s.frame, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&s.umem[0]))), Len: uint64(len(s.umem)), Size: uint32(s.frame)}
	for range umemPatience {
		if err = s.set(unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg)); !errors.Is(err, unix.ENOBUFS) {
			break
		}
		_, _ = unix.Poll(nil, 5)
	}
	if err != nil {
		return fmt.Errorf("XDP_UMEM_REG: %w; is the limit of locked memory too low (LimitMEMLOCK=)?", err)
	}
	if err = s.mapRings(); err != nil {
		return err
	}
	for i := range ringEntries {
		s.fill.put(uint64(i * s.frame))
		s.free = append(s.free, uint64((ringEntries+i)*s.frame))
	}
	s.fill.publish()
	return s.bind(index)
}

func (s *socket) set(option int, value unsafe.Pointer, length uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, uintptr(option), uintptr(value), length, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// mapRings makes the four rings.
func (s *socket) mapRings() error {
	for _, option := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING, unix.XDP_TX_RING} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, option, ringEntries); err != nil {
			return os.NewSyscallError("setsockopt of a ring", err)
		}
	}
	var at unix.XDPMmapOffsets
	length := uint32(unsafe.Sizeof(at))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return os.NewSyscallError("XDP_MMAP_OFFSETS", errno)
	}
	if uintptr(length) != unsafe.Sizeof(at) {
		return errors.New("the kernel's rings have no flags (Linux 5.4)")
	}
	var errs [4]error
	s.fill, errs[0] = mapRing[uint64](s.fd, unix.XDP_UMEM_PGOFF_FILL_RING, at.Fr, ringEntries)
	s.completion, errs[1] = mapRing[uint64](s.fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, at.Cr, ringEntries)
	s.rx, errs[2] = mapRing[unix.XDPDesc](s.fd, unix.XDP_PGOFF_RX_RING, at.Rx, ringEntries)
	s.tx, errs[3] = mapRing[unix.XDPDesc](s.fd, unix.XDP_PGOFF_TX_RING, at.Tx, ringEntries)
	return errors.Join(errs[:]...)
}

// dropped is how many packets the kernel had no room for.
func (s *socket) dropped() uint64 {
	var x unix.XDPStatistics
	length := uint32(unsafe.Sizeof(x))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_XDP, unix.XDP_STATISTICS,
		uintptr(unsafe.Pointer(&x)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0
	}
	return x.Rx_dropped + x.Rx_ring_full
}

// errNoQueue: the interface has no such queue.
var errNoQueue = errors.New("there is no such queue")

// bind binds to the queue: without copies if the driver can, and so that packets may be in several frames
// if the kernel can. A driver may have the one and not the other.
func (s *socket) bind(index int) (err error) {
	for _, flags := range []uint16{unix.XDP_ZEROCOPY | unix.XDP_USE_SG, unix.XDP_ZEROCOPY, unix.XDP_COPY | unix.XDP_USE_SG, unix.XDP_COPY} {
		err = unix.Bind(s.fd, &unix.SockaddrXDP{Flags: flags | unix.XDP_USE_NEED_WAKEUP, Ifindex: uint32(index), QueueID: uint32(s.queue)})
		if err == nil {
			s.zero, s.sg = flags&unix.XDP_ZEROCOPY != 0, flags&unix.XDP_USE_SG != 0
			return nil
		}
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		return errNoQueue
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("another AF_XDP socket has queue %d: %w", s.queue, err)
	}
	return os.NewSyscallError("bind", err)
}

func (s *socket) close() {
	s.fill.unmap()
	s.completion.unmap()
	s.rx.unmap()
	s.tx.unmap()
	if s.fd >= 0 {
		_ = unix.Close(s.fd) // nothing is lost with it
		s.fd = -1
	}
	if s.umem != nil {
		_ = unix.Munmap(s.umem) // it was mapped
		s.umem = nil
	}
}

// room is how long a frame is that is received in one piece.
func (s *socket) room() int { return s.frame - kernelHeadroom }

// longest is how long frames may be that are received, and sent.
func (s *socket) longest() int {
	if s.sg {
		return mostPieces * s.room()
	}
	return s.room()
}

// next is the next piece of a frame that was received, valid until giveBack; more: it is not the last.
func (s *socket) next() (b []byte, frame uint64, more, ok bool) {
	d, ok := s.rx.get()
	if !ok {
		return nil, 0, false, false
	}
	return s.umem[d.Addr : d.Addr+uint64(d.Len)], d.Addr &^ uint64(s.frame-1), d.Options&unix.XDP_PKT_CONTD != 0, true
}

// giveBack gives a received frame to the kernel, to be filled again.
func (s *socket) giveBack(frame uint64) {
	s.fill.put(frame)
	s.frames = true
}

// rest shows the kernel what was read and given back, and wakes it if it had run out of frames.
func (s *socket) rest() {
	if !s.frames {
		return
	}
	s.frames = false
	s.rx.giveBack()
	s.fill.publish()
	if s.fill.sleeping() {
		_, _, _ = unix.Recvfrom(s.fd, nil, unix.MSG_DONTWAIT) // a call is all that it takes
	}
}

// reap takes back the frames that were sent.
func (s *socket) reap() {
	any := false
	for {
		frame, ok := s.completion.get()
		if !ok {
			break
		}
		s.free = append(s.free, frame&^uint64(s.frame-1))
		any = true
	}
	if any {
		s.completion.giveBack()
	}
}

// frameToSend gives a free frame.
func (s *socket) frameToSend() ([]byte, uint64, bool) {
	n := len(s.free)
	if n == 0 {
		return nil, 0, false
	}
	at := s.free[n-1]
	s.free = s.free[:n-1]
	return s.umem[at : at+uint64(s.frame)], at, true
}

// queueToSend puts a frame behind those to be sent; more: the packet goes on in the next one.
func (s *socket) queueToSend(at uint64, length int, more bool) {
	d := unix.XDPDesc{Addr: at, Len: uint32(length)}
	if more {
		d.Options = unix.XDP_PKT_CONTD
	}
	s.tx.put(d)
}

// wakeups bounds the calls to send what is queued: the kernel takes 32 frames at a time.
const wakeups = 2 * ringEntries / 32

// send has the kernel send what was queued. It returns the calls that took.
func (s *socket) send() (calls int, err error) {
	s.tx.publish()
	for s.tx.room() < len(s.tx.entries) && s.tx.sleeping() && calls < wakeups {
		calls++
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR:
			s.reap()
		default:
			return calls, errno
		}
	}
	return calls, nil
}
