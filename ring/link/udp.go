package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// UDP is a link whose packets are ring packets: over multicast, or unicast to each peer.
type UDP struct {
	cfg     Config
	ifindex int
	device  device
	own     sockaddr // the token socket's address
	group   sockaddr
	token   int // descriptors
	mcast   int // -1 with Unicast
	peers   map[wire.NodeID]sockaddr
	unicast unicast
	stats   Stats
	reports reports
	sealed  *sealed // nil: packets are not protected
	on      *onPath // nil: packets go by the sockets

	// With Multicast (fallback.go).
	self     wire.NodeID
	fallback fallback
	heard    map[netip.AddrPort]*heard
	listen   time.Time // until then multicasts are looked at one by one; 0: they are not
	twins    uint64
	twin     netip.AddrPort
	stranger netip.AddrPort // who sent last what is not a ring's

	tx      sender
	rx      receiver // of the multicast socket
	rxToken receiver
	small   smallPackets
	// Tokens that wait for the multicasts before them, and how many packets they have waited.
	held    []wire.Packet
	waited  int
	pool    *wire.Pool
	closing bool
}

var _ Link = (*UDP)(nil)

func openUDP(cfg Config) (*UDP, error) {
	index, err := interfaceIndex(cfg)
	if err != nil {
		return nil, err
	}
	u := &UDP{
		cfg: cfg, ifindex: index, token: -1, mcast: -1,
		peers: make(map[wire.NodeID]sockaddr, len(cfg.Peers)), heard: map[netip.AddrPort]*heard{},
		pool: wire.NewPool(receiveBlockBytes, receiveBlocksKept), reports: reports{to: cfg.Report},
	}
	for n, a := range cfg.Peers {
		u.peers[n] = makeSockaddr(a, index)
	}
	if cfg.Transport == Unicast {
		u.unicast.init(u.peers, 2*cfg.Merge)
	} else {
		u.group = makeSockaddr(netip.AddrPortFrom(cfg.Group, cfg.Port), index)
		u.fallback.told = time.Now()
	}
	if err := u.openSockets(); err != nil {
		_ = u.Close() // what failed is the opening
		return nil, err
	}
	if len(cfg.Crypto.Key) > 0 {
		if u.sealed, err = newSealed(&cfg.Crypto, &u.own); err != nil {
			_ = u.Close()
			return nil, err
		}
	}
	u.tx.init(u.token, &u.stats)
	u.small.pool = u.pool
	u.rxToken.init(u.token, &u.stats, u.pool, &u.small, tokenBatch)
	if u.mcast >= 0 {
		u.rx.init(u.mcast, &u.stats, u.pool, &u.small, receiveBatch)
	}
	u.device.name, _ = nameOf(u.token, u.ifindex)
	u.probe()
	u.usePath()
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
func (u *UDP) FDs() []int {
	if u.on != nil {
		return append(u.sockets(), u.on.path.FDs()...)
	}
	return u.sockets()
}

// Address implements Link.
func (u *UDP) Address() netip.AddrPort { return u.own.addrPort() }

// Stats implements Link.
func (u *UDP) Stats() Stats {
	s := u.stats
	s.Datapath = "udp"
	if u.on != nil {
		p := u.on.path.Stats()
		s.Datapath, s.Path = u.on.name, p
		s.Sent, s.SentBytes = s.Sent+p.Sent, s.SentBytes+p.SentBytes
		s.SendCalls, s.SendErrors = s.SendCalls+p.SendCalls, s.SendErrors+p.SendErrors
		s.Truncated += p.Truncated
	}
	return s
}

// Tick implements Link.
func (u *UDP) Tick() time.Duration {
	wait := u.look(time.Now())
	if next := u.tickPath(); next != 0 {
		wait = min(wait, next)
	}
	return wait
}

// Close implements Link.
func (u *UDP) Close() error {
	if u.closing {
		return nil
	}
	u.closing = true
	var errs []error
	if u.on != nil {
		errs = append(errs, u.on.path.Close())
	}
	for _, fd := range u.sockets() {
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

// Send implements Link.
func (u *UDP) Send(datagrams []wire.Datagram) {
	if u.sealed == nil {
		u.send(datagrams, datagrams)
		return
	}
	for len(datagrams) > 0 {
		out := u.sealed.seal(datagrams)
		u.send(datagrams[:len(out)], out)
		datagrams = datagrams[len(out):]
	}
}

// send sends out, which is what datagrams are on the wire.
func (u *UDP) send(datagrams, out []wire.Datagram) {
	for len(out) > 0 {
		n := u.tx.run(out)
		d := &datagrams[0]
		switch {
		case d.To != 0:
			if to, known := u.peers[d.To]; known {
				u.to(&to, out[:n], false)
			} else {
				u.stats.NoAddress += uint64(n)
			}
			if u.cfg.Transport == Unicast {
				u.unicast.sent(d.Data)
			} else {
				u.sentTo(d.Data)
			}
		case u.cfg.Transport == Unicast:
			var to []sockaddr
			to, n = u.unicast.everyone(datagrams[:n])
			u.toEach(to, out[:n])
		default:
			u.to(&u.group, out[:n], true)
			if to, k := u.copies(datagrams[:n]); k > 0 {
				u.toEach(to, u.again(datagrams[:k], out[:k]))
				u.stats.Copies += uint64(k * len(to))
			}
		}
		datagrams, out = datagrams[n:], out[n:]
	}
	u.flushPath()
	u.tx.flush()
}

// Recv implements Link.
func (u *UDP) Recv(dst []wire.Packet) int {
	if u.on != nil {
		return u.recvOnPath(dst)
	}
	u.rx.begin()
	u.rxToken.begin()
	if u.mcast < 0 { // one socket, in which a token lies behind what came before it
		return u.fill(&u.rxToken, dst)
	}
	if len(u.held) == 0 {
		u.waited = 0
		u.readTokens()
	}
	n := u.fill(&u.rx, dst)
	u.waited += n
	if n == len(dst) && u.waited < tokenPatience {
		return n
	}
	k := copy(dst[n:], u.held)
	rest := copy(u.held, u.held[k:])
	clear(u.held[rest:])
	u.held = u.held[:rest]
	return n + k
}

// fill hands out packets of one socket until dst is full or the socket is empty.
func (u *UDP) fill(r *receiver, dst []wire.Packet) int {
	n := 0
	for n < len(dst) {
		k := u.read(r, dst[n:])
		if k == 0 {
			break
		}
		n += k
	}
	return n
}

// tokenPatience is how many packets a token lets pass before it, should the multicasts never
// end.
const tokenPatience = 4096

// readTokens takes in what the token socket has, before the multicasts are read that it must
// not overtake.
func (u *UDP) readTokens() {
	var p [tokenBatch]wire.Packet
	k := u.read(&u.rxToken, p[:])
	u.held = append(u.held, p[:k]...)
}

// read hands out what one call to the kernel brings, up to len(dst).
func (u *UDP) read(r *receiver, dst []wire.Packet) int {
	n := 0
	for n < len(dst) {
		p, from, ok := r.next(n == 0)
		if !ok {
			break
		}
		if p.Data, ok = u.accept(p.Data, from, r == &u.rx); !ok {
			p.Release()
			continue
		}
		u.neighbour(from)
		u.stats.Received++
		u.stats.ReceivedBytes += uint64(len(p.Data))
		dst[n] = p
		n++
	}
	return n
}

// accept gives the ring packet that a packet, which came by multicast or not, is, if it is for us.
func (u *UDP) accept(data []byte, from *sockaddr, multicast bool) ([]byte, bool) {
	if from.same(&u.own) {
		u.stats.Own++
		return nil, false
	}
	if u.mcast < 0 && !u.cfg.AcceptUnlisted && !u.unicast.listed(from) {
		u.stats.Unlisted++
		u.reports.refused("they are not from an address of the nodelist", from)
		return nil, false
	}
	if u.sealed != nil {
		var authentic bool
		if data, authentic = u.open(data, from); !authentic {
			return nil, false
		}
	}
	header, err := wire.ParseHeader(data)
	if err != nil {
		u.stats.Foreign++
		u.stranger = from.addrPort()
		return nil, false
	}
	u.twinned(&header, from)
	if u.mcast >= 0 {
		u.hear(&header, from, multicast)
		u.learn(&header, from)
	}
	return data, true
}

// learn notes where a node's tokens go. Only packets that their sender wrote itself tell.
func (u *UDP) learn(h *wire.Header, from *sockaddr) {
	if h.Type == wire.TypeMcast || h.Node == 0 || h.Node == u.self {
		return
	}
	addr := *from
	addr.listens(u.cfg.Port)
	known, found := u.peers[h.Node]
	if found && known.same(&addr) || !found && len(u.peers) >= wire.MaxMembers {
		return
	}
	u.peers[h.Node] = addr
}

// listens makes of where packets of a node came from where it takes tokens.
func (s *sockaddr) listens(port uint16) {
	if s.port() == port-1 {
		s.setPort(port) // corosync sends from the port below the one it listens on
	}
}
