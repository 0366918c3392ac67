package datapath

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// passing is a node before which the kernel's program is run on each token, as it is in the kernel.
type passing struct {
	t      *testing.T
	kernel kernel
	node   *ringtest.Node
	pass   *bpf.TokenPass
	net    *ringtest.Net
	// compare has the node make each visit itself, too, which has to come to the same.
	compare bool
	visited []byte // what it then sent
	sloppy  int    // per cent of the times that it forgets to say how it stands

	passes, told uint64
	at           time.Duration // of the last pass
	compared     int

	lease time.Duration // until when what it has said counts
	said  *bpf.Order
	since time.Duration // that it hangs: its process was stopped; 0: it does not
	queue [][]byte      // what its sockets have meanwhile
	hung  uint64        // tokens that were passed on while it hung
}

// kernel is which program passes tokens on, and whose.
type kernel struct {
	hook  bpf.Hook
	ipv6  bool
	begun bool // checksums are, and the interface ends them
	nodes int  // that have it
}

func (k kernel) String() string {
	family := "IPv4"
	if k.ipv6 {
		family = "IPv6"
	}
	return fmt.Sprintf("%s, %s", k.hook, family)
}

// kernels are the programs there are.
var kernels = []kernel{
	{hook: bpf.TC}, {hook: bpf.Native}, {hook: bpf.Generic}, {hook: bpf.Native, begun: true},
	{hook: bpf.TC, ipv6: true}, {hook: bpf.Native, ipv6: true}, {hook: bpf.Generic, ipv6: true, begun: true},
}

// nodeAddress is a node's of IPv4.
func nodeAddress(id wire.NodeID) netip.AddrPort { return kernel{}.address(id) }

func (k kernel) address(id wire.NodeID) netip.AddrPort {
	if k.ipv6 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(id)}), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(id)}), port)
}

