package link

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Path is another way for the packets of transports udp and udpu, past the kernel's UDP. The sockets
// stay open: they hold port and group, and take and send what a path leaves to them, as fragments,
// members on this host, and neighbours that the kernel has yet to find. A path belongs to its
// link's goroutine.
type Path interface {
	// Name is what it is called in configuration and status.
	Name() string
	// Add takes datagrams for an address, of one length but for the last, or refuses all of them.
	// It may hold them until Flush, as long as their bytes stay.
	Add(to netip.AddrPort, datagrams []wire.Datagram) bool
	Flush()
	// Begin lets Next look for packets again, which it does not do after it has found none. The
	// memory of a packet without a block is valid until Next is called again. multicast tells
	// whether it was sent to the group.
	Begin()
	Next() (p wire.Packet, from netip.AddrPort, multicast, ok bool)
	// Shadows tells whether the sockets get what the path takes, too, and are to drop it.
	Shadows() bool
	// FDs are the descriptors to poll for reading.
	FDs() []int
	// Tick does what is due.
	Tick(now time.Time)
	// Move goes to another interface, as when that of the ring was removed and made again. After an
	// error the path is closed.
	Move(Place) error
	// MTU is the interface's, of which IP's header is part; it may change.
	MTU() int
	Stats() PathStats
	Close() error
}

// Place is where a path is to be.
type Place struct {
	Interface int // its index
	Own       netip.AddrPort
	Group     netip.AddrPort // invalid with udpu
	TTL       uint8          // of multicasts
	Buffer    int            // bytes for what was received and not read yet
	// What may be dropped early: with udpu what is not from one of these, if there are any; and what
	// is not protected.
	Listed []netip.Addr
	Sealed bool
}

// PathStats counts what a path did.
type PathStats struct {
	Sent, SentBytes uint64
	SendCalls       uint64
	SendErrors      uint64
	Left            uint64 // datagrams left to the sockets to send
	Received        uint64
	Dropped         uint64 // by the kernel, for want of room
	Malformed       uint64 // neither ours nor the sockets'
	Fragments       uint64 // left to the sockets
	Truncated       uint64
	Cuts            bool   // the interface cuts aggregates itself
	Detail          string // what the kernel and the card offer
}

// onPath is a link's path.
type onPath struct {
	path   Path
	name   string
	mtu    int       // that the filters of the sockets are for
	local  time.Time // when a member on this host was last heard
	polled [2]unix.PollFd
}

// localFor is how long multicasts go by socket after a member on this host was heard: what goes
// past UDP is not looped to it.
const localFor = time.Minute

// usePath opens the path that the configuration names. That none can be had is told, and no error.
func (u *UDP) usePath() {
	if u.cfg.OpenPath == nil || u.own.port() != u.cfg.Port {
		return // where another member on this host has the port, it has the path
	}
	path, err := u.cfg.OpenPath(u.place())
	if err != nil {
		u.reports.say(true, "the ring's datapath is udp: %v", err)
		return
	}
	if path == nil {
		return
	}
	u.on = &onPath{path: path, name: path.Name()}
	if err := u.shadow(); err != nil {
		u.reports.say(true, "the ring's datapath is udp: %v", err)
		_ = path.Close() // it was not used
		u.on = nil
		return
	}
	if path.Shadows() {
		// The filters tell packets that were put together from fragments by their length.
		u.stats.Coalescing = "recvmmsg (UDP_GRO is off beside another datapath)"
		for _, fd := range u.sockets() {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 0) // it may never have been on
		}
	}
	for i, fd := range u.sockets() {
		u.on.polled[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
}

// place is where the link is.
func (u *UDP) place() Place {
	p := Place{Interface: u.ifindex, Own: u.own.addrPort(), TTL: uint8(max(u.cfg.TTL, 0)), Buffer: u.cfg.ReceiveBuffer, Sealed: u.sealed != nil}
	if u.mcast >= 0 {
		p.Group = netip.AddrPortFrom(u.cfg.Group.Unmap(), u.cfg.Port)
	} else if !u.cfg.AcceptUnlisted {
		for _, a := range u.unicast.all {
			p.Listed = append(p.Listed, a.addrPort().Addr())
		}
	}
	return p
}

// leavePath goes on without a path, for a reason.
func (u *UDP) leavePath(why error) {
	on := u.on
	u.on = nil
	u.reports.say(true, "the ring's datapath is udp from now on: %v", why)
	shadows := on.path.Shadows()
	_ = on.path.Close() // it is of no use any more
	if !shadows {
		return
	}
	for _, fd := range u.sockets() {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // there is one
	}
	if u.mcast >= 0 {
		u.filterOwn(u.mcast)
	}
}

// shadow has the sockets drop what the path takes, of which they get a copy.
func (u *UDP) shadow() error {
	on := u.on
	on.mtu = on.path.MTU()
	if !on.path.Shadows() {
		return nil
	}
	for _, fd := range u.sockets() {
		program := u.filterShadow(uint32(on.mtu))
		if fd == u.mcast {
			program = append(program, u.ownFilter()...)
		} else {
			program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)})
		}
		if err := attachFilter(fd, program); err != nil {
			return fmt.Errorf("link: a socket takes no filter: %w", err)
		}
	}
	return nil
}

