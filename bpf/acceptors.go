package bpf

import (
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// MaxAcceptors is among how many sockets the connections to one port can be spread.
const MaxAcceptors = 64

// Acceptors are sockets that listen on one address and port (SO_REUSEPORT), each of which gets a new
// connection in turn. What waits for one that is closed goes to another.
type Acceptors struct {
	collection *ebpf.Collection
	number     int
}

// Spread spreads the connections to some listening sockets. It takes Linux 5.14.
func Spread(sockets []syscall.RawConn) (*Acceptors, error) {
	if len(sockets) == 0 || len(sockets) > MaxAcceptors {
		return nil, fmt.Errorf("bpf: connections are spread among 1 to %d acceptors, not %d", MaxAcceptors, len(sockets))
	}
	spec, err := loadAccept()
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	if err := spec.Variables[acceptVarNumber].Set(uint32(len(sockets))); err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	_ = rlimit.RemoveMemlock() // kernels before 5.11 want it; where it fails, loading does
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, refused("acceptors", err)
	}
	a := &Acceptors{collection: c, number: len(sockets)}
	for i, s := range sockets {
		if err := a.add(uint32(i), s); err != nil {
			a.Close()
			return nil, err
		}
	}
	// One socket stands for all that listen where it does.
	err = withFD(sockets[0], func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, c.Programs[acceptProgNextAcceptor].FD())
	})
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("bpf: SO_ATTACH_REUSEPORT_EBPF: %w", err)
	}
	return a, nil
}

func (a *Acceptors) add(i uint32, s syscall.RawConn) error {
	err := withFD(s, func(fd int) error { return a.collection.Maps[acceptMapAcceptors].Put(i, uint64(fd)) })
	if err != nil {
		return fmt.Errorf("bpf: acceptor %d: %w", i, err)
	}
	return nil
}

// withFD calls do with a socket's descriptor.
func withFD(s syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := s.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// Given is how many connections an acceptor got, and how many of them waited for one that was closed.
type Given struct{ Connections, Inherited uint64 }

// Counts are those of each acceptor.
func (a *Acceptors) Counts() ([]Given, error) {
	list := make([]Given, a.number)
	for i := range list {
		var cpus []acceptGiven
		if err := a.collection.Maps[acceptMapGiven].Lookup(uint32(i), &cpus); err != nil {
			return nil, fmt.Errorf("bpf: counts: %w", err)
		}
		for _, c := range cpus {
			list[i].Connections += c.Connections
			list[i].Inherited += c.Inherited
		}
	}
	return list, nil
}

// Close gives up the counts. The program stays with the sockets, for as long as one of them is open.
func (a *Acceptors) Close() { a.collection.Close() }
