package privileged

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// replay has a host send every multicast to a port again, some times, as it came or went, until ctx
// ends; and those that came first again and again, which are of rings gone by later. It tells how many
// it has sent.
func replay(ctx context.Context, t *testing.T, h *harness.Host, port int) *atomic.Uint64 {
	t.Helper()
	const times, kept, room = 2, 64, 2048
	sent, ready := new(atomic.Uint64), make(chan error, 1)
	go h.Within(func(err error) {
		fd := -1
		var i *net.Interface
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.ETH_P_ALL<<8)
		}
		if err == nil {
			defer unix.Close(fd)
			i, err = net.InterfaceByName("eth0")
		}
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000})
		}
		ready <- err
		if err != nil {
			return
		}
		frame := make([]byte, room)
		var first [][]byte
		at := &unix.SockaddrLinklayer{Ifindex: i.Index}
		for ctx.Err() == nil {
			n, from, err := unix.Recvfrom(fd, frame, unix.MSG_TRUNC)
			l, _ := from.(*unix.SockaddrLinklayer)
			// Of its own only what is sent the first time has the interface's address.
			if err != nil || l == nil || n > len(frame) || n < 46 || frame[0]&1 == 0 || frame[23] != unix.IPPROTO_UDP ||
				int(binary.BigEndian.Uint16(frame[36:])) != port || frame[11] == i.HardwareAddr[5]^0xff {
				continue
			}
			copy(frame[6:12], i.HardwareAddr)
			frame[11] ^= 0xff
			for range times {
				if unix.Sendto(fd, frame[:n], 0, at) == nil {
					sent.Add(1)
				}
			}
			if len(first) < kept {
				first = append(first, append([]byte(nil), frame[:n]...))
			}
			if unix.Sendto(fd, first[int(sent.Load())%len(first)], 0, at) == nil {
				sent.Add(1)
			}
		}
	})
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return sent
}

// TestGuardedRing: all that is multicast comes some times more, and old packets for ever. The guard drops
// what the members have, the cluster works on, and rings that were parted find each other.
func TestGuardedRing(t *testing.T) {
	for _, guard := range []string{"tc", "xdp"} {
		t.Run(guard, func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			own := []string{"--ring-datapath=udp", "--ring-guard=" + guard}
			c := harness.StartMixed(t, w, []string{"--token=" + token.String()}, own, own, own)
			sent := replay(t.Context(), t, w.Hosts[1], c.RingPort)
			s := load.NewStage(t, c)
			everywhere(s, 2)
			s.Await(t, "load while all is repeated", 2000, 2000, 0)
			for i := range c.Brokers {
				if strings.Contains(c.LogText(i), "member left") {
					t.Errorf("broker %d saw a member leave", i)
				}
			}
			w.Hosts[2].Isolate()
			c.AwaitLog(2, 1, "no quorum")
			s.Await(t, "load without a member", 500, 500, 0)
			w.Hosts[2].Rejoin()
			c.AwaitLog(2, 2, "joined cluster "+c.Name)
			s.Await(t, "load with all", 1000, 1000, 0)
			s.Settle(t)
			if sent.Load() < 100 { // aggregates, as most are under load, are not
				t.Errorf("only %d packets were repeated", sent.Load())
			}
			harness.Eventually(t, load.Patience, "the guard's counts", func() error {
				line := w.Hosts[0].Line(harness.Program(t, "qpid-cluster"), "ring", net.JoinHostPort(w.Hosts[0].IP, strconv.Itoa(c.Brokers[0].Port)))
				out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				t.Logf("%d packets were repeated: %s", sent.Load(), out)
				if !strings.Contains(string(out), "held already ") || !strings.Contains(string(out), "other ring ") {
					return errors.New(string(out))
				}
				return nil
			})
		})
	}
}
