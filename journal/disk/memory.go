package disk

import (
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory is memory outside the Go heap, page aligned, so that extents are neither scanned
// nor counted by the collector, and given back to the kernel when freed.
type Memory struct{}

// Alloc maps n bytes.
func (Memory) Alloc(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// Free unmaps what Alloc mapped.
func (Memory) Free(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic("disk: unmap: " + err.Error())
	}
}

// Pool is a Memory that keeps what was freed last for those who come next, who find in it what was
// there. The kernel clears each page that it gives out: for the extent of a message of 256 KiB that
// took 110 µs, where copying the message there took 3.
type Pool struct {
	limit int

	mu    sync.Mutex
	free  map[int][]freed // by size class, those freed first in front
	kept  int             // bytes in free
	clock uint64
}

// freed is memory that nobody has, and when it was freed, by Pool.clock.
type freed struct {
	b  []byte
	at uint64
}

// NewPool returns a pool that keeps up to so many bytes.
func NewPool(bytes int) *Pool { return &Pool{limit: bytes, free: map[int][]freed{}} }

// class rounds up so that sizes of one class differ by an eighth at most, and are whole pages.
func class(n int) int {
	const page = 4096
	step := max(page, 1<<max(0, bits.Len(uint(n-1))-4))
	return (n + step - 1) &^ (step - 1)
}

// Alloc gives out n bytes: pages that were used before, or new ones.
func (p *Pool) Alloc(n int) ([]byte, error) {
	c := class(n)
	p.mu.Lock()
	list := p.free[c]
	if k := len(list); k > 0 {
		b := list[k-1].b
		p.free[c] = list[:k-1]
		p.kept -= c
		p.mu.Unlock()
		return b[:n], nil
	}
	p.mu.Unlock()
	b, err := Memory{}.Alloc(c)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// Free keeps b, and unmaps what was freed longest ago if that is too much.
func (p *Pool) Free(b []byte) {
	b = b[:cap(b)]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	p.free[len(b)] = append(p.free[len(b)], freed{b, p.clock})
	p.kept += len(b)
	for p.kept > p.limit {
		p.unmapOldest()
	}
}

func (p *Pool) unmapOldest() {
	oldest := 0
	for c, list := range p.free {
		if len(list) > 0 && (oldest == 0 || list[0].at < p.free[oldest][0].at) {
			oldest = c
		}
	}
	list := p.free[oldest]
	Memory{}.Free(list[0].b)
	p.kept -= oldest
	p.free[oldest] = append(list[:0], list[1:]...)
}

// Close unmaps what is kept.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.kept > 0 {
		p.unmapOldest()
	}
}
