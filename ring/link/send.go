package link

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	sendBatch = 64
	// maxSegments is UDP_MAX_SEGMENTS of the kernels before 6.6, the lowest of all.
	maxSegments = 64
	// maxSegmentBytes: one buffer to cut must be a legal datagram itself.
	maxSegmentBytes = 65535 - 48
	// sendPatience bounds the wait for a full socket buffer. The data is on its way to the
	// interface meanwhile; dropping it would cost the ring a rotation or, for a token, more.
	sendPatience = 5 // ms
)

// sender collects what is to be sent over one socket and sends it in batches.
type sender struct {
	fd    int
	stats *Stats

	segment bool // UDP_SEGMENT works
	// segmentLimit: packets of this length and more are not sent that way.
	segmentLimit int

	msgs    [sendBatch]mmsghdr
	iovs    [sendBatch * maxSegments]unix.Iovec
	names   [sendBatch]sockaddr
	control [sendBatch]control
	counts  [sendBatch]int // packets in each message
	used    int
	iovUsed int
}

func (s *sender) init(fd int, stats *Stats) {
	s.fd, s.stats = fd, stats
	s.segmentLimit = wire.MaxPacketBytes + 1
	for i := range s.msgs {
		h := &s.msgs[i].hdr
		h.Name = &s.names[i].raw[0]
	}
}

// run is how many of datagrams, from the first on, one message can take: those that go to the
// same place, and that the kernel can cut apart again.
func (s *sender) run(datagrams []wire.Datagram) int {
	if !s.segment {
		return 1
	}
	return segments(datagrams, s.segmentLimit)
}

// add makes a message of datagrams, as many as run says at the most, to one address.
func (s *sender) add(to *sockaddr, datagrams []wire.Datagram) {
	if s.used == sendBatch {
		s.flush()
	}
	i := s.used
	s.used++
	s.names[i] = *to
	s.counts[i] = len(datagrams)
	h := &s.msgs[i].hdr
	h.Namelen = to.len
	h.Iov = &s.iovs[s.iovUsed]
	vectors, _ := Gather(s.iovs[s.iovUsed:], datagrams)
	s.iovUsed += vectors
	h.SetIovlen(vectors)
	h.Control = nil
	h.SetControllen(0)
	if len(datagrams) > 1 {
		h.Control = &s.control[i][0]
		h.SetControllen(s.control[i].setSegment(len(datagrams[0].Data)))
	}
}

// addTo makes a message to each of several addresses, all of the same memory.
func (s *sender) addTo(list []sockaddr, datagrams []wire.Datagram) {
	for i := range list {
		if i == 0 || s.used == sendBatch {
			s.add(&list[i], datagrams)
			continue
		}
		j := s.used
		s.used++
		s.names[j], s.counts[j], s.control[j] = list[i], s.counts[j-1], s.control[j-1]
		h, last := &s.msgs[j].hdr, &s.msgs[j-1].hdr
		h.Namelen, h.Iov, h.Iovlen = list[i].len, last.Iov, last.Iovlen
		h.Control = nil
		h.SetControllen(0)
		if last.Control != nil {
			h.Control, h.Controllen = &s.control[j][0], last.Controllen
		}
	}
}

// segments is how many datagrams from the first on the kernel can cut out of one buffer: those
// for the same destination, of one size below limit, of which the last may be shorter.
func segments(datagrams []wire.Datagram, limit int) int {
	size := len(datagrams[0].Data)
	if size >= limit {
		return 1
	}
	total := size
	for i := 1; i < len(datagrams); i++ {
		n := len(datagrams[i].Data)
		total += n
		if datagrams[i].To != datagrams[0].To || n > size || i == maxSegments || total > maxSegmentBytes {
			return i
		}
		if n < size {
			return i + 1
		}
	}
	return len(datagrams)
}

// flush sends the batch. A message the kernel refuses is dropped, after the causes that pass.
func (s *sender) flush() {
	at := 0
	waited := false
	for at < s.used {
		s.stats.SendCalls++
		n, errno := sendmmsg(s.fd, s.msgs[at:s.used])
		if errno == 0 {
			for _, c := range s.counts[at : at+n] {
				s.stats.Sent += uint64(c)
			}
			for i := range s.msgs[at : at+n] {
				s.stats.SentBytes += uint64(s.msgs[at+i].len)
			}
			at += n
			continue
		}
		switch {
		case errno == unix.EINTR:
			continue
		case (errno == unix.EAGAIN || errno == unix.ENOBUFS) && !waited:
			waited = true
			poll := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(poll, sendPatience)
			continue
		case s.counts[at] > 1 && s.cannotCut(at, errno):
			s.sendCut(at)
		default:
			s.stats.SendErrors += uint64(s.counts[at])
		}
		at++
	}
	clear(s.iovs[:s.iovUsed]) // let go of the packets
	s.used, s.iovUsed = 0, 0
}

// cannotCut reports whether a message failed because it was to be cut, and notes what not to
// try again: packets longer than the MTU, which are fragmented one by one (recovery packets
// are; all are where netmtu is set too high), or UDP_SEGMENT at all.
func (s *sender) cannotCut(at int, why unix.Errno) bool {
	switch why {
	case unix.EMSGSIZE, unix.EINVAL:
		s.segmentLimit = min(s.segmentLimit, s.segmentSize(at))
		s.stats.Segmentation = fmt.Sprintf(
			"UDP_SEGMENT, but for packets of %d bytes and more (longer than the interface's MTU)",
			s.segmentLimit)
	case unix.EIO, unix.EOPNOTSUPP:
		s.segment = false
		s.stats.Segmentation = "sendmmsg (the interface refuses UDP_SEGMENT: " + why.Error() + ")"
	default:
		return false
	}
	return true
}

func (s *sender) segmentSize(at int) int {
	return int(binary.NativeEndian.Uint16(s.control[at][unix.CmsgLen(0):]))
}

// sendCut sends a message packet by packet.
func (s *sender) sendCut(at int) {
	h := &s.msgs[at].hdr
	size := s.segmentSize(at)
	var data []byte
	for _, v := range unsafe.Slice(h.Iov, int(h.Iovlen)) {
		data = append(data, unsafe.Slice(v.Base, int(v.Len))...)
	}
	var one [1]mmsghdr
	var vector unix.Iovec
	one[0].hdr = unix.Msghdr{Name: h.Name, Namelen: h.Namelen, Iov: &vector}
	one[0].hdr.SetIovlen(1)
	for len(data) > 0 {
		n := min(size, len(data))
		vector.Base = &data[0]
		vector.SetLen(n)
		_, errno := sendmmsg(s.fd, one[:])
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			s.stats.SendErrors++
		} else {
			s.stats.Sent++
			s.stats.SentBytes += uint64(n)
		}
		data = data[n:]
	}
}
