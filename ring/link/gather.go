package link

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Gather lists the memory of datagrams in vectors, joining what lies together: how many that
// took, and how many bytes they have.
func Gather(vectors []unix.Iovec, datagrams []wire.Datagram) (used, total int) {
	var end uintptr
	for _, d := range datagrams {
		base := unsafe.SliceData(d.Data)
		if used > 0 && uintptr(unsafe.Pointer(base)) == end {
			last := &vectors[used-1]
			last.SetLen(int(last.Len) + len(d.Data))
		} else {
			vectors[used].Base = base
			vectors[used].SetLen(len(d.Data))
			used++
		}
		end = uintptr(unsafe.Pointer(base)) + uintptr(len(d.Data))
		total += len(d.Data)
	}
	return used, total
}
