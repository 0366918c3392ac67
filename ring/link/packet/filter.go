package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The kernel's offsets of what is beside a packet's bytes (SKF_AD_OFF).
const (
	beside     = ^uint32(0x1000) + 1
	packetType = beside + 4
	vlanTag    = beside + 44
	// mostType is the last of the packet types that are for us: to this host, broadcast, multicast.
	mostType = unix.PACKET_MULTICAST
	// vlanID is the part of a tag that names the VLAN. 0 is none: the tag gives a priority only.
	vlanID = 0xfff
)

// filter lets only packets of the ring through: UDP to its port at our address or its group. Of
// fragments the first comes through, and is counted.
func (p *Path) filter() error {
	f := program(p.place.Own, p.place.Group)
	err := unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return nil
}

// assembler writes a filter of which every test that fails goes to the end, to drop.
type assembler struct {
	code []unix.SockFilter
	fail []int // tests that are to jump to the end where they fail
	pass []int // and where they hold
}

func (a *assembler) load(size uint16, mode uint16, k uint32) {
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_LD | size | mode, K: k})
}

func (a *assembler) must(op uint16, k uint32) {
	a.fail = append(a.fail, len(a.code))
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k})
}

func (a *assembler) mustNot(op uint16, k uint32) {
	a.pass = append(a.pass, len(a.code))
	a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k})
}

// address accepts packets whose destination, words at an offset, is one of some addresses.
func (a *assembler) address(at uint32, list []netip.Addr) {
	for _, ip := range list {
		b := ip.AsSlice()
		var tests []int
		for i := 0; i < len(b); i += 4 {
			a.load(unix.BPF_W, unix.BPF_ABS, at+uint32(i))
			tests = append(tests, len(a.code))
			a.code = append(a.code, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(b[i:])})
		}
		a.code = append(a.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)})
		for _, t := range tests {
			a.code[t].Jf = uint8(len(a.code) - t - 1)
		}
	}
}

func program(own, group netip.AddrPort) []unix.SockFilter {
	list := []netip.Addr{own.Addr()}
	if group.IsValid() {
		list = append(list, group.Addr())
	}
	a := &assembler{}
	a.load(unix.BPF_W, unix.BPF_ABS, packetType)
	a.mustNot(unix.BPF_JGT, mostType)
	// A card takes the tag off; what has one is of another network.
	a.load(unix.BPF_W, unix.BPF_ABS, vlanTag)
	a.mustNot(unix.BPF_JSET, vlanID)
	a.load(unix.BPF_H, unix.BPF_ABS, 12)
	if own.Addr().Is4() {
		a.must(unix.BPF_JEQ, unix.ETH_P_IP)
		a.load(unix.BPF_B, unix.BPF_ABS, 23)
		a.must(unix.BPF_JEQ, unix.IPPROTO_UDP)
		a.load(unix.BPF_H, unix.BPF_ABS, 20)
		a.mustNot(unix.BPF_JSET, 0x1fff)
		a.code = append(a.code, unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 14})
		a.load(unix.BPF_H, unix.BPF_IND, 16)
		a.must(unix.BPF_JEQ, uint32(own.Port()))
		a.address(30, list)
	} else {
		a.must(unix.BPF_JEQ, unix.ETH_P_IPV6)
		a.load(unix.BPF_B, unix.BPF_ABS, 20)
		a.must(unix.BPF_JEQ, unix.IPPROTO_UDP)
		a.load(unix.BPF_H, unix.BPF_ABS, 56)
		a.must(unix.BPF_JEQ, uint32(own.Port()))
		a.address(38, list)
	}
	end := len(a.code)
	for _, t := range a.fail {
		a.code[t].Jf = uint8(end - t - 1)
	}
	for _, t := range a.pass {
		a.code[t].Jt = uint8(end - t - 1)
	}
	return append(a.code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
}
