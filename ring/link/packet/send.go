package packet

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	sendBatch   = 64
	maxSegments = 64 // of one frame that is cut behind us
	headBytes   = virtioBytes + frame.MaxHeaderBytes
	// sendPatience is how often a full queue of the card is tried again, with the processor given
	// away in between. Dropping costs the ring a rotation.
	sendPatience = 64
)

// mmsghdr is struct mmsghdr. The compiler pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// sender collects frames and sends them in batches.
type sender struct {
	fd    int
	stats *link.PathStats

	segment bool   // VIRTIO_NET_HDR_GSO_UDP_L4 works
	why     string // it does not
	bypass  bool   // PACKET_QDISC_BYPASS is on

	msgs    [sendBatch]mmsghdr
	heads   [sendBatch][headBytes]byte
	iovs    [sendBatch * (1 + maxSegments)]unix.Iovec
	counts  [sendBatch]int // packets in each message
	used    int
	iovUsed int
	// So that those can be sent one by one that could not be sent as one.
	parts     [sendBatch]*frame.Template
	datagrams [sendBatch][]wire.Datagram
}

func (s *sender) init(fd int, stats *link.PathStats) {
	s.fd, s.stats, s.segment, s.bypass = fd, stats, true, true
}

func (s *sender) detail() string {
	text := "queueing discipline bypassed"
	if !s.bypass {
		text = "through the queueing discipline, as the interface does not cut packets itself"
	}
	if s.segment {
		return "UDP segmentation, " + text
	}
	return fmt.Sprintf("no UDP segmentation (%s), %s", s.why, text)
}

// add queues datagrams of one length but for the last.
func (s *sender) add(t *frame.Template, datagrams []wire.Datagram) {
	for len(datagrams) > 0 {
		n := 1
		if s.segment {
			n = min(len(datagrams), maxSegments)
		}
		if s.used == sendBatch {
			s.flush()
			continue // which may have found out that there is no segmentation
		}
		s.put(t, datagrams[:n])
		datagrams = datagrams[n:]
	}
}

// put makes one message.
func (s *sender) put(t *frame.Template, datagrams []wire.Datagram) {
	i := s.used
	s.used++
	s.counts[i], s.parts[i], s.datagrams[i] = len(datagrams), t, datagrams
	first := s.iovUsed
	s.iovUsed++
	vectors, total := link.Gather(s.iovs[s.iovUsed:], datagrams)
	s.iovUsed += vectors
	head := s.heads[i][:]
	v := (*virtio)(unsafe.Pointer(&head[0]))
	*v = virtio{flags: needsChecksum, start: uint16(t.UDP()), offset: 6, length: uint16(t.Length())}
	if len(datagrams) > 1 {
		v.gso, v.size = unix.VIRTIO_NET_HDR_GSO_UDP_L4, uint16(len(datagrams[0].Data))
	}
	n := t.Put(head[virtioBytes:], total)
	s.iovs[first].Base = &head[0]
	s.iovs[first].SetLen(virtioBytes + n)
	h := &s.msgs[i].hdr
	h.Iov = &s.iovs[first]
	h.SetIovlen(s.iovUsed - first)
}

func (s *sender) call(at, end int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&s.msgs[at])), uintptr(end-at), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// flush sends the batch. What is refused is dropped, after the causes that pass.
func (s *sender) flush() {
	tries := 0
	for at := 0; at < s.used; {
		s.stats.SendCalls++
		n, errno := s.call(at, s.used)
		if errno == 0 {
			s.sent(at, n)
			at += n
			continue
		}
		switch {
		case errno == unix.EINTR:
			continue
		case s.counts[at] > 1 && s.cannotCut(errno):
			s.single(at)
		case (errno == unix.ENOBUFS || errno == unix.EAGAIN) && tries < sendPatience:
			tries++
			s.yield(errno)
			continue
		default:
			s.stats.SendErrors += uint64(s.counts[at])
		}
		at++
	}
	clear(s.iovs[:s.iovUsed]) // let go of the packets
	clear(s.datagrams[:s.used])
	s.used, s.iovUsed = 0, 0
}

func (s *sender) sent(at, n int) {
	for i := at; i < at+n; i++ {
		s.stats.Sent += uint64(s.counts[i])
		s.stats.SentBytes += uint64(int(s.msgs[i].len) - virtioBytes - s.parts[i].Length())
	}
}

// yield waits for room: for the socket's, or, where it is the card that is full, a moment.
func (s *sender) yield(why unix.Errno) {
	wait := 0
	if why == unix.EAGAIN {
		wait = 1
	}
	poll := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	_, _ = unix.Poll(poll, wait)
}

// cannotCut tells whether a frame failed because it was to be cut, and notes it: the kernel does
// not know this kind (before Linux 6.2), or past the queueing discipline, where the interface
// would have to.
func (s *sender) cannotCut(why unix.Errno) bool {
	switch why {
	case unix.EINVAL, unix.EIO, unix.EOPNOTSUPP, unix.EMSGSIZE:
		s.segment, s.why = false, why.Error()
	case unix.ENOBUFS:
		if !s.bypass || !s.bypassOff() {
			return false
		}
	default:
		return false
	}
	return true
}

// bypassOff has frames go through the queueing discipline, where the kernel cuts what an interface
// cannot: that saves more than the bypass does.
func (s *sender) bypassOff() bool {
	if unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 0) != nil {
		return false
	}
	s.bypass = false
	return true
}

// single sends the datagrams of a message one by one.
func (s *sender) single(at int) {
	var one mmsghdr
	var head [headBytes]byte
	var iov [2]unix.Iovec
	t := s.parts[at]
	one.hdr.Iov = &iov[0]
	one.hdr.SetIovlen(2)
	*(*virtio)(unsafe.Pointer(&head[0])) = virtio{flags: needsChecksum, start: uint16(t.UDP()), offset: 6, length: uint16(t.Length())}
	for _, d := range s.datagrams[at] {
		n := t.Put(head[virtioBytes:], len(d.Data))
		iov[0].Base, iov[1].Base = &head[0], unsafe.SliceData(d.Data)
		iov[0].SetLen(virtioBytes + n)
		iov[1].SetLen(len(d.Data))
		_, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&one)), 1, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno != 0 {
			s.stats.SendErrors++
			continue
		}
		s.stats.Sent++
		s.stats.SentBytes += uint64(len(d.Data))
	}
}