// newPassing puts the program before a node.
func newPassing(t *testing.T, n *ringtest.Node, k kernel, compare bool, sloppy int) *passing {
	t.Helper()
	p, err := bpf.LoadTokenPass(k.hook, k.address(n.ID()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	x := &passing{t: t, kernel: k, node: n, pass: p, net: n.Net, compare: compare, sloppy: sloppy}
	use := n.Use
	n.Use = func(n *ringtest.Node, r *cpg.Ready) {
		for _, d := range r.Send {
			if h, err := wire.ParseHeader(d.Data); err == nil && h.Type == wire.TypeToken {
				x.visited = bytes.Clone(d.Data)
			}
		}
		use(n, r)
	}
	n.Net.Attach(n.ID(), x)
	return x
}

// in is a ring packet as it comes in.
func (k kernel) in(from, to wire.NodeID, data []byte) []byte {
	r := frame.Route{Source: frame.MAC{2}, From: k.address(from), To: k.address(to), TTL: 1}
	if k.hook != bpf.TC { // which asks whether it is for the interface, here the loopback
		r.Destination = frame.MAC{byte(to)}
	}
	t := frame.NewTemplate(r)
	b := make([]byte, frame.MaxHeaderBytes)
	n := t.Put(b, len(data))
	if !k.begun {
		t.Finish(b[:n], data)
	}
	return append(b[:n], data...)
}

// Receive implements ringtest.Host.
func (x *passing) Receive(now time.Duration, p wire.Packet) {
	h, err := wire.ParseHeader(p.Data)
	if err != nil || h.Type != wire.TypeToken {
		x.reach(now, p)
		return
	}
	if x.compare {
		x.say() // something to send may have come since
	}
	if x.said != nil && now > x.lease {
		// The clock here is not the kernel's, which is told that the time is over.
		x.said.Lease = -time.Second
		x.pass.Arm(x.said, true)
		x.said = nil
	}
	out, sent, ended, err := x.pass.Run(x.kernel.in(h.Node, x.node.ID(), p.Data))
	if err != nil {
		x.t.Fatal(err)
	}
	if sent {
		x.forward(now, out, p)
		return
	}
	if ended && !x.compare {
		return
	}
	x.reach(now, p)
}

// most is how many packets the sockets of a member that hangs keep.
const most = 200

// reach gives a packet to the member.
func (x *passing) reach(now time.Duration, p wire.Packet) {
	if x.since != 0 {
		if len(x.queue) < most {
			x.queue = append(x.queue, bytes.Clone(p.Data))
		}
		return
	}
	x.take()
	x.node.Receive(now, p)
	x.say()
}

// hang stops the member's process, before which the program goes on. Resume undoes it.
func (x *passing) hang(now time.Duration) { x.since = now }

func (x *passing) resume(now time.Duration) {
	x.since = 0
	x.take()
	for _, data := range x.queue {
		b := wire.NewBlock(data)
		x.node.Receive(now, wire.Packet{Data: data, Block: b})
		b.Release()
	}
	x.queue = nil
	x.net.WakeAt(x.node.ID(), x.Wake(now))
}

// forward has the network carry what the program sent.
func (x *passing) forward(now time.Duration, out []byte, p wire.Packet) {
	got, cause := frame.Parse(out, frame.Begun)
	if cause != frame.Taken {
		x.t.Fatalf("what the program sends is refused: %s", cause)
	}
	address := got.To.Addr().AsSlice()
	next := wire.NodeID(address[len(address)-1])
	if got.From != x.kernel.address(x.node.ID()) || out[0] != byte(next) || out[6] != byte(x.node.ID()) {
		x.t.Fatalf("it is from %v to %v, %x", got.From, got.To, out[:12])
	}
	// Only generic XDP leaves a checksum to the interface.
	want := x.kernel
	want.begun = want.begun && want.hook == bpf.Generic
	if sum := len(out) - len(got.Payload) - 2; !bytes.Equal(out[sum:sum+2], want.in(x.node.ID(), next, got.Payload)[sum:sum+2]) {
		x.t.Fatalf("the checksum is %x", out[sum:sum+2])
	}
	x.passes++
	if x.since != 0 {
		x.hung++
		if now > x.since+passLease {
			x.t.Fatalf("node %d hangs for %v, and its token is passed on", x.node.ID(), now-x.since)
		}
	}
	if !x.compare {
		x.at = now
		x.net.Send(x.node.ID(), []wire.Datagram{{To: next, Data: bytes.Clone(got.Payload)}})
		return
	}
	x.visited = nil
	x.node.Receive(now, p)
	x.say()
	var token wire.Token
	if x.visited == nil || token.Decode(x.visited) != nil {
		return // it is not in this ring any more, or keeps the token
	}
	if len(token.Requests()) > 0 {
		return // it asks now, and the program leaves that to a later visit
	}
	x.compared++
	if !bytes.Equal(got.Payload, x.visited) {
		x.t.Fatalf("the program and the machine differ:\n in %x\nout %x\nnot %x", p.Data, got.Payload, x.visited)
	}
}

// Wake implements ringtest.Host.
func (x *passing) Wake(now time.Duration) time.Duration {
	if x.since != 0 {
		return 0
	}
	x.take()
	next := x.node.Wake(now)
	x.say()
	return next
}

// take has the machine hear of what was passed on for it.
func (x *passing) take() {
	if x.compare {
		return
	}
	token, _, passes := x.pass.Last()
	if passes != x.told && len(token) > 0 {
		x.told = passes
		x.node.Machine.Passed(x.at, token)
		x.node.Do()
	}
}

// say tells the program how the node stands.
func (x *passing) say() {
	s, ok := x.node.Machine.Standing()
	if !ok {
		x.pass.Disarm()
		x.said = nil
		return
	}
	if x.net.Rand.IntN(100) < x.sloppy {
		return // a member that is slow is behind with this, too
	}
	before := x.told
	x.said, x.lease = x.order(&s), x.net.Now()+passLease
	x.pass.Arm(x.said, true)
	if _, _, passes := x.pass.Last(); passes < before {
		x.told = passes // of a new ring
	}
}

func (x *passing) order(s *totem.Standing) *bpf.Order {
	return &bpf.Order{
		RingRep: uint32(s.Ring.Rep), RingSeq: s.Ring.Seq, Self: uint32(s.Self), Next: uint32(s.Next),
		Place: s.Place, Members: s.Members, Aru: uint32(s.Aru), Heard: s.Heard, After: uint32(s.TokenSeq),
		To: x.kernel.address(s.Next), MAC: [6]byte{byte(s.Next)}, Own: [6]byte{byte(s.Self)}, Lease: time.Hour,
	}
}

func passPrivileged(t *testing.T) {
	t.Helper()
	if os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip("make test-privileged runs it")
	}
}

// TestPassIsAVisit: what the program makes of a token is what the member itself makes of it, bit by bit,
// in thousands of states that rings have come to under faults.
func TestPassIsAVisit(t *testing.T) {
	passPrivileged(t)
	for _, k := range kernels {
		t.Run(k.String(), func(t *testing.T) {
			compared := 0
			k.nodes = passNodes
			for seed := range uint64(4) {
				for _, x := range newLife(t, seed, k, true, 0).run(passTurns).list() {
					compared += x.compared
				}
			}
			t.Logf("%d visits were alike", compared)
			if compared < 3000 {
				t.Errorf("only %d visits were compared", compared)
			}
		})
	}
}

// TestWrongChecksum: what is damaged on its way is the stack's to refuse, and no new checksum hides it.
func TestWrongChecksum(t *testing.T) {
	passPrivileged(t)
	for _, k := range kernels {
		if k.hook == bpf.TC {
			continue // the kernel changes the checksum there, and what is wrong stays wrong
		}
		t.Run(k.String(), func(t *testing.T) {
			p, err := bpf.LoadTokenPass(k.hook, k.address(2))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			s := totem.Standing{Ring: wire.RingID{Rep: 1, Seq: 4}, Self: 2, Next: 1, Place: 1, Members: 2}
			x := passing{kernel: k}
			for range 2 {
				p.Arm(x.order(&s), true) // the first claims what came before
			}
			visit := func(seq wire.Seq, spoil func([]byte)) bool {
				tok := wire.Token{From: 1, Target: 2, TokenSeq: seq, Ring: s.Ring, Marks: wire.Marks{Keeper: 1, Received: make([]wire.Seq, 2), Heard: make([]uint16, 2)}}
				f := k.in(1, 2, tok.Append(nil))
				spoil(f)
				_, sent, ended, err := p.Run(f)
				if err != nil || ended {
					t.Fatalf("it has ended: %v, %v", ended, err)
				}
				return sent
			}
			if !visit(1, func([]byte) {}) {
				t.Error("a sound token is not passed on")
			}
			for i, spoil := range []func([]byte){
				func(f []byte) { f[len(f)-1] ^= 1 },
				func(f []byte) { f[0] ^= 8 }, // a neighbour's address
				func(f []byte) { clear(f[len(f)-85-8+6 : len(f)-85]) },
			} {
				if k.begun && i == 0 {
					continue // there is nothing yet that tells
				}
				if visit(wire.Seq(2+i), spoil) {
					t.Errorf("token %d is passed on", 2+i)
				}
			}
		})
	}
}
