package daemon

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

const _ = uint(bpf.MaxAcceptors - config.MaxAcceptors) // what may be asked for can be had

// spread is the acceptors of one address.
type spread struct {
	at     net.Addr
	number int
	turns  *bpf.Acceptors // nil: the kernel goes by the connections' hash
}

// listenSeveral opens so many sockets that listen on one address. What it opened before an error it
// gives, too.
func listenSeveral(addr string, n int) ([]net.Listener, error) {
	first, err := listenTCP(addr)
	if err != nil || n <= 1 {
		return listeners(first), err
	}
	// That nobody else listens there was to be seen first: sockets that share a port would share it with
	// another broker of the same user.
	addr = net.JoinHostPort(hostOf(addr), strconv.Itoa(first.Addr().(*net.TCPAddr).Port))
	first.Close()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	c.Control = func(_, _ string, s syscall.RawConn) (failed error) {
		err := s.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if err != nil {
			return err
		}
		return failed
	}
	var list []net.Listener
	for range n {
		l, err := c.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return list, err
		}
		list = append(list, l)
	}
	return list, nil
}

func listeners(l net.Listener) []net.Listener {
	if l == nil {
		return nil
	}
	return []net.Listener{l}
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		panic("daemon: listening on what is no address and port: " + addr)
	}
	return host
}

// spread has connections go to each of some acceptors in turn. Where that cannot be the kernel spreads
// them by their hash, as evenly as chance has it.
func (b *Broker) spread(list []net.Listener) {
	if len(list) < 2 {
		return
	}
	s := &spread{at: list[0].Addr(), number: len(list)}
	b.spreads = append(b.spreads, s)
	var sockets []syscall.RawConn
	var err error
	for _, l := range list {
		var raw syscall.RawConn
		if raw, err = l.(*net.TCPListener).SyscallConn(); err != nil {
			break
		}
		sockets = append(sockets, raw)
	}
	if err == nil {
		s.turns, err = bpf.Spread(sockets)
	}
	if err != nil {
		b.netLog.Warn(fmt.Sprintf("%d acceptors on %s get connections by their hash: %v", s.number, s.at, err))
		return
	}
	b.netLog.Log(context.Background(), logging.Notice, fmt.Sprintf("%d acceptors on %s get connections in turn", s.number, s.at))
}

func (s *spread) String() string {
	if s.turns == nil {
		return fmt.Sprintf("%d on %s, by hash", s.number, s.at)
	}
	counts, err := s.turns.Counts()
	if err != nil {
		return err.Error()
	}
	var list []string
	for _, g := range counts {
		list = append(list, fmt.Sprint(g.Connections))
	}
	return fmt.Sprintf("%d on %s, in turn: %s", s.number, s.at, strings.Join(list, " "))
}

func (s *spread) close() {
	if s.turns != nil {
		s.turns.Close()
	}
}

// spreading is what the acceptors got, in words; empty: there is one for each address.
func (b *Broker) spreading() string {
	var list []string
	for _, s := range b.spreads {
		list = append(list, s.String())
	}
	return strings.Join(list, "; ")
}
