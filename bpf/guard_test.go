package bpf

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// privileged skips where programs cannot be loaded. Where they could, in continuous integration, that
// is an error.
func privileged(t testing.TB) {
	t.Helper()
	err := features.HaveProgramType(ebpf.XDP)
	switch {
	case err == nil:
	case os.Getenv("QPIDD_CI") != "" && os.Geteuid() == 0 && !errors.Is(err, ebpf.ErrNotSupported):
		t.Fatalf("XDP programs cannot be loaded: %v", err)
	default:
		t.Skipf("XDP programs cannot be loaded: %v", err)
	}
}

const (
	xdpDrop, xdpPass = 1, 2
	tcxNext, tcxDrop = 0xffffffff, 2
)

var (
	own4   = netip.MustParseAddrPort("10.0.0.1:5405")
	group4 = netip.MustParseAddr("239.192.1.2")
	own6   = netip.MustParseAddrPort("[fd00::1]:5405")
	group6 = netip.MustParseAddr("ff15::12")
	peer4  = netip.MustParseAddrPort("10.0.0.2:5405")
	peer6  = netip.MustParseAddrPort("[fd00::2]:5404")
)

// datagram is a frame with a UDP datagram of which the checksum is none of the programs' business.
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, 12)
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	if from.Addr().Is4() {
		b = append(b, 0x08, 0, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(udp)))
		b = append(b, 0, 0, 0, 0, 1, 17, 0, 0)
	} else {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(udp)))
		b = append(b, 17, 1)
	}
	b = append(b, from.Addr().AsSlice()...)
	return append(append(b, to.Addr().AsSlice()...), udp...)
}

// ringPacket is one of a type, of so many bytes.
func ringPacket(kind byte, bytes int) []byte {
	return append([]byte{0x70, 0xc0, 3, kind, 0, 2, 0, 0, 0, 0, 0, 0, 0}, make([]byte, bytes-13)...)
}

