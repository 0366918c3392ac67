package datapath

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/packet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/xdp"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	port     = 5405
	ethernet = 1500
	patience = 20 * time.Second
)

// datapath is one to test.
type datapath struct {
	name string
	open func(link.Place) (link.Path, error)
}

var datapaths = []datapath{
	{"udp", nil},
	{"packet", packet.Open},
	{"xdp", xdp.Opener(steer(bpf.Native))},
	{"xdp generic", xdp.Opener(steer(bpf.Generic))},
}

// steer attaches the program that brings packets to AF_XDP sockets.
func steer(h bpf.Hook) xdp.Attach {
	return func(p link.Place, limits xdp.Limits) (xdp.Program, error) {
		longest := limits.Native
		if h == bpf.Generic {
			longest = limits.Generic
		}
		g, err := bpf.Attach(bpf.Config{Interface: p.Interface, Hook: h, Own: p.Own, Group: p.Group.Addr(), Sealed: p.Sealed, Listed: p.Listed, Longest: longest})
		if err != nil {
			return nil, err
		}
		return g, nil
	}
}

// member is a link on a host, which only a thread of that host touches.
type member struct {
	t    *testing.T
	link link.Link
	jobs chan func()
	said []string
	done sync.WaitGroup
}

// start opens a link on a host.
func start(t *testing.T, h *netlab.Host, d datapath, change ...func(*link.Config)) *member {
	t.Helper()
	m := &member{t: t, jobs: make(chan func())}
	cfg := link.Config{
		Address: netip.MustParseAddr(h.IP), Interface: "eth0", Port: port,
		Group: group, OpenPath: d.open,
		Report: func(trouble bool, text string) { m.said = append(m.said, text) },
	}
	for _, f := range change {
		f(&cfg)
	}
	opened := make(chan error)
	m.done.Add(1)
	go h.Within(func(err error) {
		defer m.done.Done()
		if err == nil {
			m.link, err = link.Open(cfg)
		}
		opened <- err
		for job := range m.jobs {
			job()
		}
		if err == nil {
			_ = m.link.Close()
		}
	})
	err := <-opened
	t.Cleanup(func() { close(m.jobs); m.done.Wait() })
	if err != nil {
		t.Fatal(err)
	}
	if got := m.stats().Datapath; !strings.HasPrefix(d.name, got) {
		t.Fatalf("the datapath is %s: %q", got, m.said)
	}
	return m
}

// do runs something on the link's thread.
func (m *member) do(f func()) {
	done := make(chan struct{})
	m.jobs <- func() { f(); close(done) }
	<-done
}

func (m *member) stats() (s link.Stats) {
	m.do(func() { s = m.link.Stats() })
	return s
}

func (m *member) send(list ...wire.Datagram) {
	m.do(func() { m.link.Send(list) })
}

// receive waits until enough says so of what has come, and returns that.
func (m *member) receive(what string, enough func(got [][]byte) bool) (got [][]byte) {
	m.t.Helper()
	m.do(func() {
		var packets [64]wire.Packet
		for end := time.Now().Add(patience); !enough(got) && time.Now().Before(end); {
			n := m.link.Recv(packets[:])
			for i := range packets[:n] {
				got = append(got, bytes.Clone(packets[i].Data))
				packets[i].Release()
			}
			m.link.Tick()
			if n == 0 {
				m.wait(20)
			}
		}
	})
	if !enough(got) {
		m.t.Fatalf("%s: %d packets have come; %+v; it said %q", what, len(got), m.stats(), m.said)
	}
	return got
}

func (m *member) wait(ms int) {
	var fds []unix.PollFd
	for _, fd := range m.link.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	_, _ = unix.Poll(fds, ms) // an interruption is as good as a packet
}

// exactly is for receive: so many.
func exactly(n int) func([][]byte) bool { return func(got [][]byte) bool { return len(got) >= n } }

// greet has a hear of b, and b of a, so that tokens find their way.
func greet(a, b *member) {
	a.t.Helper()
	for i, x := range []*member{a, b} {
		y := []*member{b, a}[i]
		x.do(func() { x.link.Know(wire.NodeID(i + 1)) })
		x.send(wire.Datagram{Data: join(wire.NodeID(i + 1))})
		y.receive("a join", exactly(1))
	}
}

func mcast(from wire.NodeID, seq wire.Seq, size int) []byte {
	b := make([]byte, wire.McastBytes+size)
	wire.PutMcast(b, from, seq, 0, wire.RingID{Rep: 1, Seq: 5}, false)
	r := rand.New(rand.NewPCG(uint64(seq), 1))
	for i := wire.McastBytes; i < len(b); i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

func join(from wire.NodeID) []byte {
	j := wire.Join{Node: from, From: from, RingSeq: 1, Proc: []wire.NodeID{from}}
	return j.Append(nil)
}

func token(from wire.NodeID, seq uint32) []byte {
	tok := wire.Token{From: from, Seq: wire.Seq(seq), Ring: wire.RingID{Rep: 1, Seq: 5}}
	return tok.Append(nil)
}

// commit is what a link learns from whom the packets of the ring are for.
func commit() []byte {
	c := wire.Commit{From: 1, Ring: wire.RingID{Rep: 1, Seq: 5}, Members: []wire.NodeID{1, 2}, Slots: make([]wire.Slot, 2)}
	return c.Append(nil)
}

// enter has a tell b that both are of one ring. Until it has sent the commit token, a takes b for one that
// is beside the ring, to which some of what is for everyone goes once more.
func enter(a, b *member) {
	a.t.Helper()
	a.send(wire.Datagram{To: 2, Data: commit()})
	b.receive("a commit token", exactly(1))
}

// same compares what came with what was sent.
func same(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets have come of %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d has %d bytes, and %d were sent", i, len(got[i]), len(want[i]))
		}
	}
}

func network(t *testing.T, n, mtu int) *netlab.Network {
	t.Helper()
	if os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip("make test-privileged runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("it makes network namespaces, which takes root")
	}
	w := netlab.New(n, mtu, t.Fatalf)
	t.Cleanup(w.Close)
	return w
}

// on runs a program on a host.
func on(t *testing.T, h *netlab.Host, program string, arguments ...string) {
	t.Helper()
	line := h.Line(program, arguments...)
	if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", line, err, out)
	}
}

// pairs runs a test for each datapath at the sender with each at the receiver.
func pairs(t *testing.T, do func(t *testing.T, w *netlab.Network, from, to datapath)) {
	for _, from := range datapaths {
		for _, to := range datapaths {
			t.Run(fmt.Sprintf("%s to %s", from.name, to.name), func(t *testing.T) {
				do(t, network(t, 2, ethernet), from, to)
			})
		}
	}
}
