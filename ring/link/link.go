package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Link sends and receives ring packets.
type Link interface {
	// FDs are the descriptors to poll for reading.
	FDs() []int
	// Recv fills dst with packets and returns how many; 0 when nothing is left. Each packet
	// carries a reference that the caller releases.
	Recv(dst []wire.Packet) int
	// Send sends datagrams in order. What cannot be sent is counted and dropped: the ring
	// repairs it.
	Send(datagrams []wire.Datagram)
	Stats() Stats
	Close() error
}

// DefaultPort is corosync's mcastport.
const DefaultPort = 5405

// Config says where a UDP link binds.
type Config struct {
	// Address is our own address on the ring's interface. Required.
	Address netip.Addr
	// Interface is the name of the interface. Empty: the one that has Address.
	Interface string
	// Group is the multicast address, see MulticastAddr. Required.
	Group netip.Addr
	Port  uint16 // 0: DefaultPort
	TTL   int    // of multicasts; 0: 1
	// ReceiveBuffer and SendBuffer are asked of the kernel; 0: 4 MiB. The limit without
	// privilege is net.core.rmem_max; Stats tells what was given.
	ReceiveBuffer int
	SendBuffer    int
	// Peers are unicast addresses known beforehand. What a peer's packets say overrides them.
	Peers map[wire.NodeID]netip.AddrPort
	// NoSegmentation and NoCoalescing keep from using UDP_SEGMENT and UDP_GRO.
	NoSegmentation bool
	NoCoalescing   bool
}

const defaultBufferBytes = 4 << 20

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.TTL == 0 {
		c.TTL = 1
	}
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = defaultBufferBytes
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = defaultBufferBytes
	}
	return c
}

// Validate checks the configuration.
func (c Config) Validate() error {
	switch {
	case !c.Address.IsValid() || c.Address.IsUnspecified() || c.Address.IsMulticast():
		return fmt.Errorf("link: %v is not an address to bind to", c.Address)
	case !c.Group.IsMulticast():
		return fmt.Errorf("link: mcastaddr %v is not a multicast address", c.Group)
	case c.Address.Unmap().Is4() != c.Group.Unmap().Is4():
		return fmt.Errorf("link: bindnetaddr %v and mcastaddr %v are of different families", c.Address, c.Group)
	case c.TTL < 0 || c.TTL > 255:
		return fmt.Errorf("link: ttl %d is not 0 to 255", c.TTL)
	case len(c.Peers) > wire.MaxMembers:
		return errors.New("link: more peers than a ring can have")
	}
	return nil
}

// Stats counts packets by what became of them and names what the kernel offers.
type Stats struct {
	Sent, SentBytes         uint64
	Received, ReceivedBytes uint64
	SendCalls, RecvCalls    uint64
	Own                     uint64 // our own multicasts, looped
	Foreign                 uint64 // not ring packets
	Truncated               uint64
	SendErrors              uint64 // packets the kernel refused
	NoAddress               uint64 // tokens for nodes whose address we do not know

	ReceiveBuffer int // bytes the kernel gave, its bookkeeping included
	SendBuffer    int
	Segmentation  string // "UDP_SEGMENT", or what is used instead and why
	Coalescing    string // likewise "UDP_GRO"
	Filter        string // where our own multicasts are dropped
}

// MulticastAddr is corosync's default mcastaddr for a cluster name: a 16-bit hash of the name
// and the number of the link, in 239.192/16 or under ff15::/16.
func MulticastAddr(clusterName string, ipv6 bool, link int) netip.Addr {
	var id uint16
	for i := range len(clusterName) {
		id = id<<1 + uint16(clusterName[i])
	}
	id += uint16(link)
	if ipv6 {
		return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x15, 14: byte(id >> 8), 15: byte(id)})
	}
	return netip.AddrFrom4([4]byte{239, 192, byte(id >> 8), byte(id % 255)})
}
