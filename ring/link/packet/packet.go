package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/neigh"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Name is what the path is called.
const Name = "packet"

// Path is an AF_PACKET socket and what it takes to use it.
type Path struct {
	place link.Place
	fd    int
	table *neigh.Table
	ways  *frame.Ways
	mac   frame.MAC // of the group
	rx    receiver
	tx    sender
	stats link.PathStats
}

var _ link.Path = (*Path)(nil)

// Open makes a path.
func Open(place link.Place) (link.Path, error) {
	p := &Path{place: place, fd: -1, ways: frame.NewWays(place.Own, place.Group, place.TTL)}
	if err := p.open(); err != nil {
		_ = p.Close() // what failed is the opening
		return nil, fmt.Errorf("AF_PACKET: %w", err)
	}
	return p, nil
}

func (p *Path) open() (err error) {
	if p.table, err = neigh.Open(p.place.Interface); err != nil {
		return err
	}
	d := p.table.Device()
	switch {
	case d.Loopback:
		return fmt.Errorf("interface %s is the loopback, where other members are on this host, whom only sockets reach", d.Name)
	case !d.Ethernet:
		return fmt.Errorf("interface %s is no Ethernet", d.Name)
	case p.place.Group.IsValid() && p.place.TTL == 0:
		return errors.New("multicasts are to stay on this host, and sockets do that")
	}
	if p.place.Group.IsValid() {
		p.mac = frame.GroupMAC(p.place.Group.Addr())
	}
	// Of no protocol until the filter is there, so that nothing else comes through.
	if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		if errors.Is(err, unix.EPERM) {
			return errors.New("it takes CAP_NET_RAW")
		}
		return os.NewSyscallError("socket", err)
	}
	if err := p.filter(); err != nil {
		return err
	}
	for _, option := range []struct {
		name         string
		value, level int
		number       int
	}{
		{"PACKET_VERSION", unix.TPACKET_V2, unix.SOL_PACKET, unix.PACKET_VERSION},
		{"PACKET_VNET_HDR", 1, unix.SOL_PACKET, unix.PACKET_VNET_HDR},
		{"PACKET_IGNORE_OUTGOING (Linux 4.20)", 1, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING},
		{"PACKET_COPY_THRESH", 1, unix.SOL_PACKET, unix.PACKET_COPY_THRESH},
		{"PACKET_QDISC_BYPASS", 1, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS},
	} {
		if err := unix.SetsockoptInt(p.fd, option.level, option.number, option.value); err != nil {
			return os.NewSyscallError(option.name, err)
		}
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, o[0], p.place.Buffer) != nil {
			_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, o[1], p.place.Buffer) // what there is will do
		}
	}
	if err := p.rx.init(p.fd, d.MTU, p.place.Buffer, &p.stats); err != nil {
		return err
	}
	p.tx.init(p.fd, &p.stats)
	return p.bind()
}

func (p *Path) bind() error {
	at := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: p.place.Interface}
	return os.NewSyscallError("bind", unix.Bind(p.fd, at))
}

// Move implements link.Path.
func (p *Path) Move(place link.Place) error {
	p.place = place
	if err := p.table.Move(place.Interface); err != nil {
		return err
	}
	// That the old one is gone is an error of the socket's, to be read.
	_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return p.bind()
}

// Tick implements link.Path: nothing is ever due.
func (p *Path) Tick(time.Time) {}

func bigEndian(v uint16) uint16 { return v>>8 | v<<8 }

// Name implements link.Path.
func (p *Path) Name() string { return Name }

// Shadows implements link.Path: the kernel goes on to give the sockets everything.
func (p *Path) Shadows() bool { return true }

// FDs implements link.Path.
func (p *Path) FDs() []int { return []int{p.fd, p.table.FD()} }

// MTU implements link.Path.
func (p *Path) MTU() int { return p.table.Device().MTU }

// Stats implements link.Path.
func (p *Path) Stats() link.PathStats {
	if s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		p.stats.Dropped += uint64(s.Drops) // they are since the last time
	}
	s := p.stats
	s.Detail, s.Cuts = p.tx.detail(), p.tx.segment && p.tx.bypass
	return s
}

// Close implements link.Path.
func (p *Path) Close() error {
	if p.table != nil {
		p.table.Close()
	}
	return errors.Join(p.rx.close(), closeFD(p.fd))
}

func closeFD(fd int) error {
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// Add implements link.Path.
func (p *Path) Add(to netip.AddrPort, datagrams []wire.Datagram) bool {
	d := p.table.Device()
	t := p.template(to, d)
	if t == nil || t.Length()-frame.EthernetBytes+len(datagrams[0].Data) > d.MTU {
		p.stats.Left += uint64(len(datagrams))
		return false
	}
	p.tx.add(t, datagrams)
	return true
}

// template is how to get to an address; nil: by the sockets.
func (p *Path) template(to netip.AddrPort, d neigh.Device) *frame.Template {
	switch {
	case !d.Up:
		return nil
	case p.ways.Group(to):
		return p.ways.To(to, d.MAC, p.mac)
	}
	mac, known := p.table.Way(to.Addr(), time.Now())
	if !known {
		return nil
	}
	return p.ways.To(to, d.MAC, mac)
}

// Flush implements link.Path.
func (p *Path) Flush() { p.tx.flush() }

// Begin implements link.Path.
func (p *Path) Begin() {
	if p.table.Read(); !p.table.Device().Up {
		// The socket has an error then, and is ready to have it read until it was.
		_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	}
	p.rx.begin()
}

// Next implements link.Path.
func (p *Path) Next() (wire.Packet, netip.AddrPort, bool, bool) {
	q, from, to, ok := p.rx.next()
	if ok {
		p.stats.Received++
	}
	return q, from, p.ways.Group(to), ok
}
