package frame

import (
	"encoding/binary"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Lengths of headers.
const (
	EthernetBytes = 14
	ipv4Bytes     = 20
	ipv6Bytes     = 40
	udpBytes      = 8
	// MaxHeaderBytes is the longest header that Put writes.
	MaxHeaderBytes = EthernetBytes + ipv6Bytes + udpBytes
)

const (
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	protocolUDP = 17
)

// GroupMAC is the Ethernet address of an IP group (RFC 1112, section 6.4; RFC 2464, section 7), or
// of the broadcast.
func GroupMAC(group netip.Addr) MAC {
	group = group.Unmap()
	if group == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	if group.Is4() {
		b := group.As4()
		return MAC{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	b := group.As16()
	return MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// Route is whence and whither the packets of a template go.
type Route struct {
	Source, Destination MAC
	From, To            netip.AddrPort // of one family
	TTL                 uint8
}

// Template makes the headers of packets that take the same way.
type Template struct {
	header [MaxHeaderBytes]byte
	length int
	ip     int    // where the IP header begins
	udp    int    // and UDP's
	sum    uint64 // of what of the pseudo header is the same for all
	ipSum  uint64 // likewise of the header of IPv4
	id     uint16
}

// NewTemplate makes a template.
func NewTemplate(r Route) *Template {
	t := &Template{ip: EthernetBytes}
	h := t.header[:]
	copy(h[0:], r.Destination[:])
	copy(h[6:], r.Source[:])
	from, to := r.From.Addr().Unmap(), r.To.Addr().Unmap()
	if from.Is4() {
		binary.BigEndian.PutUint16(h[12:], etherIPv4)
		ip := h[t.ip:]
		ip[0], ip[8], ip[9] = 0x45, r.TTL, protocolUDP
		a, b := from.As4(), to.As4()
		copy(ip[12:], a[:])
		copy(ip[16:], b[:])
		t.udp = t.ip + ipv4Bytes
		t.ipSum = sum(0, ip[:ipv4Bytes])
		t.sum = sum(protocolUDP, ip[12:20])
	} else {
		binary.BigEndian.PutUint16(h[12:], etherIPv6)
		ip := h[t.ip:]
		ip[0], ip[6], ip[7] = 0x60, protocolUDP, r.TTL
		a, b := from.As16(), to.As16()
		copy(ip[8:], a[:])
		copy(ip[24:], b[:])
		t.udp = t.ip + ipv6Bytes
		t.sum = sum(protocolUDP, ip[8:40])
	}
	binary.BigEndian.PutUint16(h[t.udp:], r.From.Port())
	binary.BigEndian.PutUint16(h[t.udp+2:], r.To.Port())
	t.length = t.udp + udpBytes
	return t
}

// Length is how long a header is.
func (t *Template) Length() int { return t.length }

// UDP is where in a header that of UDP begins, whose checksum is at 6 from there.
func (t *Template) UDP() int { return t.udp }

// Put writes the header of a packet with so many bytes of payload into b, which has room for
// MaxHeaderBytes, and returns its length. The field of the checksum has the sum of the pseudo
// header, which is what the kernel and network cards want that are to finish it.
func (t *Template) Put(b []byte, payload int) int {
	copy(b[:t.length], t.header[:t.length])
	datagram := udpBytes + payload
	if t.udp == EthernetBytes+ipv4Bytes {
		ip := b[t.ip:]
		t.id++
		total := ipv4Bytes + datagram
		binary.BigEndian.PutUint16(ip[2:], uint16(total))
		binary.BigEndian.PutUint16(ip[4:], t.id)
		binary.BigEndian.PutUint16(ip[10:], ^fold(t.ipSum+uint64(total)+uint64(t.id)))
	} else {
		binary.BigEndian.PutUint16(b[t.ip+4:], uint16(datagram))
	}
	udp := b[t.udp:]
	binary.BigEndian.PutUint16(udp[4:], uint16(datagram))
	binary.BigEndian.PutUint16(udp[6:], fold(t.sum+uint64(datagram)))
	return t.length
}

// Finish finishes the checksum of a packet whose header, as Put wrote it, and payload are given.
func (t *Template) Finish(header, payload []byte) {
	udp := header[t.udp:t.length]
	c := ^fold(sum(sum(0, udp), payload))
	if c == 0 {
		c = 0xffff // 0 stands for none (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], c)
}
