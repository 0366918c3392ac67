package datapath

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// tcpEcho has a host connect to another and get back what it sends.
func tcpEcho(t *testing.T, from, to *netlab.Host, ip string) {
	t.Helper()
	address := make(chan string, 1)
	go to.Within(func(err error) {
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		}
		if err != nil {
			t.Error(err)
			close(address)
			return
		}
		defer l.Close()
		address <- l.Addr().String()
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c) // its end is seen at the other side
			_ = c.Close()
		}
	})
	c, err := from.Dial(t.Context(), <-address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := bytes.Repeat([]byte("x"), 1<<20)
	go func() {
		_, _ = c.Write(sent) // what did not go is missed below
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("TCP to %s: what came back is not what was sent: %v", ip, err)
	}
}

// within does something on a host and waits for it.
func within(t *testing.T, h *netlab.Host, do func() error) {
	t.Helper()
	done := make(chan error)
	go h.Within(func(err error) {
		if err == nil {
			err = do()
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// ping sends echo requests to an address and waits for each answer.
func ping(to string) error {
	const request, times = 8, 20
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return err
	}
	at := &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}
	for i := range times {
		// The checksum of a header of type 8, and a number.
		n := byte(i)
		sum := ^(uint16(request)<<8 + uint16(n))
		if err := unix.Sendto(fd, []byte{request, 0, byte(sum >> 8), byte(sum), 0, 0, 0, n}, 0, at); err != nil {
			return err
		}
		b := make([]byte, 128)
		for {
			k, _, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				return fmt.Errorf("ping %d is not answered: %w", i, err)
			}
			if k >= 28 && b[20] == 0 && b[27] == n {
				break
			}
		}
	}
	return nil
}

// datagrams go from a host to another: to ports beside the ring's, and to its group at another port.
func datagrams(t *testing.T, from, to *netlab.Host) {
	t.Helper()
	for _, at := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr(to.IP), port-1), netip.AddrPortFrom(netip.MustParseAddr(to.IP), port+1),
		netip.AddrPortFrom(netip.MustParseAddr(to.IP6), port+1), netip.AddrPortFrom(group, port+1),
	} {
		var c *net.UDPConn
		within(t, to, func() (err error) {
			a := net.UDPAddrFromAddrPort(at)
			if !at.Addr().IsMulticast() {
				c, err = net.ListenUDP("udp", a)
				return err
			}
			i, err := net.InterfaceByName("eth0")
			if err == nil {
				c, err = net.ListenMulticastUDP("udp", i, a)
			}
			return err
		})
		if c == nil {
			t.FailNow()
		}
		within(t, from, func() error {
			s, err := net.ListenUDP("udp", &net.UDPAddr{Port: port + 2})
			if err != nil {
				return err
			}
			defer s.Close()
			if at.Addr().IsMulticast() {
				on(t, from, "ip", "route", "replace", "239.0.0.0/8", "dev", "eth0")
			}
			_, err = s.WriteToUDPAddrPort([]byte("no packet of a ring's, nor for its port"), at)
			return err
		})
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 100)); err != nil {
			t.Errorf("UDP to %v: %v", at, err)
		}
		_ = c.Close()
	}
}

// TestOthersAreLeftAlone: what is not the ring's passes as without, whatever program there is, and none of it is
// counted: TCP, ARP and neighbour discovery, pings, and UDP to ports and groups that are nearly the ring's.
func TestOthersAreLeftAlone(t *testing.T) {
	everything := func(t *testing.T, w *netlab.Network) {
		t.Helper()
		from, to := w.Hosts[0], w.Hosts[1]
		to.ForgetNeighbours()
		from.ForgetNeighbours()
		tcpEcho(t, from, to, to.IP)
		tcpEcho(t, from, to, to.IP6)
		tcpEcho(t, to, from, from.IP)
		within(t, from, func() error { return ping(to.IP) })
		datagrams(t, from, to)
	}
	for _, hook := range hooks {
		t.Run("guard on "+string(hook), func(t *testing.T) {
			w := network(t, 2, ethernet)
			g := attached(t, w.Hosts[1], hook, hook == bpf.TC)
			everything(t, w)
			list, err := g.Counts()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if c.Packets != 0 {
					t.Errorf("%d packets were counted as the ring's: %v", c.Packets, c.Cause)
				}
			}
		})
	}
	for _, d := range datapaths {
		t.Run("datapath "+d.name, func(t *testing.T) {
			w := network(t, 2, ethernet)
			start(t, w.Hosts[1], d)
			everything(t, w)
		})
	}
}
