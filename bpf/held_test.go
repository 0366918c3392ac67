package bpf

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// mcastPacket is one of a ring, with a place; big, as a big endian member sends it.
func mcastPacket(big bool, encapsulated byte, rep uint32, ring uint64, place uint32) []byte {
	b := ringPacket(1, 100)
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
		b[0], b[1] = 0xc0, 0x70
	}
	b[4] = encapsulated
	order.PutUint32(b[17:], place)
	order.PutUint32(b[25:], rep)
	order.PutUint64(b[29:], ring)
	return b
}

func (r *rig) hold(rep uint32, ring uint64, aru uint32) {
	for _, g := range r.guards {
		g.Hold(rep, ring, aru)
	}
}

// TestDuplicates: dropped is what the member has, of the ring that it is in, and nothing else.
func TestDuplicates(t *testing.T) {
	const plain, wrapped = 2, 1
	for _, x := range []struct {
		own, peer netip.AddrPort
		group     netip.Addr
	}{{own4, peer4, group4}, {own6, peer6, group6}} {
		r := newRig(t, Config{Drop: true, Own: x.own, Group: x.group})
		at := netip.AddrPortFrom(x.group, x.own.Port())
		for _, big := range []bool{false, true} {
			packet := func(encapsulated byte, place uint32) []byte {
				return datagram(x.peer, at, mcastPacket(big, encapsulated, 7, 1<<40+9, place))
			}
			for _, g := range r.guards {
				g.Release()
			}
			r.expect("before anything is said", packet(plain, 1), Ring, false)
			r.hold(7, 1<<40+9, 100)
			r.expect("the last that it has", packet(plain, 100), Duplicate, true)
			r.expect("the first", packet(plain, 1), Duplicate, true)
			r.expect("the next", packet(plain, 101), Ring, false)
			r.expect("wrapped for recovery", packet(wrapped, 1), Ring, false)
			r.expect("a token", datagram(x.peer, x.own, ringPacket(0, 57)), Ring, false)
			r.hold(7, 1<<40+9, 101)
			r.expect("the next, when it has come", packet(plain, 101), Duplicate, true)
			r.hold(7, 1<<40+9, 3)
			r.expect("before places wrapped", packet(plain, ^uint32(0)-5), Duplicate, true)
			r.expect("far ahead", packet(plain, 1<<31+2), Ring, false)
			// The next ring begins again, and so do those of which nobody remembers the first.
			for ring := range uint64(9) {
				r.hold(7, ring, 5)
				r.expect("of the new ring", datagram(x.peer, at, mcastPacket(big, plain, 7, ring, 6)), Ring, false)
				r.expect("of the new ring, again", datagram(x.peer, at, mcastPacket(big, plain, 7, ring, 5)), Duplicate, true)
			}
		}
	}
}

// TestOtherRings: some of another ring's packets go on, for each source, and joins always do.
func TestOtherRings(t *testing.T) {
	r := newRig(t, Config{Drop: true, Own: own4, Group: group4})
	r.hold(7, 9, 100)
	group := netip.AddrPortFrom(group4, 5405)
	third := netip.MustParseAddrPort("10.0.0.3:5405")
	merge := ringPacket(2, 29)
	binary.LittleEndian.PutUint32(merge[17:], 7)
	binary.LittleEndian.PutUint64(merge[21:], 9)
	r.expect("a merge detect of this ring", datagram(peer4, group, merge), Ring, false)
	merge[21]++
	for name, packet := range map[string][]byte{"mcast": mcastPacket(false, 2, 7, 10, 1), "merge detect": merge, "of another representative": mcastPacket(false, 2, 8, 9, 1)} {
		for _, g := range r.guards {
			before := r.counts(g)
			for range 1000 {
				if _, err := g.program.Run(&ebpf.RunOptions{Data: datagram(peer4, group, packet)}); err != nil {
					t.Fatal(err)
				}
			}
			after := r.counts(g)
			let, dropped := after[OtherRing]-before[OtherRing], after[OtherRings]-before[OtherRings]
			if let+dropped != 1000 || dropped == 0 {
				t.Errorf("%s, %s: %d let through, %d dropped", name, g.hook, let, dropped)
			}
		}
	}
	r.expect("of somebody else", datagram(third, group, merge), OtherRing, false)
	r.expect("a join", datagram(peer4, group, ringPacket(3, 33)), Ring, false)
	r.expect("a hold cancel", datagram(peer4, group, ringPacket(5, 25)), Ring, false)
	for _, g := range r.guards {
		g.Release()
	}
	r.expect("while the member forms a ring", datagram(peer4, group, mcastPacket(false, 2, 7, 10, 1)), Ring, false)
}

// TestNotJudged: without a guard, or where packets cannot be looked into, nothing is dropped for it.
func TestNotJudged(t *testing.T) {
	packet := datagram(peer4, own4, mcastPacket(false, 2, 7, 9, 1))
	r := newRig(t, Config{Own: own4, Group: group4})
	r.hold(7, 9, 100)
	r.expect("only steering", packet, Ring, false)
	generic, err := load(Config{Drop: true, Own: own4, Group: group4, Hook: Generic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(generic.Close)
	r.guards = []*Guard{generic}
	r.hold(7, 9, 100)
	r.expect("generic XDP, where it may be an aggregate", packet, Ring, false)
}