// rig is the program on both hooks, not attached.
type rig struct {
	t      testing.TB
	guards []*Guard
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	privileged(t)
	r := &rig{t: t}
	for _, h := range []Hook{Native, TC} {
		cfg.Hook = h
		g, err := load(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		r.guards = append(r.guards, g)
	}
	return r
}

// expect runs the programs on a frame. It is dropped or not, and counted for a cause, or for none.
func (r *rig) expect(what string, frame []byte, want Cause, dropped bool) {
	r.t.Helper()
	for _, g := range r.guards {
		before := r.counts(g)
		got, err := g.program.Run(&ebpf.RunOptions{Data: frame})
		if err != nil {
			r.t.Fatalf("%s, %s: %v", what, g.hook, err)
		}
		answer := map[bool]uint32{false: xdpPass, true: xdpDrop}
		if g.hook == TC {
			answer = map[bool]uint32{false: tcxNext, true: tcxDrop}
		}
		if got != answer[dropped] {
			r.t.Errorf("%s, %s: the answer is %d", what, g.hook, int32(got))
		}
		for i, after := range r.counts(g) {
			n := uint64(0)
			if Cause(i) == want && want != none {
				n = 1
			}
			if after-before[i] != n {
				r.t.Errorf("%s, %s: counted as %v", what, g.hook, Cause(i))
			}
		}
	}
}

func (r *rig) counts(g *Guard) (n [causes]uint64) {
	list, err := g.Counts()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range list {
		n[c.Cause] = c.Packets
	}
	return n
}

const none = Cause(0)

func TestWhatIsDropped(t *testing.T) {
	for _, x := range []struct {
		own, peer netip.AddrPort
		group     netip.Addr
	}{{own4, peer4, group4}, {own6, peer6, group6}} {
		r := newRig(t, Config{Drop: true, Own: x.own, Group: x.group})
		group := netip.AddrPortFrom(x.group, x.own.Port())
		token := ringPacket(0, 57)
		r.expect("a token", datagram(x.peer, x.own, token), Ring, false)
		r.expect("a multicast", datagram(x.peer, group, ringPacket(1, 1400)), Ring, false)
		r.expect("of ourselves", datagram(x.own, group, ringPacket(1, 1400)), Own, false)
		r.expect("another port", datagram(x.peer, netip.AddrPortFrom(x.own.Addr(), 22), []byte("ssh")), none, false)
		r.expect("another address", datagram(x.peer, netip.AddrPortFrom(x.peer.Addr(), 5405), token), none, false)
		r.expect("nothing", datagram(x.peer, x.own, nil), WrongLength, true)
		r.expect("too short", datagram(x.peer, x.own, token[:56]), WrongLength, true)
		for kind, least := range []int{57, 45, 29, 33, 41, 25} {
			r.expect("the least of each type", datagram(x.peer, x.own, ringPacket(byte(kind), least)), Ring, false)
			r.expect("less of each type", datagram(x.peer, x.own, ringPacket(byte(kind), least-1)), WrongLength, true)
		}
		r.expect("type 6", datagram(x.peer, x.own, ringPacket(6, 100)), WrongType, true)
		bad := ringPacket(0, 57)
		bad[2] = 2
		r.expect("version 2", datagram(x.peer, x.own, bad), WrongVersion, true)
		bad = ringPacket(0, 57)
		bad[0], bad[1] = 0xc0, 0x70
		r.expect("a big endian sender", datagram(x.peer, x.own, bad), Ring, false)
		bad[0] = 0xc1
		r.expect("another magic", datagram(x.peer, x.own, bad), WrongMagic, true)
		longer := datagram(x.peer, x.own, token)
		at := len(longer) - 57 - 4
		binary.BigEndian.PutUint16(longer[at:], 8+58)
		r.expect("longer than it is", longer, WrongLength, true)
	}
}

func TestFragmentsAndOptions(t *testing.T) {
	r := newRig(t, Config{Drop: true, Own: own4, Group: group4})
	b := datagram(peer4, own4, ringPacket(0, 57))
	b[20] = 0x20 // more to come
	r.expect("the first fragment", b, Fragment, false)
	b[20], b[21] = 0, 185
	r.expect("a later fragment", b, Fragment, false)
	// With options the header is longer.
	b = datagram(peer4, own4, ringPacket(0, 57))
	b[14] = 0x47
	b = append(b[:34:34], append(make([]byte, 8), b[34:]...)...)
	binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+8)
	r.expect("with options", b, Ring, false)
	b[14] = 0x42
	r.expect("a header of 8 bytes", b, none, false)
}

// TestOnlySteering: what is wrong is counted, and left to the stack.
func TestOnlySteering(t *testing.T) {
	r := newRig(t, Config{Own: own4, Group: group4})
	r.expect("a token", datagram(peer4, own4, ringPacket(0, 57)), Ring, false)
	r.expect("too short", datagram(peer4, own4, ringPacket(0, 57)[:56]), WrongLength, false)
}

func TestSealed(t *testing.T) {
	r := newRig(t, Config{Drop: true, Own: own4, Group: group4, Sealed: true})
	packet := append([]byte("QPS1"), make([]byte, 20+13+16)...)
	r.expect("sealed", datagram(peer4, own4, packet), Ring, false)
	r.expect("too short", datagram(peer4, own4, packet[:len(packet)-1]), WrongLength, true)
	r.expect("not sealed", datagram(peer4, own4, ringPacket(0, 57)), WrongMagic, true)
}

func TestListed(t *testing.T) {
	for _, x := range [][3]netip.AddrPort{{own4, peer4, netip.MustParseAddrPort("10.0.0.3:5405")}, {own6, peer6, netip.MustParseAddrPort("[fd00::3]:5405")}} {
		r := newRig(t, Config{Drop: true, Own: x[0], Listed: []netip.Addr{x[1].Addr()}})
		r.expect("listed", datagram(x[1], x[0], ringPacket(0, 57)), Ring, false)
		r.expect("not listed", datagram(x[2], x[0], ringPacket(0, 57)), Unlisted, true)
		for _, g := range r.guards {
			list, err := g.Counts()
			if err != nil || list[Unlisted-Ring].Last != x[2].Addr() {
				t.Errorf("%s: the last of the unlisted is %v, %v", g.hook, list[Unlisted-Ring], err)
			}
		}
	}
}

