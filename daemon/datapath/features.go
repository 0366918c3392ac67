package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel's generic netlink family netdev (Documentation/netlink/specs/netdev.yaml, Linux 6.3).
const (
	netdevFamily      = "netdev"
	netdevGet         = 1
	netdevVersion     = 1
	attributeIfindex  = 1
	attributeFeatures = 3

	featureSend     = 1 << 2 // NETDEV_XDP_ACT_NDO_XMIT
	featureZeroCopy = 1 << 3 // NETDEV_XDP_ACT_XSK_ZEROCOPY
)

// header is struct genlmsghdr. Its last two bytes are zero: the kernel looks at them.
type header [nl.SizeofGenlmsg]byte

func (h header) Len() int          { return len(h) }
func (h header) Serialize() []byte { return h[:] }

// zeroCopy tells whether a driver has AF_XDP without copies. One cannot find out by trying: some
// drivers take the link down for a second when a program is attached.
func zeroCopy(ifindex int) (bool, error) {
	has, err := features(ifindex)
	return has&featureZeroCopy != 0, err
}

// veth tells whether an interface is one end of a virtual cable.
func veth(ifindex int) bool {
	l, err := netlink.LinkByIndex(ifindex)
	return err == nil && l.Type() == "veth"
}

// sendsBack is an error if what a program on the driver's XDP sends back where it came in would be lost.
// Of a veth the other end takes it only while it has GRO on, or a program on XDP itself; then the kernel says
// of this end that it takes what is redirected to it.
func sendsBack(ifindex int) error {
	if !veth(ifindex) {
		return nil
	}
	has, err := features(ifindex)
	if err == nil && has&featureSend == 0 {
		err = errors.New("the other end of this veth takes nothing from XDP; have GRO on there (ethtool -K … gro on)")
	}
	return err
}

// features are what the kernel says of a driver's XDP.
func features(ifindex int) (uint64, error) {
	f, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return 0, fmt.Errorf("the kernel does not tell what drivers have (Linux 6.3): %w", err)
	}
	r := nl.NewNetlinkRequest(int(f.ID), 0)
	r.AddData(header{netdevGet, netdevVersion})
	r.AddData(nl.NewRtAttr(attributeIfindex, nl.Uint32Attr(uint32(ifindex))))
	list, err := r.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, fmt.Errorf("netdev: %w", err)
	}
	for _, m := range list {
		attributes, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return 0, fmt.Errorf("netdev: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == attributeFeatures && len(a.Value) >= 8 {
				return binary.NativeEndian.Uint64(a.Value), nil
			}
		}
	}
	return 0, nil
}
