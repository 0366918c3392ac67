package xdp

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is one of the four rings that a socket shares with the kernel: one side produces entries, the
// other consumes them, and each tells how far it is by a counter that wraps.
type ring[T any] struct {
	memory   []byte
	producer *uint32
	consumer *uint32
	flags    *uint32
	entries  []T
	mask     uint32
	cached   uint32 // of our own side
}

// mapRing maps a ring of so many entries, a power of two.
func mapRing[T any](fd int, page int64, at unix.XDPRingOffset, entries int) (*ring[T], error) {
	var one T
	length := int(at.Desc) + entries*int(unsafe.Sizeof(one))
	memory, err := unix.Mmap(fd, page, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	word := func(offset uint64) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }
	return &ring[T]{
		memory: memory, producer: word(at.Producer), consumer: word(at.Consumer), flags: word(at.Flags),
		entries: unsafe.Slice((*T)(unsafe.Pointer(&memory[at.Desc])), entries), mask: uint32(entries - 1),
	}, nil
}

func (r *ring[T]) unmap() {
	if r != nil && r.memory != nil {
		_ = unix.Munmap(r.memory) // it was mapped
		r.memory = nil
	}
}

// Where we produce, cached is how far we are, published or not.

// room is how many entries can be put.
func (r *ring[T]) room() int { return len(r.entries) - int(r.cached-atomic.LoadUint32(r.consumer)) }

func (r *ring[T]) put(entry T) {
	r.entries[r.cached&r.mask] = entry
	r.cached++
}

// publish shows the kernel what was put.
func (r *ring[T]) publish() { atomic.StoreUint32(r.producer, r.cached) }

// Where the kernel produces, cached is what we have read, given back or not.

func (r *ring[T]) get() (entry T, ok bool) {
	if r.cached == atomic.LoadUint32(r.producer) {
		return entry, false
	}
	entry = r.entries[r.cached&r.mask]
	r.cached++
	return entry, true
}

// giveBack shows the kernel what was read.
func (r *ring[T]) giveBack() { atomic.StoreUint32(r.consumer, r.cached) }

// sleeping tells whether the kernel wants to be woken to look at the ring.
func (r *ring[T]) sleeping() bool { return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0 }
