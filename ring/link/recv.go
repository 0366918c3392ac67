package link

import (
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
	// tokenPatience is how many packets a token lets pass before it, should the multicasts
	// never end.
	tokenPatience = 4096
)

// receiver is the space for one batch of a socket.
type receiver struct {
	msgs    []mmsghdr
	iovs    []unix.Iovec
	names   []sockaddr
	control []control
	blocks  []*wire.Block
	// What the last call brought and is not handed out yet.
	at, n int
	// empty: the last call took all there was, so that another would be for nothing.
	empty bool
	// Within message at: the rest of its bytes and the size of its packets.
	rest  []byte
	size  int
	block *wire.Block
}

func (r *receiver) init(pool *wire.Pool, batch int) {
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

// Recv implements Link.
func (u *UDP) Recv(dst []wire.Packet) int {
	n := 0
	u.rx.empty, u.rxToken.empty = false, false
	if len(u.held) == 0 {
		u.waited = 0
		u.readTokens()
	}
	for n < len(dst) {
		k := u.read(u.mcast, &u.rx, dst[n:])
		if k == 0 {
			break
		}
		n += k
	}
	u.waited += n
	if n == len(dst) && u.waited < tokenPatience {
		return n
	}
	k := copy(dst[n:], u.held)
	rest := copy(u.held, u.held[k:])
	clear(u.held[rest:])
	u.held = u.held[:rest]
	return n + k
}

// readTokens takes in what the token socket has, before the multicasts are read that it must
// not overtake.
func (u *UDP) readTokens() {
	var p [tokenBatch]wire.Packet
	k := u.read(u.token, &u.rxToken, p[:])
	u.held = append(u.held, p[:k]...)
}

// read hands out packets of one socket, up to len(dst); 0 when the socket is empty.
func (u *UDP) read(fd int, r *receiver, dst []wire.Packet) int {
	n := 0
	for n < len(dst) {
		if len(r.rest) == 0 && !u.nextMessage(r) {
			if n > 0 || !u.fill(fd, r) {
				return n
			}
			continue
		}
		size := min(r.size, len(r.rest))
		data := r.rest[:size]
		r.rest = r.rest[size:]
		r.block.Retain()
		if len(r.rest) == 0 {
			r.block.Release()
		}
		u.stats.Received++
		u.stats.ReceivedBytes += uint64(size)
		dst[n] = wire.Packet{Data: data, Block: r.block}
		n++
	}
	return n
}

// fill reads the next batch.
func (u *UDP) fill(fd int, r *receiver) bool {
	if r.empty {
		return false
	}
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		h.Namelen = uint32(len(r.names[i].raw))
		h.SetControllen(cmsgSpace)
		h.Flags = 0
	}
	for range 2 {
		u.stats.RecvCalls++
		n, errno := recvmmsg(fd, r.msgs)
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

// nextMessage goes to the next datagram of the batch that is for us.
func (u *UDP) nextMessage(r *receiver) bool {
	for r.at+1 < r.n {
		r.at++
		m := &r.msgs[r.at]
		from := &r.names[r.at]
		from.len = m.hdr.Namelen
		data := r.blocks[r.at].Data[:m.len]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 {
			u.stats.Truncated++
			continue
		}
		if from.same(&u.own) {
			u.stats.Own++
			continue
		}
		header, err := wire.ParseHeader(data)
		if err != nil {
			u.stats.Foreign++
			continue
		}
		u.learn(&header, from)
		r.size = r.control[r.at].coalesced(int(m.hdr.Controllen))
		if r.size <= 0 {
			r.size = len(data)
		}
		u.take(r, data)
		return true
	}
	return false
}

// take makes a datagram the one being handed out.
func (u *UDP) take(r *receiver, data []byte) {
	if len(data) <= copyBytes {
		r.rest, r.block = u.small.copy(data)
		return
	}
	r.rest, r.block = data, r.blocks[r.at]
	r.place(r.at, u.pool.Get())
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
