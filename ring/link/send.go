package link

import (
	"encoding/binary"
	"errors"
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

// sender is the space for a batch.
type sender struct {
	msgs    [sendBatch]mmsghdr
	iovs    [sendBatch * maxSegments]unix.Iovec
	names   [sendBatch]sockaddr
	control [sendBatch]control
	counts  [sendBatch]int // packets in each message
	used    int
	iovUsed int
}

func (s *sender) init() {
	for i := range s.msgs {
		h := &s.msgs[i].hdr
		h.Name = &s.names[i].raw[0]
	}
}

// Send implements Link.
func (u *UDP) Send(datagrams []wire.Datagram) {
	for len(datagrams) > 0 {
		if u.tx.used == sendBatch {
			u.flush()
		}
		datagrams = datagrams[u.add(datagrams):]
	}
	u.flush()
}

// add makes the next message of the batch of one datagram, or of several that the kernel can
// cut apart, and returns how many.
func (u *UDP) add(datagrams []wire.Datagram) int {
	d := datagrams[0]
	to := u.group
	n := 1
	if d.To != 0 {
		addr, known := u.peers[d.To]
		if !known {
			u.stats.NoAddress++
			return 1
		}
		to = addr
	} else if u.segment {
		n = segments(datagrams, u.segmentLimit)
	}
	s := &u.tx
	i := s.used
	s.used++
	s.names[i] = to
	s.counts[i] = n
	h := &s.msgs[i].hdr
	h.Namelen = to.len
	h.Iov = &s.iovs[s.iovUsed]
	vectors := s.gather(datagrams[:n])
	h.SetIovlen(vectors)
	h.Control = nil
	h.SetControllen(0)
	if n > 1 {
		h.Control = &s.control[i][0]
		h.SetControllen(s.control[i].setSegment(len(d.Data)))
	}
	return n
}

// segments is how many datagrams from the first on the kernel can cut out of one buffer:
// multicasts of one size below limit, of which the last may be shorter.
func segments(datagrams []wire.Datagram, limit int) int {
	size := len(datagrams[0].Data)
	if size >= limit {
		return 1
	}
	total := size
	for i := 1; i < len(datagrams); i++ {
		n := len(datagrams[i].Data)
		total += n
		if datagrams[i].To != 0 || n > size || i == maxSegments || total > maxSegmentBytes {
			return i
		}
		if n < size {
			return i + 1
		}
	}
	return len(datagrams)
}

// gather lists the memory of datagrams, joining what lies together.
func (s *sender) gather(datagrams []wire.Datagram) int {
	vectors := 0
	var end uintptr
	for _, d := range datagrams {
		base := unsafe.SliceData(d.Data)
		if vectors > 0 && uintptr(unsafe.Pointer(base)) == end {
			last := &s.iovs[s.iovUsed-1]
			last.SetLen(int(last.Len) + len(d.Data))
		} else {
			v := &s.iovs[s.iovUsed]
			v.Base = base
			v.SetLen(len(d.Data))
			s.iovUsed++
			vectors++
		}
		end = uintptr(unsafe.Pointer(base)) + uintptr(len(d.Data))
	}
	return vectors
}

// flush sends the batch. A message the kernel refuses is dropped, after the causes that pass.
func (u *UDP) flush() {
	s := &u.tx
	at := 0
	waited := false
	for at < s.used {
		u.stats.SendCalls++
		n, errno := sendmmsg(u.token, s.msgs[at:s.used])
		if errno == 0 {
			for _, c := range s.counts[at : at+n] {
				u.stats.Sent += uint64(c)
			}
			for i := range s.msgs[at : at+n] {
				u.stats.SentBytes += uint64(s.msgs[at+i].len)
			}
			at += n
			continue
		}
		switch {
		case errno == unix.EINTR:
			continue
		case (errno == unix.EAGAIN || errno == unix.ENOBUFS) && !waited:
			waited = true
			poll := []unix.PollFd{{Fd: int32(u.token), Events: unix.POLLOUT}}
			_, _ = unix.Poll(poll, sendPatience)
			continue
		case s.counts[at] > 1 && u.cannotCut(at, errno):
			u.sendCut(at)
		default:
			u.stats.SendErrors += uint64(s.counts[at])
		}
		at++
	}
	clear(s.iovs[:s.iovUsed]) // let go of the packets
	s.used, s.iovUsed = 0, 0
}

// cannotCut reports whether a message failed because it was to be cut, and notes what not to
// try again: packets longer than the MTU, which are fragmented one by one (recovery packets
// are; all are where netmtu is set too high), or UDP_SEGMENT at all.
func (u *UDP) cannotCut(at int, why unix.Errno) bool {
	switch why {
	case unix.EMSGSIZE, unix.EINVAL:
		u.segmentLimit = min(u.segmentLimit, u.tx.segmentSize(at))
		u.stats.Segmentation = fmt.Sprintf(
			"UDP_SEGMENT, but for packets of %d bytes and more (longer than the interface's MTU)",
			u.segmentLimit)
	case unix.EIO, unix.EOPNOTSUPP:
		u.segment = false
		u.stats.Segmentation = "sendmmsg (the interface refuses UDP_SEGMENT: " + why.Error() + ")"
	default:
		return false
	}
	return true
}

func (s *sender) segmentSize(at int) int {
	return int(binary.NativeEndian.Uint16(s.control[at][unix.CmsgLen(0):]))
}

// sendCut sends a message packet by packet.
func (u *UDP) sendCut(at int) {
	s := &u.tx
	h := &s.msgs[at].hdr
	size := s.segmentSize(at)
	var data []byte
	for _, v := range unsafe.Slice(h.Iov, int(h.Iovlen)) {
		data = append(data, unsafe.Slice(v.Base, int(v.Len))...)
	}
	to := u.token
	name := u.sockaddr(s.names[at].addrPort())
	for len(data) > 0 {
		n := min(size, len(data))
		err := unix.Sendto(to, data[:n], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, name)
		if err != nil && !errors.Is(err, unix.EINTR) {
			u.stats.SendErrors++
		} else {
			u.stats.Sent++
			u.stats.SentBytes += uint64(n)
		}
		data = data[n:]
	}
}
