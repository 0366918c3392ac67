package link

import (
	"net/netip"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/knet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Link sends and receives ring packets.
type Link interface {
	// Recv fills dst with packets and returns how many; 0 when nothing is left. Each packet
	// carries a reference that the caller releases.
	Recv(dst []wire.Packet) int
	// Send sends datagrams in order. What cannot be sent is counted and dropped: the ring
	// repairs it.
	Send(datagrams []wire.Datagram)
	// Tick does what is due and returns how long until it wants to be called again; 0: it has
	// no need to be.
	Tick() time.Duration
	// FDs are the descriptors to poll for reading.
	FDs() []int
	// Address is where our tokens come to.
	Address() netip.AddrPort
	// Know tells the link our node id, which may follow from Address.
	Know(self wire.NodeID)
	// Peer is where a node's tokens go.
	Peer(node wire.NodeID) (netip.AddrPort, bool)
	// Repeat has what is for everyone go to the members by unicast, too, for some minutes: what
	// they lack was multicast again and again in vain.
	Repeat()
	// Trouble is what people have to put right.
	Trouble() Trouble
	// Stats tells what became of packets, and what the kernel offers.
	Stats() Stats
	// Close closes the sockets. Packets handed out stay valid.
	Close() error
}

// Open binds the sockets of the transport that cfg names.
func Open(cfg Config) (Link, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Transport == Knet {
		return openKronosnet(cfg)
	}
	return openUDP(cfg)
}

// Stats counts packets by what became of them and names what the kernel offers.
type Stats struct {
	Sent, SentBytes         uint64
	Received, ReceivedBytes uint64
	SendCalls, RecvCalls    uint64
	Own                     uint64 // our own multicasts, looped
	Foreign                 uint64 // not ring packets
	Unlisted                uint64 // of senders that are not in the nodelist
	NotAuthentic            uint64 // by a key that is not ours, damaged, or without protection
	Replayed                uint64 // seen before, or of an earlier run of their sender
	Truncated               uint64
	SendErrors              uint64 // packets the kernel refused
	NoAddress               uint64 // tokens for nodes whose address we do not know
	Copies                  uint64 // packets for everyone that went by unicast, too

	Knet knet.Stats // of transport knet

	Datapath string // "udp", or the path's name
	Path     PathStats

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
