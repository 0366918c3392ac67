package bpf

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens acceptors at an address, of which the kernel chooses the port.
func listen(t *testing.T, network, address string, n int) (list []*net.TCPListener, sockets []syscall.RawConn) {
	t.Helper()
	c := net.ListenConfig{Control: func(_, _ string, s syscall.RawConn) error {
		return withFD(s, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	c.SetMultipathTCP(false)
	for range n {
		l, err := c.Listen(context.Background(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
		tcp := l.(*net.TCPListener)
		raw, err := tcp.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		list, sockets = append(list, tcp), append(sockets, raw)
		address = l.Addr().String()
	}
	return list, sockets
}

// echo accepts and echoes until its listener is closed, and tells how many it had.
func echo(l net.Listener, served *int, done *sync.WaitGroup) {
	defer done.Done()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		*served++
		done.Go(func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // its end is seen at the other side
		})
	}
}

// asks writes to a connection, and reads it back.
func asks(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	b := []byte{1, 2, 3, 4}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

// TestSpread: each acceptor gets as many connections as the others, whatever their addresses, and the
// counts are those of who accepted.
func TestSpread(t *testing.T) {
	privileged(t)
	const acceptors, connections = 4, 100
	for name, x := range map[string][3]string{
		"IPv4": {"tcp4", "127.0.0.1:0", "127.0.0.1"}, "IPv6": {"tcp6", "[::1]:0", "::1"},
		"IPv4 at both": {"tcp", ":0", "127.0.0.1"}, "IPv6 at both": {"tcp", ":0", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			list, sockets := listen(t, x[0], x[1], acceptors)
			a, err := Spread(sockets)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			var served [acceptors]int
			var done sync.WaitGroup
			for i, l := range list {
				done.Add(1)
				go echo(l, &served[i], &done)
			}
			_, port, err := net.SplitHostPort(list[0].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			for range connections {
				c, err := net.Dial("tcp", net.JoinHostPort(x[2], port))
				if err != nil {
					t.Fatal(err)
				}
				if err := asks(c); err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
			}
			for _, l := range list {
				_ = l.Close()
			}
			done.Wait()
			counts, err := a.Counts()
			if err != nil {
				t.Fatal(err)
			}
			for i, g := range counts {
				if served[i] != connections/acceptors || g.Connections != uint64(served[i]) || g.Inherited != 0 {
					t.Errorf("acceptor %d has served %d, and was given %+v", i, served[i], g)
				}
			}
		})
	}
}

// TestAcceptorStops: connections that wait for an acceptor when it stops are taken by the others, and
// later ones go to those.
func TestAcceptorStops(t *testing.T) {
	privileged(t)
	const acceptors, connections = 3, 30
	list, sockets := listen(t, "tcp4", "127.0.0.1:0", acceptors)
	a, err := Spread(sockets)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	address := list[0].Addr().String()
	var clients []net.Conn
	dial := func() {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // it was used
		clients = append(clients, c)
	}
	for range connections { // nobody accepts yet
		dial()
	}
	if err := list[1].Close(); err != nil {
		t.Fatal(err)
	}
	for range connections {
		dial()
	}
	var served [acceptors]int
	var done sync.WaitGroup
	for i, l := range list {
		done.Add(1)
		go echo(l, &served[i], &done)
	}
	for i, c := range clients {
		if err := asks(c); err != nil {
			t.Errorf("connection %d is lost: %v", i, err)
		}
		_ = c.Close()
	}
	for _, l := range list {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	done.Wait()
	counts, err := a.Counts()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("served %v, given %+v", served, counts)
	if served[1] != 0 || served[0]+served[2] != 2*connections || counts[0].Inherited+counts[2].Inherited != connections/acceptors {
		t.Errorf("served %v, given %+v", served, counts)
	}
	if d := served[0] - served[2]; d < -connections/acceptors || d > connections/acceptors {
		t.Errorf("the others have not as much as each other: %v", served)
	}
}
