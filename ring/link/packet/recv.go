package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// virtio is struct virtio_net_hdr, which is before each frame in both directions.
type virtio struct {
	flags  uint8
	gso    uint8
	length uint16 // of the headers
	size   uint16 // of the packets of an aggregate
	start  uint16 // where what the checksum covers begins
	offset uint16 // and from there the checksum
}

const (
	virtioBytes = int(unsafe.Sizeof(virtio{}))
	// What flags say of the checksum.
	needsChecksum = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	validChecksum = unix.VIRTIO_NET_HDR_F_DATA_VALID
)

const (
	// slotHead is what the kernel puts before a frame: its header, the address, and to align them.
	slotHead = 128
	// blockBytes is how much of the ring is one piece of memory for the kernel. A slot lies in one.
	blockBytes = 64 << 10
	// minSlots: a ring's window, several times.
	minSlots = 1024
	// aggregateBytes holds the longest frame, which is the longest IP packet and what is before it.
	aggregateBytes = 66 << 10
	// aggregatesKept: what a ring holds until it is safe, as ring/link has it.
	aggregatesKept = 32
	// copyBytes: what is not longer is copied, so that it does not pin a block for aggregates.
	copyBytes = 16 << 10
)

// receiver takes frames out of a ring that the kernel fills.
type receiver struct {
	fd     int
	stats  *link.PathStats
	memory []byte
	slot   int // bytes
	perRun int // slots in a block
	slots  int
	at     int  // the next slot
	done   bool // there was nothing more since begin
	taken  int  // since begin
	busy   *uint32
	pool   *wire.Pool

	// What is left of the frame being handed out.
	rest  []byte
	size  int
	block *wire.Block
	keep  bool // packets stay in block
	from  netip.AddrPort
	to    netip.AddrPort

	arrived time.Duration // time of day
}

// maxTaken bounds the frames that are looked at between two calls of begin, should none be for us and
// there be no end.
const maxTaken = 8192

func (r *receiver) init(fd, mtu, buffer int, stats *link.PathStats) error {
	r.fd, r.stats = fd, stats
	r.slot = (slotHead + frame.EthernetBytes + mtu + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
	if r.slot > blockBytes {
		return fmt.Errorf("an MTU of %d is too long", mtu)
	}
	r.perRun = blockBytes / r.slot
	blocks := max(buffer/blockBytes, minSlots/r.perRun)
	r.slots = blocks * r.perRun
	request := unix.TpacketReq{Block_size: blockBytes, Block_nr: uint32(blocks), Frame_size: uint32(r.slot), Frame_nr: uint32(r.slots)}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return os.NewSyscallError("PACKET_RX_RING", err)
	}
	var err error
	if r.memory, err = unix.Mmap(fd, 0, blocks*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.pool = wire.NewPool(aggregateBytes, aggregatesKept)
	return nil
}

func (r *receiver) close() error {
	if r.memory == nil {
		return nil
	}
	memory := r.memory
	r.memory = nil
	return unix.Munmap(memory)
}

func (r *receiver) begin() { r.done, r.taken = false, 0 }

// next hands out the next packet. Without a block it is valid until the next call.
func (r *receiver) next() (p wire.Packet, from, to netip.AddrPort, ok bool) {
	for len(r.rest) == 0 {
		r.letGo()
		if !r.nextFrame() {
			return p, from, to, false
		}
	}
	n := min(r.size, len(r.rest))
	p.Data, r.rest, p.Arrived = r.rest[:n], r.rest[n:], r.arrived
	if r.keep {
		r.block.Retain()
		p.Block = r.block
	}
	return p, r.from, r.to, true
}

// letGo ends the frame that was handed out.
func (r *receiver) letGo() {
	if r.busy != nil {
		atomic.StoreUint32(r.busy, unix.TP_STATUS_KERNEL)
		r.busy = nil
	}
	if r.block != nil {
		r.block.Release()
		r.block, r.keep = nil, false
	}
}

// nextFrame goes to the next slot that the kernel has filled.
func (r *receiver) nextFrame() bool {
	for !r.done && r.taken < maxTaken && r.memory != nil {
		at := r.at/r.perRun*blockBytes + r.at%r.perRun*r.slot
		head := (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.memory[at]))
		status := atomic.LoadUint32(&head.Status)
		if status&unix.TP_STATUS_USER == 0 {
			r.done = true
			return false
		}
		r.taken++
		r.arrived = time.Duration(head.Sec)*time.Second + time.Duration(head.Nsec)
		r.at = (r.at + 1) % r.slots
		r.busy = &head.Status
		if status&unix.TP_STATUS_COPY != 0 {
			r.letGo()
			if r.readCopy() {
				return true
			}
			continue
		}
		mac := at + int(head.Mac)
		end := mac + int(head.Snaplen)
		if head.Snaplen < head.Len || end > at+r.slot || int(head.Mac) < virtioBytes {
			r.stats.Truncated++
		} else if r.take((*virtio)(unsafe.Pointer(&r.memory[mac-virtioBytes])), r.memory[mac:end]) {
			return true
		}
		r.letGo()
	}
	return false
}

// readCopy reads a frame that was too long for its slot.
func (r *receiver) readCopy() bool {
	b := r.pool.Get()
	for {
		n, _, err := unix.Recvfrom(r.fd, b.Data, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n > len(b.Data) || n < virtioBytes {
			r.stats.Truncated++
			b.Release()
			return false
		}
		if r.take((*virtio)(unsafe.Pointer(&b.Data[0])), b.Data[virtioBytes:n]) {
			r.block, r.keep = b, len(r.rest) > copyBytes
			return true
		}
		b.Release()
		return false
	}
}

// take makes a frame the one being handed out.
func (r *receiver) take(v *virtio, b []byte) bool {
	c := frame.Unknown
	if v.flags&(needsChecksum|validChecksum) != 0 || v.gso != unix.VIRTIO_NET_HDR_GSO_NONE {
		c = frame.Checked
	}
	p, cause := frame.Parse(b, c)
	switch cause {
	case frame.Taken:
	case frame.Fragment:
		r.stats.Fragments++
		return false
	default:
		r.stats.Malformed++
		return false
	}
	if len(p.Payload) == 0 {
		r.stats.Malformed++
		return false
	}
	r.rest, r.size, r.from, r.to = p.Payload, len(p.Payload), p.From, p.To
	if v.gso&^unix.VIRTIO_NET_HDR_GSO_ECN == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && v.size > 0 {
		r.size = int(v.size)
	}
	return true
}
