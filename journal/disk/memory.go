package disk

import "golang.org/x/sys/unix"

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
