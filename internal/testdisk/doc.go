// Package testdisk makes a block device that behaves as disks do on their bad days: it keeps what is
// written in a cache until it is flushed, takes its time for that, fails, and loses its power.
//
//	file system (ext4, xfs)
//	     |                       the kernel's
//	/dev/loopN
//	     |  reads, writes, flushes
//	a file of a FUSE file system
//	     |                       this package's
//	cache of what was not flushed --flush--> an ordinary file
//
// The kernel knows nothing of it: what runs on such a device is a real file system of a real kernel,
// with programs that know nothing of it either. dm-flakey and dm-log-writes do as much where a kernel
// has them.
//
//	d, err := testdisk.New(dir, bytes) // root, /dev/fuse, losetup
//	mount d.Device() …
//	d.CutPower(rand)                   // every call fails from now on
//	kill what runs there, unmount, d.Detach()
//	d.Restore(), d.Attach(), mount …   // what was flushed is there; of the rest, some
//	d.Close()
//
// A flush covers the writes that were done when it began, as the kernel expects of a disk. What is in
// the cache when the power goes is written, lost or torn by sectors, each block by itself: disks promise
// no order.
package testdisk
