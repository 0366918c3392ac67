package link

import "golang.org/x/sys/unix"

// probe finds out once what the kernel offers.
func (u *UDP) probe() {
	u.tx.probe(u.cfg.NoSegmentation)
	if u.mcast >= 0 {
		u.rx.probe(u.cfg.NoCoalescing)
	} else {
		u.rxToken.probe(u.cfg.NoCoalescing)
	}
}

func (s *sender) probe(off bool) {
	switch {
	case off:
		s.stats.Segmentation = "sendmmsg (UDP_SEGMENT is turned off)"
	case unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) != nil:
		s.stats.Segmentation = "sendmmsg (UDP_SEGMENT needs Linux 4.18)"
	default:
		s.segment = true
		s.stats.Segmentation = "UDP_SEGMENT"
	}
}

func (r *receiver) probe(off bool) {
	switch {
	case off:
		r.stats.Coalescing = "recvmmsg (UDP_GRO is turned off)"
	case unix.SetsockoptInt(r.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) != nil:
		r.stats.Coalescing = "recvmmsg (UDP_GRO needs Linux 5.0)"
	default:
		r.stats.Coalescing = "UDP_GRO"
	}
}

// netOffset makes a load relative to the IP header; a socket filter of UDP starts at the UDP
// header.
const netOffset = ^uint32(0x100000) + 1

// filterOwn has the kernel drop what comes from our own token socket before it costs a
// wake-up.
func (u *UDP) filterOwn(fd int) {
	if err := attachFilter(fd, u.ownFilter()); err != nil {
		u.stats.Filter = "user space (SO_ATTACH_FILTER: " + err.Error() + ")"
		return
	}
	u.stats.Filter = "SO_ATTACH_FILTER"
}

// ownFilter is the whole of a filter that drops what comes from our own token socket, and broadcasts of
// other interfaces.
func (u *UDP) ownFilter() []unix.SockFilter {
	var source []uint32 // the words of our address, at consecutive offsets of the IP header
	first := uint32(12)
	end := 8
	start := 4
	if u.own.family() == unix.AF_INET6 {
		first, start, end = 8, 8, 24
	}
	for i := start; i < end; i += 4 {
		b := u.own.raw[i:]
		source = append(source, uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
	}
	n := len(source)
	// A jump skips over what is left of the pairs and the drop, to the accept.
	var prog []unix.SockFilter
	if u.cfg.Broadcast {
		prog = []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ifindexOf},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(u.ifindex), Jt: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		}
	}
	prog = append(prog,
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 0},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(u.own.port()), Jf: uint8(2*n + 1)})
	for i, word := range source {
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: netOffset + first + uint32(4*i)},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: word, Jf: uint8(2*(n-i-1) + 1)})
	}
	return append(prog,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)})
}
