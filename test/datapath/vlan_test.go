package datapath

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// tag has all IPv4 that a host sends carry a VLAN's tag, as what its interface on that VLAN sends, until
// it is called off. Kernels without VLANs (CONFIG_VLAN_8021Q) can do that, too.
func tag(t *testing.T, h *netlab.Host, tci int32) (off func()) {
	t.Helper()
	const protocol = 16 // its offset in struct __sk_buff
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "tag", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, protocol, asm.Word),
		asm.JNE.Imm(asm.R2, 0x0008, "out"), // IPv4, in network order
		asm.Mov.Imm(asm.R2, 0x0081),        // 802.1Q, likewise
		asm.Mov.Imm(asm.R3, tci),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("out"), // what else is there goes on (TCX_NEXT)
		asm.Return(),
	}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer p.Close() // the link holds it
	var l link.Link
	within(t, h, func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			l, err = link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: p, Attach: ebpf.AttachTCXEgress})
		}
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
	if s := b.stats(); s.Received != 5 || s.Foreign != 0 || s.Path.Malformed != 0 {
		t.Errorf("what is tagged has come: %+v", s)
	}
	if g != nil {
		list, err := g.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			if c.Cause == bpf.Ring && c.Packets == 5 || c.Cause != bpf.Ring && c.Packets == 0 {
				continue
			}
			t.Errorf("the guard has counted %d as %v", c.Packets, c.Cause)
		}
	}
	tag(t, w.Hosts[0], 3<<13)
	mark(3)
}
