package link

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/knet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/seal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Transport is how what is for everyone travels.
type Transport string

// The transports, by corosync's names.
const (
	Multicast Transport = "udp"  // one packet to a group, or broadcast; the default
	Unicast   Transport = "udpu" // a packet to each of Peers
	Knet      Transport = "knet" // the same as Kronosnet has it, see package knet
)

// DefaultPort is corosync's mcastport.
const DefaultPort = 5405

// Config says where a link binds, and how it reaches others.
type Config struct {
	Transport Transport
	// Address is our own address on the ring's interface. Required.
	Address netip.Addr
	// Interface is the name of the interface. Empty: the one that has Address.
	Interface string
	Port      uint16 // 0: DefaultPort
	// Group is the multicast address, see MulticastAddr. Multicast requires it.
	Group netip.Addr
	// Broadcast sends to 255.255.255.255 on the interface what is for everyone, for networks
	// that carry no multicast; Group is not used. IPv4 only.
	Broadcast bool
	TTL       int // of multicasts; 0: 1; TTLHost
	// Peers are the unicast addresses of the others. With Multicast they need not be known, and
	// what a peer's packets say overrides them; else they are all there are.
	Peers map[wire.NodeID]netip.AddrPort
	// AcceptUnlisted takes packets of any sender where Peers are all there are. Corosync's
	// block_unlisted_ips is the opposite.
	AcceptUnlisted bool
	// Merge is how long nodes outside the ring may go without a packet of ours, as half of
	// what Unicast grants; 0: 200 ms.
	Merge time.Duration
	// Downcheck is how often the interface is looked for while it is gone, if no packet comes that
	// wakes the link anyway; 0: 50 ms.
	Downcheck time.Duration
	// Node is our node id. Knet requires it.
	Node   wire.NodeID
	Crypto Crypto
	Knet   KnetConfig
	// Report is told, in words, of trouble: what keeps packets from being taken, of each cause
	// once a minute at the most; and of what is none: peers that come up. It may be nil.
	Report func(trouble bool, text string)
	// ReceiveBuffer and SendBuffer are asked of the kernel; 0: 4 MiB. The limit without
	// privilege is net.core.rmem_max; Stats tells what was given.
	ReceiveBuffer int
	SendBuffer    int
	// OpenPath opens another way for packets than UDP sockets; nil, or nil without an error: there
	// is none. It is not asked with Knet.
	OpenPath func(Place) (Path, error)
	// Moved is told that the interface was removed and made again, after the link goes by the new one.
	// It may be nil.
	Moved func(Place)
	// NoSegmentation and NoCoalescing keep from using UDP_SEGMENT and UDP_GRO.
	NoSegmentation bool
	NoCoalescing   bool
}

// Crypto is how packets are protected: not, where it has no Key. With Knet as Cipher and Hash
// say; else as package seal does, whatever they say.
type Crypto struct {
	Cipher, Hash string // as crypto_cipher and crypto_hash
	Key          []byte
	Cluster      string // cluster_name, which Knet makes no use of
}

// KnetConfig is what only Knet wants to know; the names are those of corosync.conf. What is
// zero has libknet's default.
type KnetConfig struct {
	PingInterval, PingTimeout time.Duration
	PongCount                 int
	PMTUDInterval             time.Duration // 30 s
	// MTU is the longest packet that reaches every peer; 0: it is found out.
	MTU int
}

// PacketBytes is the longest ring packet that goes over an interface of an MTU in one piece.
func (c Config) PacketBytes(mtu int) int {
	const ipv4, ipv6 = 28, 48 // headers of IP and UDP
	if c.Address.Unmap().Is4() {
		mtu -= ipv4
	} else {
		mtu -= ipv6
	}
	switch {
	case c.Transport == Knet:
		return c.Crypto.knet().MessageBytes(mtu)
	case len(c.Crypto.Key) > 0:
		return mtu - seal.Overhead
	}
	return mtu
}

// knet is nil where there is no key, or one that Validate refuses.
func (c Crypto) knet() *knet.Crypto {
	if len(c.Key) == 0 {
		return nil
	}
	k, _ := knet.NewCrypto(c.Cipher, c.Hash, c.Key)
	return k
}

// TTLHost keeps multicasts on this host.
const TTLHost = -1

const (
	defaultBufferBytes   = 4 << 20
	defaultMerge         = 200 * time.Millisecond
	defaultPMTUDInterval = 30 * time.Second
	// defaultDowncheck is shorter than corosync's second: when the interface is back, tokens come
	// before what is for everyone.
	defaultDowncheck = 50 * time.Millisecond
)

func (c Config) withDefaults() Config {
	if c.Transport == "" {
		c.Transport = Multicast
	}
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.TTL == 0 {
		c.TTL = 1
	}
	if c.Broadcast {
		c.Group = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	if c.Merge == 0 {
		c.Merge = defaultMerge
	}
	if c.Downcheck == 0 {
		c.Downcheck = defaultDowncheck
	}
	if c.Knet.PMTUDInterval == 0 {
		c.Knet.PMTUDInterval = defaultPMTUDInterval
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
	if !c.Address.IsValid() || c.Address.IsUnspecified() || c.Address.IsMulticast() {
		return fmt.Errorf("link: %v is not an address to bind to", c.Address)
	}
	if len(c.Peers) > wire.MaxMembers {
		return errors.New("link: more peers than a ring can have")
	}
	switch c.Transport {
	case Multicast:
		return c.validateMulticast()
	case Unicast, Knet:
		return c.validatePeers()
	}
	return fmt.Errorf("link: unknown transport %q", c.Transport)
}

func (c Config) validateMulticast() error {
	switch {
	case c.Broadcast && !c.Address.Unmap().Is4():
		return fmt.Errorf("link: %v is IPv6, which has no broadcast; give a mcastaddr", c.Address)
	case !c.Broadcast && !c.Group.IsMulticast():
		return fmt.Errorf("link: mcastaddr %v is not a multicast address", c.Group)
	case !c.Broadcast && c.Address.Unmap().Is4() != c.Group.Unmap().Is4():
		return fmt.Errorf("link: bindnetaddr %v and mcastaddr %v are of different families", c.Address, c.Group)
	case c.TTL < TTLHost || c.TTL > 255:
		return fmt.Errorf("link: ttl %d is not 0 to 255", c.TTL)
	}
	return nil
}

func (c Config) validatePeers() error {
	if c.Broadcast {
		return fmt.Errorf("link: transport %s has no broadcast", c.Transport)
	}
	if c.Transport == Knet && len(c.Crypto.Key) > 0 {
		if _, err := knet.NewCrypto(c.Crypto.Cipher, c.Crypto.Hash, c.Crypto.Key); err != nil {
			return err
		}
	}
	for n, a := range c.Peers {
		if !a.IsValid() || a.Addr().Unmap().Is4() != c.Address.Unmap().Is4() {
			return fmt.Errorf("link: node %d has address %v, and must have one of the family of ours, %v", n, a, c.Address)
		}
	}
	return nil
}