// TestTaken: what AF_PACKET has had ends at TC; on XDP, before it, nothing changes.
func TestTaken(t *testing.T) {
	r := newRig(t, Config{Drop: true, Own: own4, Group: group4, Taken: true})
	xdp, tc := r.guards[:1], r.guards[1:]
	packet := datagram(peer4, own4, ringPacket(0, 57))
	r.guards = xdp
	r.expect("XDP", packet, Ring, false)
	r.guards = tc
	r.expect("TC", packet, Ring, true)
	packet[20] = 0x20
	r.expect("a fragment", packet, Fragment, false)
}

// TestBothAlike: whatever comes, the program on XDP says the same as that on TC.
func TestBothAlike(t *testing.T) {
	r := newRig(t, Config{Drop: true, Own: own4, Group: group4})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20000 {
		b := datagram(peer4, own4, ringPacket(byte(random.IntN(7)), 13+random.IntN(80)))
		for range random.IntN(4) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		b = b[:max(14+20, len(b)-random.IntN(3)*random.IntN(60))]
		var got [2]uint32
		for i, g := range r.guards {
			var err error
			if got[i], err = g.program.Run(&ebpf.RunOptions{Data: b}); err != nil {
				t.Fatal(err)
			}
		}
		if (got[0] == xdpDrop) != (got[1] == tcxDrop) {
			t.Fatalf("%x: %d and %d", b, got[0], int32(got[1]))
		}
	}
	x, y := r.counts(r.guards[0]), r.counts(r.guards[1])
	if x != y {
		t.Errorf("counted are %v and %v", x, y)
	}
}

func BenchmarkGuard(b *testing.B) {
	r := newRig(b, Config{Drop: true, Own: own4, Group: group4})
	for name, packet := range map[string][]byte{
		"ring": datagram(peer4, own4, ringPacket(1, 1400)), "foreign": datagram(peer4, own4, make([]byte, 1400)),
		"other": datagram(peer4, netip.AddrPortFrom(own4.Addr(), 22), make([]byte, 1400)),
	} {
		for _, g := range r.guards {
			b.Run(name+"/"+string(g.hook), func(b *testing.B) {
				// The kernel's limit of one call is a second's worth.
				for left := b.N; left > 0; left -= 1 << 20 {
					if _, err := g.program.Run(&ebpf.RunOptions{Data: packet, Repeat: uint32(min(left, 1<<20))}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestComplaint: of a program that the verifier refuses all that it said is told, however long it is, and so
// is why a kernel takes no program at all.
func TestComplaint(t *testing.T) {
	privileged(t)
	const long = 500
	bad := asm.Instructions{}
	for range long { // each of which the verifier writes a line about
		bad = append(bad, asm.LoadMem(asm.R0, asm.R1, 0, asm.Word))
	}
	bad = append(bad, asm.Mov.Reg(asm.R0, asm.R7), asm.Return()) // of a register that holds nothing
	_, err := ebpf.NewCollection(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"bad": {Name: "bad", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: bad}}})
	if err == nil {
		t.Fatal("the verifier takes it")
	}
	said := refused(TC, err).Error()
	if !strings.Contains(said, "TC") || !strings.Contains(said, "please report it") || strings.Count(said, "\n") < long || !strings.Contains(said, "R7 !read_ok") {
		t.Errorf("%d lines: %s", strings.Count(said, "\n"), said)
	}
	if said := refused(Native, unix.EPERM).Error(); !strings.Contains(said, "CAP_BPF") || !strings.Contains(said, "locked down") {
		t.Error(said)
	}
	if said := refused(Native, unix.ENOSYS).Error(); !strings.Contains(said, "has no programs") {
		t.Error(said)
	}
}
