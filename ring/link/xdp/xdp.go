package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/neigh"
)

// Name is what the path is called.
const Name = "xdp"

// Program is what brings packets to the sockets.
type Program interface {
	// Steer has the packets of a queue go to a socket.
	Steer(queue, socket int) error
	// Move attaches it to another interface.
	Move(index int) error
	// Where says where it sits, in words.
	Where() string
	Close()
}

// Limits is how long frames may be that come to the sockets: those of a program in the driver, and those
// of one behind it, which sees aggregates, too.
type Limits struct{ Native, Generic int }

// Attach attaches a program for a place, which leaves longer frames than it may to the sockets of UDP.
type Attach func(place link.Place, limits Limits) (Program, error)

// Path is AF_XDP sockets, and what it takes to use them.
type Path struct {
	place   link.Place
	program Program
	sockets []*socket
	bytes   int   // of a frame of umem; the program knows of it
	spares  []int // sockets that are nowhere yet
	epoll   int   // of what is to be polled, which changes
	table   *neigh.Table
	ways    *frame.Ways
	mac     frame.MAC // of the group
	stats   link.PathStats
	looked  time.Time // at the number of queues

	at      int // the socket that is being read
	done    bool
	pending *socket // whose frame was handed out
	frame   uint64
	pieces  []byte    // of one frame, put together
	held    []unicast // that wait for the multicasts of other queues
	heldAt  int
}

// unicast is one that waits. Its bytes are its own.
type unicast struct {
	data []byte
	from netip.AddrPort
}

var _ link.Path = (*Path)(nil)

const (
	// maxHeld bounds what waits: a ring has one token, and who joins sends some packets more.
	maxHeld = 64
	// spareSockets are kept for when the capability to make some was given up: for as many queues of
	// interfaces that are removed and made again.
	spareSockets = 16
	// lookEvery is how often the number of queues is looked at.
	lookEvery = time.Second
)

// Opener opens a path to which a program brings packets.
func Opener(attach Attach) func(link.Place) (link.Path, error) {
	return func(place link.Place) (link.Path, error) {
		p := &Path{place: place, ways: frame.NewWays(place.Own, place.Group, place.TTL), epoll: -1}
		if err := p.open(attach); err != nil {
			_ = p.Close() // what failed is the opening
			return nil, fmt.Errorf("AF_XDP: %w", err)
		}
		return p, nil
	}
}

func (p *Path) open(attach Attach) (err error) {
	if p.table, err = neigh.Open(p.place.Interface); err != nil {
		return err
	}
	if err := p.suits(); err != nil {
		return err
	}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if p.place.Group.IsValid() {
		p.mac = frame.GroupMAC(p.place.Group.Addr())
	}
	p.bytes = frameBytes(p.table.Device().MTU)
	if err := p.openQueues(); err != nil {
		return err
	}
	// Without the capability to lock memory the sockets of an interface that is made again count for the limit.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	for range spareSockets {
		if fd, err := newSocket(); err == nil {
			p.spares = append(p.spares, fd)
		}
	}
	first := p.sockets[0]
	if p.program, err = attach(p.place, Limits{first.longest(), min(first.longest(), p.table.Device().MTU+frame.EthernetBytes)}); err != nil {
		return err
	}
	return p.steer(p.sockets)
}

// suits tells why the interface is none to have a path on.
func (p *Path) suits() error {
	switch d := p.table.Device(); {
	case d.Loopback:
		return fmt.Errorf("interface %s is the loopback, where other members are on this host, whom only sockets reach", d.Name)
	case !d.Ethernet:
		return fmt.Errorf("interface %s is no Ethernet", d.Name)
	case p.place.Group.IsValid() && p.place.TTL == 0:
		return errors.New("multicasts are to stay on this host, and sockets do that")
	}
	return nil
}

