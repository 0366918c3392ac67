package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// UDP is a link over UDP multicast.
type UDP struct {
	cfg     Config
	ifindex int
	own     sockaddr // the token socket's address
	group   sockaddr
	token   int // descriptors
	mcast   int
	peers   map[wire.NodeID]sockaddr
	stats   Stats

	segment bool // UDP_SEGMENT works
	// segmentLimit: packets of this length and more are not sent that way.
	segmentLimit int
	tx           sender
	rx           receiver // of the multicast socket
	rxToken      receiver
	small        smallPackets
	// Tokens that wait for the multicasts before them, and how many packets they have waited.
	held    []wire.Packet
	waited  int
	pool    *wire.Pool
	closing bool
}

var _ Link = (*UDP)(nil)

// Open binds the sockets.
func Open(cfg Config) (*UDP, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	index, err := interfaceIndex(cfg)
	if err != nil {
		return nil, err
	}
	u := &UDP{
		cfg: cfg, ifindex: index, token: -1, mcast: -1,
		group: makeSockaddr(netip.AddrPortFrom(cfg.Group, cfg.Port), index),
		peers: make(map[wire.NodeID]sockaddr, len(cfg.Peers)),
		pool:  wire.NewPool(receiveBlockBytes, receiveBlocksKept),

		segmentLimit: wire.MaxPacketBytes + 1,
	}
	for n, a := range cfg.Peers {
		u.peers[n] = makeSockaddr(a, index)
	}
	if err := u.openSockets(); err != nil {
		u.Close()
		return nil, err
	}
	u.tx.init()
	u.rx.init(u.pool, receiveBatch)
	u.rxToken.init(u.pool, tokenBatch)
	u.small.pool = u.pool
	return u, nil
}

// interfaceIndex finds the interface by its name or by its address.
func interfaceIndex(cfg Config) (int, error) {
	if cfg.Interface != "" {
		i, err := net.InterfaceByName(cfg.Interface)
		if err != nil {
			return 0, fmt.Errorf("link: interface %s: %w", cfg.Interface, err)
		}
		return i.Index, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("link: listing interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().WithZone("") == cfg.Address.Unmap().WithZone("") {
				return i.Index, nil
			}
			// Every address of 127/8 is local, though only one is listed.
			if err == nil && p.Addr().IsLoopback() && p.Contains(cfg.Address.Unmap()) {
				return i.Index, nil
			}
		}
	}
	return 0, fmt.Errorf("link: no interface has the address %v; name one that `ip addr` shows",
		cfg.Address)
}

// FDs implements Link.
func (u *UDP) FDs() []int { return []int{u.mcast, u.token} }

// Address is where our tokens come to.
func (u *UDP) Address() netip.AddrPort { return u.own.addrPort() }

// Peers are the unicast addresses known now.
func (u *UDP) Peers() map[wire.NodeID]netip.AddrPort {
	known := make(map[wire.NodeID]netip.AddrPort, len(u.peers))
	for n, a := range u.peers {
		known[n] = a.addrPort()
	}
	return known
}

// Stats implements Link.
func (u *UDP) Stats() Stats { return u.stats }

// Close implements Link. Packets handed out stay valid.
func (u *UDP) Close() error {
	if u.closing {
		return nil
	}
	u.closing = true
	var errs []error
	for _, fd := range []int{u.mcast, u.token} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	for _, p := range u.held {
		p.Release()
	}
	u.held = nil
	return errors.Join(errs...)
}

// learn notes where a node's tokens go. Only packets that their sender wrote itself tell.
func (u *UDP) learn(h *wire.Header, from *sockaddr) {
	if h.Type == wire.TypeMcast || h.Node == 0 {
		return
	}
	addr := *from
	if addr.port() == u.cfg.Port-1 {
		addr.setPort(u.cfg.Port) // corosync sends from the port below the one it listens on
	}
	known, found := u.peers[h.Node]
	if found && known.same(&addr) || !found && len(u.peers) >= wire.MaxMembers {
		return
	}
	u.peers[h.Node] = addr
}
