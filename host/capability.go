package host

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Capabilities are the effective capabilities of this process, a bit for each, as CAP_NET_ADMIN.
func Capabilities() (uint64, error) {
	data, err := capabilities()
	if err != nil {
		return 0, err
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}

func capabilities() (data [2]unix.CapUserData, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return data, fmt.Errorf("host: capabilities: %w", err)
	}
	return data, nil
}

// DropCapabilities gives up all capabilities but keep, in all threads and for ever. Root keeps
// what it has: started by hand, its broker reads and writes files with them.
func DropCapabilities(keep ...int) error {
	if os.Geteuid() == 0 {
		return nil
	}
	data, err := capabilities()
	if err != nil {
		return err
	}
	var mask [2]uint32
	for _, c := range keep {
		mask[c/32] |= 1 << (c % 32)
	}
	for i := range data {
		data[i].Permitted &= mask[i]
		data[i].Effective &= mask[i]
		data[i].Inheritable &= mask[i]
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// What is not permitted leaves the ambient set by itself.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("host: cannot give up capabilities: %w", errno)
	}
	return nil
}