// openQueues opens a socket for each queue that has none.
func (p *Path) openQueues() error {
	d := p.table.Device()
	last := d.Queues
	if n := channels(p.table.FD(), d.Name); n > 0 {
		last = min(last, n) // a socket can be bound to one that only sends, too
	}
	for queue := len(p.sockets); queue < last; queue++ {
		fd, err := newSocket()
		if errors.Is(err, errNotPermitted) && len(p.spares) > 0 {
			fd, err = p.spares[0], nil
			p.spares = p.spares[1:]
		}
		var s *socket
		if err == nil {
			s, err = openSocket(fd, p.place.Interface, queue, p.bytes)
		}
		if errors.Is(err, errNoQueue) && queue > 0 {
			return nil // it may have some one day
		}
		if err != nil {
			return fmt.Errorf("queue %d of %s: %w", queue, d.Name, err)
		}
		p.sockets = append(p.sockets, s)
		if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

// steer has the program bring packets to sockets.
func (p *Path) steer(list []*socket) error {
	for _, s := range list {
		if err := p.program.Steer(s.queue, s.fd); err != nil {
			return err
		}
	}
	return nil
}

// Move implements link.Path: sockets are bound once, so there are new ones, and the program is the same.
func (p *Path) Move(place link.Place) error {
	p.place = place
	p.closeSockets()
	if err := p.table.Move(place.Interface); err != nil {
		return err
	}
	if err := p.suits(); err != nil {
		return err
	}
	if err := p.openQueues(); err != nil {
		return err
	}
	if err := p.program.Move(place.Interface); err != nil {
		return err
	}
	return p.steer(p.sockets)
}

// Tick implements link.Path. Queues that the interface was given are served, too: until then what comes
// by them goes to the sockets of UDP.
func (p *Path) Tick(now time.Time) {
	if now.Sub(p.looked) < lookEvery {
		return
	}
	p.looked = now
	before := len(p.sockets)
	if before == 0 || before >= p.table.Device().Queues || channels(p.table.FD(), p.table.Device().Name) <= before {
		return
	}
	err := p.openQueues()
	if err == nil {
		err = p.steer(p.sockets[before:])
	}
	if err == nil {
		err = p.program.Move(p.place.Interface) // or veth does not run it for queues that are new
	}
	if err != nil {
		p.looked = now.Add(time.Hour) // what comes by the others is not lost; it is not tried for ever
	}
}

// Name implements link.Path.
func (p *Path) Name() string { return Name }

// Shadows implements link.Path: what is steered here, the sockets do not see.
func (p *Path) Shadows() bool { return false }

// FDs implements link.Path.
func (p *Path) FDs() []int { return []int{p.table.FD(), p.epoll} }

// MTU implements link.Path.
func (p *Path) MTU() int { return p.table.Device().MTU }

// ZeroCopy tells whether the card writes into our memory.
func (p *Path) ZeroCopy() bool { return len(p.sockets) > 0 && p.sockets[0].zero }

// Stats implements link.Path.
func (p *Path) Stats() link.PathStats {
	s := p.stats
	for _, x := range p.sockets {
		s.Dropped += x.dropped()
	}
	mode := "copies"
	if p.ZeroCopy() {
		mode = "zero-copy"
	}
	s.Detail = fmt.Sprintf("%s, %d queues, %s", mode, len(p.sockets), p.program.Where())
	return s
}

// Close implements link.Path.
func (p *Path) Close() error {
	if p.program != nil {
		p.program.Close()
	}
	p.closeSockets()
	for _, fd := range p.spares {
		_ = unix.Close(fd) // it was never used
	}
	p.spares = nil
	if p.epoll >= 0 {
		_ = unix.Close(p.epoll) // nothing is lost with it
		p.epoll = -1
	}
	if p.table != nil {
		p.table.Close()
	}
	return nil
}

func (p *Path) closeSockets() {
	for _, s := range p.sockets {
		p.stats.Dropped += s.dropped()
		s.close()
	}
	p.sockets, p.pending = nil, nil
}