// The kernel's offsets of what is beside a packet's bytes (SKF_AD_OFF).
const (
	beside     = ^uint32(0x1000) + 1
	packetType = beside + 4
	ifindexOf  = beside + 8
	looped     = 5 // PACKET_LOOPBACK, a packet type
)

// filterShadow drops what came over the path's interface in one piece. A packet that did not is
// longer than the MTU; what other members on this host multicast was looped.
func (u *UDP) filterShadow(mtu uint32) []unix.SockFilter {
	ip := uint32(20)
	if u.own.family() == unix.AF_INET6 {
		ip = 40
	}
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: packetType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: looped, Jt: 5},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ifindexOf},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(u.ifindex), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: mtu - ip, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

func attachFilter(fd int, program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(program)), Filter: unsafe.SliceData(program)})
}

// sendOnPath sends datagrams to one address by the path, or leaves them.
func (u *UDP) sendOnPath(to *sockaddr, datagrams []wire.Datagram, everyone bool) bool {
	on := u.on
	if on == nil || everyone && !on.local.IsZero() {
		return false
	}
	if u.tx.used > 0 {
		u.tx.flush() // what went by socket is not to be overtaken
	}
	return on.path.Add(to.addrPort(), datagrams)
}

// to sends datagrams to one address, by the path if that takes them.
func (u *UDP) to(addr *sockaddr, datagrams []wire.Datagram, everyone bool) {
	if u.sendOnPath(addr, datagrams, everyone) {
		return
	}
	u.flushPath()
	u.tx.add(addr, datagrams)
}

// toEach sends the same datagrams to several addresses.
func (u *UDP) toEach(list []sockaddr, datagrams []wire.Datagram) {
	if u.on == nil {
		u.tx.addTo(list, datagrams)
		return
	}
	for i := range list {
		u.to(&list[i], datagrams, false)
	}
}

func (u *UDP) flushPath() {
	if u.on != nil {
		u.on.path.Flush()
	}
}

// recvOnPath is Recv with a path. What the path takes keeps its order; a token does not overtake
// multicasts there. The sockets have something seldom, and are looked at first.
func (u *UDP) recvOnPath(dst []wire.Packet) int {
	on := u.on
	n := 0
	polled := on.polled[:len(u.sockets())]
	if ready, _ := unix.Poll(polled, 0); ready > 0 || u.rx.pending() || u.rxToken.pending() {
		if u.mcast >= 0 {
			u.rx.begin()
			n = u.fill(&u.rx, dst)
		}
		u.rxToken.begin()
		n += u.fill(&u.rxToken, dst[n:])
	}
	on.path.Begin()
	for n < len(dst) {
		p, from, multicast, ok := on.path.Next()
		if !ok {
			break
		}
		if n += u.takeFromPath(&dst[n], p, from, multicast); on.path.MTU() != on.mtu {
			_ = u.shadow() // it took one before
		}
	}
	return n
}

// takeFromPath hands out a packet, of which it is told where it came from, if it is for us.
func (u *UDP) takeFromPath(dst *wire.Packet, p wire.Packet, at netip.AddrPort, multicast bool) int {
	from := makeSockaddr(at, u.ifindex)
	data, ok := u.accept(p.Data, &from, multicast)
	if !ok {
		p.Release()
		return 0
	}
	if p.Data = data; p.Block == nil {
		p.Data, p.Block = u.small.copy(data)
	}
	u.stats.Received++
	u.stats.ReceivedBytes += uint64(len(data))
	*dst = p
	return 1
}

// neighbour notes a packet of a member on this very host, which came by a socket.
func (u *UDP) neighbour(from *sockaddr) {
	if u.on != nil && from.addrPort().Addr() == u.own.addrPort().Addr() {
		u.on.local = time.Now()
	}
}

// tickPath does what is due with a path.
func (u *UDP) tickPath() time.Duration {
	on := u.on
	if on == nil {
		return 0
	}
	if !on.local.IsZero() && time.Since(on.local) > localFor {
		on.local = time.Time{}
	}
	on.path.Tick(time.Now())
	return localFor
}

// sockets are the descriptors of the sockets.
func (u *UDP) sockets() []int {
	if u.mcast < 0 {
		return []int{u.token}
	}
	return []int{u.mcast, u.token}
}
