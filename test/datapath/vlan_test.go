package datapath

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Of struct __sk_buff the offsets, and what is in it: 802.1Q in network order.
const (
	skbProtocol = 16
	skbTag      = 24
	dot1Q       = 0x0081
	vlanID      = 0xfff
)

// tag has all IPv4 that a host sends carry a VLAN's tag, as what its interface on that VLAN sends, until
// it is called off. Kernels without VLANs (CONFIG_VLAN_8021Q) can do that, too.
func tag(t *testing.T, h *netlab.Host, tci int32) (off func()) {
	t.Helper()
	return program(t, h, "eth0", ebpf.AttachTCXEgress, asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, 0x0008, "out"), // IPv4, in network order
		asm.Mov.Imm(asm.R2, dot1Q),
		asm.Mov.Imm(asm.R3, tci),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("out"), // what else is there goes on (TCX_NEXT)
		asm.Return(),
	})
}

// vlan makes the interface of a VLAN on eth0. Where the kernel has none it is a virtual cable, whose other
// end gives eth0 what comes with a tag, and takes what is tagged for it; vlan is false then.
func vlan(t *testing.T, h *netlab.Host, id int) bool {
	t.Helper()
	name, other := fmt.Sprintf("eth0.%d", id), fmt.Sprintf("inner%d", id)
	line := h.Line("ip", "link", "add", "link", "eth0", "name", name, "type", "vlan", "id", fmt.Sprint(id))
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err == nil {
		return true
	}
	if !strings.Contains(string(out), "Unknown device type") {
		t.Fatalf("%v: %s", err, out)
	}
	on(t, h, "ip", "link", "add", name, "type", "veth", "peer", "name", other)
	on(t, h, "ip", "link", "set", other, "up")
	to := func(name string) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Imm(asm.R1, int32(index(t, h, name))),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(),
			asm.Return(),
		}
	}
	program(t, h, other, ebpf.AttachTCXIngress, append(asm.Instructions{
		asm.Mov.Imm(asm.R2, dot1Q),
		asm.Mov.Imm(asm.R3, int32(id)),
		asm.FnSkbVlanPush.Call(),
	}, to("eth0")...))
	// The ring's programs come before it, and see what they would with a VLAN of the kernel's.
	in := append(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbTag, asm.Word),
		asm.And.Imm(asm.R2, vlanID),
		asm.JNE.Imm(asm.R2, int32(id), "out"),
		asm.FnSkbVlanPop.Call(),
	}, to(other)...)
	program(t, h, "eth0", ebpf.AttachTCXIngress, append(in,
		asm.Mov.Imm(asm.R0, -1).WithSymbol("out"),
		asm.Return(),
	))
	return false
}

// index is that of an interface of a host.
func index(t *testing.T, h *netlab.Host, name string) (n int) {
	t.Helper()
	within(t, h, func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			n = i.Index
		}
		return err
	})
	return n
}

// program attaches one of TC to an interface of a host, for as long as the test runs or until it is taken
// off.
func program(t *testing.T, h *netlab.Host, name string, where ebpf.AttachType, code asm.Instructions) (off func()) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: code})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer p.Close() // the link holds it
	var l link.Link
	at := index(t, h, name)
	within(t, h, func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: at, Program: p, Attach: where})
		return err
	})
	off = sync.OnceFunc(func() { _ = l.Close() }) // its interface may be gone
	t.Cleanup(off)
	return off
}

// TestTagged: what carries the tag of a VLAN is none of a ring's beside it, whichever datapath that
// goes by and whatever guards it; a tag that gives a priority only changes nothing.
func TestTagged(t *testing.T) {
	for _, d := range datapaths {
		for _, hook := range append([]bpf.Hook{""}, hooks...) {
			if strings.HasPrefix(d.name, "xdp") || hook == bpf.Native || hook == bpf.Generic {
				continue // the tag is off, and the broker leaves XDP alone where there are VLANs
			}
			t.Run(fmt.Sprintf("%s behind %s", d.name, hook), func(t *testing.T) { tagged(t, d, hook) })
		}
	}
}

func tagged(t *testing.T, d datapath, hook bpf.Hook) {
	w := network(t, 2, ethernet)
	a, b := start(t, w.Hosts[0], datapaths[0]), start(t, w.Hosts[1], d)
	var g *bpf.Guard
	if hook != "" {
		g = attached(t, w.Hosts[1], hook, d.name == "packet")
	}
	greet(a, b)
	enter(a, b)
	mark := func(seq wire.Seq) {
		t.Helper()
		list := []wire.Datagram{{Data: mcast(1, seq, 100)}, {To: 2, Data: token(1, uint32(seq))}}
		a.send(list...)
		same(t, b.receive(fmt.Sprint("packet ", seq), exactly(2)), [][]byte{list[0].Data, list[1].Data})
	}
	mark(1)
	untag := tag(t, w.Hosts[0], 5)
	list, _ := rotation(100, 60, 1300)
	a.send(list...)
	a.send(wire.Datagram{Data: []byte("no packet of a ring's")}, wire.Datagram{Data: join(7)})
	untag()
	mark(2)
	if s := b.stats(); s.Received != 6 || s.Foreign != 0 || s.Path.Malformed != 0 {
		t.Errorf("what is tagged has come: %+v", s)
	}
	if g != nil {
		list, err := g.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c.Cause == bpf.Ring && c.Packets == 6 || c.Cause != bpf.Ring && c.Packets == 0 {
				continue
			}
			t.Errorf("the guard has counted %d as %v", c.Packets, c.Cause)
		}
	}
	tag(t, w.Hosts[0], 3<<13)
	mark(3)
}

// TestTaggedConnections: a connection to an address on a VLAN does not count on the interface beside it.
func TestTaggedConnections(t *testing.T) {
	const service = 5672
	w := network(t, 2, ethernet)
	var limit *bpf.ConnectionLimit
	at := index(t, w.Hosts[1], "eth0")
	within(t, w.Hosts[1], func() (err error) {
		limit, err = bpf.LimitConnections(bpf.ConnectionConfig{Interfaces: []int{at}, Ports: []uint16{service}, PerSecond: 100, Burst: 16})
		return err
	})
	t.Cleanup(limit.Close)
	try := func() uint64 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if c, err := w.Hosts[0].Dial(ctx, fmt.Sprintf("%s:%d", w.Hosts[1].IP, service)); err == nil {
			_ = c.Close() // nobody listens
		}
		n, err := limit.Counts()
		if err != nil {
			t.Fatal(err)
		}
		return n.Let + n.Refused
	}
	untag := tag(t, w.Hosts[0], 5)
	if n := try(); n != 0 {
		t.Errorf("%d connections with a VLAN's tag were counted", n)
	}
	untag()
	if n := try(); n == 0 {
		t.Error("a connection without one was not counted")
	}
}
