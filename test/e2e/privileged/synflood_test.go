package privileged

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// within does something on a host and waits for it.
func within(t *testing.T, h *harness.Host, do func() error) {
	t.Helper()
	done := make(chan error)
	go h.Within(func(err error) {
		if err == nil {
			err = do()
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// hardware is a host's Ethernet address.
func hardware(t *testing.T, h *harness.Host) (mac net.HardwareAddr, index int) {
	t.Helper()
	within(t, h, func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			mac, index = i.HardwareAddr, i.Index
		}
		return err
	})
	return mac, index
}

// sum is the checksum of IP and TCP.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			s += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// synFrame is a SYN from a port, whole and right, as the kernel itself would send it.
func synFrame(from, to net.HardwareAddr, source, target netip.AddrPort) []byte {
	b := append(append([]byte(nil), to...), from...)
	b = append(b, 8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0)
	b = append(append(b, source.Addr().AsSlice()...), target.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[24:], sum(b[14:34]))
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp[0:], source.Port())
	binary.BigEndian.PutUint16(tcp[2:], target.Port())
	tcp[12], tcp[13], tcp[14] = 5<<4, 2, 0xff
	binary.BigEndian.PutUint16(tcp[16:], sum(b[26:34], []byte{0, unix.IPPROTO_TCP, 0, 20}, tcp))
	return append(b, tcp...)
}

// synFlood has a host send SYNs as fast as one processor can, until ctx ends.
func synFlood(ctx context.Context, t *testing.T, from, to *harness.Host, port int) (sent uint64) {
	t.Helper()
	own, index := hardware(t, from)
	mac, _ := hardware(t, to)
	source, target := netip.MustParseAddr(from.IP), netip.AddrPortFrom(netip.MustParseAddr(to.IP), uint16(port))
	var frames [1000][]byte
	for i := range frames {
		frames[i] = synFrame(own, mac, netip.AddrPortFrom(source, uint16(20000+i)), target)
	}
	within(t, from, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at := &unix.SockaddrLinklayer{Ifindex: index}
		for ; ctx.Err() == nil; sent++ {
			if err := unix.Sendto(fd, frames[sent%uint64(len(frames))], 0, at); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return err
			}
		}
		return nil
	})
	return sent
}

// connectFlood has a host connect again and again, from several threads, each time for some milliseconds.
func connectFlood(ctx context.Context, from *harness.Host, address string) (connected int) {
	const clients = 8
	var mu sync.Mutex
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				try, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				c, err := from.Dial(try, address)
				cancel()
				if err == nil {
					_ = c.Close()
					mu.Lock()
					connected++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return connected
}

// TestConnectionFlood: SYNs made by hand and connections, as many as a host can make, cost the processor time
// of a broker's process nothing behind --connection-rate: what it takes is what one takes that nobody
// floods. What the same flood of connections costs without the limit is measured beside it. Another
// host's clients come in meanwhile.
func TestConnectionFlood(t *testing.T) {
	const length, rate = 2 * time.Second, 5
	w := harness.NewNetwork(t, 4, ethernet)
	c := harness.StartMixed(t, w, nil, []string{"--connection-rate=" + strconv.Itoa(rate)}, nil, nil, nil)
	address := func(i int) string { return net.JoinHostPort(w.Hosts[i].IP, strconv.Itoa(c.Brokers[i].Port)) }
	used := func(flood func(ctx context.Context)) (list [3]time.Duration) {
		for i := range list {
			list[i] = peers.CPU(c.Brokers[i].Pid)
		}
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		flood(ctx)
		for i := range list {
			list[i] = peers.CPU(c.Brokers[i].Pid) - list[i]
		}
		return list
	}
	var sent uint64
	syns := used(func(ctx context.Context) {
		other := make(chan error)
		go func() {
			conn, err := w.Hosts[2].Dial(ctx, address(0))
			if err == nil {
				_ = conn.Close()
			}
			other <- err
		}()
		sent = synFlood(ctx, t, w.Hosts[3], w.Hosts[0], c.Brokers[0].Port)
		if err := <-other; err != nil {
			t.Errorf("another host cannot connect meanwhile: %v", err)
		}
	})
	t.Logf("%d SYNs in %v: CPU of the broker they went to %v, of another %v", sent, length, syns[0], syns[2])
	var let, unlimited int
	limited := used(func(ctx context.Context) { let = connectFlood(ctx, w.Hosts[3], address(0)) })
	open := used(func(ctx context.Context) { unlimited = connectFlood(ctx, w.Hosts[3], address(1)) })
	t.Logf("connections: %d with the limit, CPU %v, of another broker %v; %d without, CPU %v, of another %v", let, limited[0], limited[2], unlimited, open[1], open[2])
	if sent < 20000 {
		t.Errorf("only %d SYNs were sent", sent)
	}
	if n, most := countedRefused(t, w.Hosts[2], address(0)), sent; n < most*9/10 {
		t.Errorf("of %d SYNs %d were refused", sent, n)
	}
	// A processor's interrupts are charged to whom they interrupt, and a ring's visits vary.
	const slack = length / 20
	if more := syns[0] - syns[2]; more > slack {
		t.Errorf("the SYNs cost the broker %v", more)
	}
	if let > 2*(16+rate*int(length/time.Second+1)) {
		t.Errorf("%d connections were let in", let)
	}
	if more, cost := limited[0]-limited[2], open[1]-open[2]; more > slack || cost < 2*max(more, 0) {
		t.Errorf("connections beyond the limit cost the broker %v, and %v without it", more, cost)
	}
}

// countedRefused is how many connections a broker says that the kernel refused.
func countedRefused(t *testing.T, from *harness.Host, address string) (n uint64) {
	t.Helper()
	line := from.Line(harness.Program(t, "qpid-cluster"), "ring", address)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("qpid-cluster ring: %v: %s", err, out)
	}
	_, after, _ := strings.Cut(string(out), "refused ")
	if _, err := fmt.Sscan(strings.SplitN(after, ",", 2)[0], &n); err != nil {
		t.Errorf("qpid-cluster ring: %s", out)
	}
	return n
}
