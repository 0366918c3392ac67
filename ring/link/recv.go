package link

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	receiveBatch = 8
	tokenBatch   = 4
	// receiveBlockBytes holds the longest datagram and the longest coalesced buffer.
	receiveBlockBytes = 64 << 10
	// receiveBlocksKept: the batches of both sockets, two for small packets, and what a ring
	// holds until it is safe: a window of 256 packets of 1455 bytes is 6 full buffers, for
	// three rotations.
	receiveBlocksKept = receiveBatch + tokenBatch + 2 + 3*6
	// copyBytes: what is not longer is copied into a block shared by many, so that a small
	// packet does not pin 64 KiB until everybody has it. Longer ones stay where they are.
	copyBytes = 16 << 10
)

// receiver takes packets from one socket, in batches.
type receiver struct {
	fd    int
	stats *Stats
	pool  *wire.Pool
	small *smallPackets

	msgs    []mmsghdr
	iovs    []unix.Iovec
	names   []sockaddr
	control []control
	blocks  []*wire.Block
	// What the last call brought and is not handed out yet.
	at, n int
	// empty: the last call took all there was, so that another would be for nothing.
	empty bool
	calls int // since begin
	// Within message at: the rest of its bytes and the size of its packets.
	rest    []byte
	size    int
	block   *wire.Block
	arrived time.Duration
}

func (r *receiver) init(fd int, stats *Stats, pool *wire.Pool, small *smallPackets, batch int) {
	r.fd, r.stats, r.pool, r.small = fd, stats, pool, small
	r.msgs = make([]mmsghdr, batch)
	r.iovs = make([]unix.Iovec, batch)
	r.names = make([]sockaddr, batch)
	r.control = make([]control, batch)
	r.blocks = make([]*wire.Block, batch)
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		h.Name = &r.names[i].raw[0]
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.control[i][0]
		r.place(i, pool.Get())
	}
}

func (r *receiver) place(i int, b *wire.Block) {
	r.blocks[i] = b
	r.iovs[i].Base = &b.Data[0]
	r.iovs[i].SetLen(len(b.Data))
}

// maxCalls bounds what one Recv takes in, should nothing of it be for us and there be no end.
const maxCalls = 256

// begin lets next ask the kernel again.
func (r *receiver) begin() { r.empty, r.calls = false, 0 }

// next hands out the next packet, with a reference for the caller, and where it came from,
// which is valid until the next call. It asks the kernel only if it may, and not again after
// it has had everything, until begin.
func (r *receiver) next(ask bool) (p wire.Packet, from *sockaddr, ok bool) {
	for len(r.rest) == 0 {
		if !r.nextMessage() && (!ask || !r.fill()) {
			return wire.Packet{}, nil, false
		}
	}
	size := min(r.size, len(r.rest))
	data := r.rest[:size]
	r.rest = r.rest[size:]
	r.block.Retain()
	if len(r.rest) == 0 {
		r.block.Release()
	}
	return wire.Packet{Data: data, Block: r.block, Arrived: r.arrived}, &r.names[r.at], true
}

// pending tells whether something was read and not handed out yet.
func (r *receiver) pending() bool { return len(r.rest) > 0 || r.at+1 < r.n }

// fill reads the next batch.
func (r *receiver) fill() bool {
	if r.empty || r.calls == maxCalls {
		return false
	}
	r.calls++
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		h.Namelen = uint32(len(r.names[i].raw))
		h.SetControllen(cmsgSpace)
		h.Flags = 0
	}
	for range 2 {
		r.stats.RecvCalls++
		n, errno := recvmmsg(r.fd, r.msgs)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return false
		}
		r.at, r.n, r.empty = -1, n, n < len(r.msgs)
		return true
	}
	return false
}

// nextMessage goes to the next datagram of the batch.
func (r *receiver) nextMessage() bool {
	for r.at+1 < r.n {
		r.at++
		m := &r.msgs[r.at]
		r.names[r.at].len = m.hdr.Namelen
		data := r.blocks[r.at].Data[:m.len]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			r.stats.Truncated++
			continue
		}
		if len(data) == 0 {
			r.stats.Foreign++
			continue
		}
		r.size, r.arrived = r.control[r.at].read(int(m.hdr.Controllen))
		if r.size <= 0 {
			r.size = len(data)
		}
		r.take(data)
		return true
	}
	return false
}

// take makes a datagram the one being handed out.
func (r *receiver) take(data []byte) {
	if len(data) <= copyBytes {
		r.rest, r.block = r.small.copy(data)
		return
	}
	r.rest, r.block = data, r.blocks[r.at]
	r.place(r.at, r.pool.Get())
}

// smallPackets is a block that small packets are copied into one after the other.
type smallPackets struct {
	pool  *wire.Pool
	block *wire.Block
	used  int
}

// copy returns the copy and its block, with a reference for the caller.
func (s *smallPackets) copy(data []byte) ([]byte, *wire.Block) {
	if s.block == nil || len(s.block.Data)-s.used < len(data) {
		if s.block != nil {
			s.block.Release()
		}
		s.block, s.used = s.pool.Get(), 0
	}
	to := s.block.Data[s.used : s.used+len(data)]
	copy(to, data)
	s.used += len(data)
	s.block.Retain()
	return to, s.block
}
