package xdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolChannels is struct ethtool_channels.
type ethtoolChannels struct {
	command                                    uint32
	mostReceive, mostSend, mostOther, mostBoth uint32
	receive, send, other, both                 uint32
}

// channels is how many queues an interface receives by; 0: it does not tell.
func channels(fd int, name string) int {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	c := ethtoolChannels{command: unix.ETHTOOL_GCHANNELS}
	// struct ifreq with a pointer, which x/sys has for some requests only.
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(request.name[:], r.Name())
	request.data = unsafe.Pointer(&c)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return 0
	}
	return int(c.receive + c.both)
}
