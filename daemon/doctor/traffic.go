package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// heard is what of the ring has come from others.
type heard struct {
	groups, unicasts int
	from             map[netip.Addr]bool
}

// traffic listens on the wire, below any firewall. The ring's representative multicasts several
// times a second also when nothing is to do, and the token comes by unicast.
func (h *host) traffic() []Finding {
	if h.ring == nil {
		return h.noRing()
	}
	if h.Listen <= 0 {
		return one(Unknown, "not listened for", "qpid-cluster doctor --listen 2s")
	}
	got, err := h.hear()
	if err != nil {
		return one(Unknown, "cannot listen on the wire: "+err.Error(), "run it as root")
	}
	text := fmt.Sprintf("in %v on %s: %d packets of the ring to groups and %d to this host, from %d others", h.Listen, h.ring.At.Interface, got.groups, got.unicasts, len(got.from))
	if h.ring.Link.Transport == link.Multicast && !h.ring.Link.Broadcast && got.groups == 0 && got.unicasts > 0 && !h.representative(got) {
		return one(Error, text+": others reach this host, their multicasts do not",
			"a switch, or a bridge of virtual machines, with IGMP snooping and no querier: turn a querier on in this network, or snooping off; or transport udpu in corosync.conf")
	}
	if len(got.from) == 0 {
		return one(Warning, text, "start the brokers on other hosts; if they run: the same "+h.ring.Destination()+" on all, a firewall on theirs (qpid-cluster doctor there), the network between")
	}
	return fine("%s", text)
}

// representative guesses whether this host's broker is the ring's, who is the only one to multicast
// while nothing is to do: it has the lowest address, as node ids are made of those.
func (h *host) representative(got *heard) bool {
	for a := range got.from {
		if a.Less(h.self) {
			return false
		}
	}
	return true
}

// hear counts packets to the ring's port on its interface, while the patient is to be listened to.
func (h *host) hear() (*heard, error) {
	i, err := net.InterfaceByName(h.ring.At.Interface)
	if err != nil {
		return nil, err
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		return nil, err
	}
	if g := h.ring.Link.Group; g.Is4() { // so that a switch that watches lets them through
		if c, err := net.ListenMulticastUDP("udp4", i, &net.UDPAddr{IP: g.AsSlice(), Port: 0}); err == nil {
			defer c.Close()
		}
	}
	got := &heard{from: map[netip.Addr]bool{}}
	b := make([]byte, 128) // headers are enough
	for end := time.Now().Add(h.Listen); time.Now().Before(end); {
		left := unix.NsecToTimeval(max(time.Until(end), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left); err != nil {
			return nil, err
		}
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h.count(got, b[:min(n, len(b))])
	}
	return got, nil
}

// count takes one packet.
func (h *host) count(got *heard, b []byte) {
	var from, to netip.Addr
	var udp []byte
	switch {
	case len(b) >= 28 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_UDP && len(b) >= int(b[0]&15)*4+8:
		from, _ = netip.AddrFromSlice(b[12:16])
		to, _ = netip.AddrFromSlice(b[16:20])
		udp = b[int(b[0]&15)*4:]
	case len(b) >= 48 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
		from, _ = netip.AddrFromSlice(b[8:24])
		to, _ = netip.AddrFromSlice(b[24:40])
		udp = b[40:]
	default:
		return
	}
	if binary.BigEndian.Uint16(udp[2:]) != h.ring.Link.Port || from == h.self {
		return
	}
	got.from[from] = true
	if to.IsMulticast() {
		got.groups++
	} else {
		got.unicasts++
	}
}
