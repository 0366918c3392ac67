package datapath

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ command, value uint32 }

// stripsTags tells whether an interface takes the tags of VLANs off what it receives, before XDP.
func stripsTags(name string) bool {
	const rxVLAN = 1 << 8 // ETH_FLAG_RXVLAN
	v := ethtoolValue{command: unix.ETHTOOL_GFLAGS}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data *ethtoolValue
		rest [16]byte // of union ifr_ifru
	}{data: &v}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// An error is a driver that has no such thing.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	return errno == 0 && v.value&rxVLAN != 0
}

// tagsHidden is an error if a program on an interface's XDP would take packets of its VLANs for packets
// of its own: their tags are taken off before, and where they are then only what is behind XDP can see.
// Where the interface has no VLANs nobody takes what is tagged, and a card does not even let it in.
func tagsHidden(ifindex int) error {
	at, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return nil // there is nothing that a program could be attached to
	}
	all, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	list := vlansOn(ifindex, all)
	if name := at.Attrs().Name; len(list) > 0 && stripsTags(name) {
		return fmt.Errorf("XDP would take packets of %s for those of %s, which takes tags off before; have the card leave them (ethtool -K %s rxvlan off), or give the ring an interface without VLANs",
			strings.Join(list, ", "), name, name)
	}
	return nil
}

// vlansOn are the VLANs of an interface.
func vlansOn(ifindex int, all []netlink.Link) (list []string) {
	for _, l := range all {
		if l.Type() == "vlan" && l.Attrs().ParentIndex == ifindex {
			list = append(list, l.Attrs().Name)
		}
	}
	return list
}
