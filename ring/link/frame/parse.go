package frame

import (
	"encoding/binary"
	"net/netip"
)

// Packet is what was in a frame.
type Packet struct {
	From, To netip.AddrPort
	Payload  []byte
}

// Cause is why a frame is none of ours; empty: it is.
type Cause string

// The causes.
const (
	Taken       Cause = ""
	NotUDP      Cause = "it is not UDP over IP over Ethernet"
	Short       Cause = "it is shorter than its headers say"
	Fragment    Cause = "it is a fragment"
	BadChecksum Cause = "a checksum is wrong"
)

// Checksum is what is known of the checksum of UDP before Parse.
type Checksum uint8

// What is known.
const (
	// Unknown: Parse looks.
	Unknown Checksum = iota
	// Checked: the kernel or the card has, or it never left the machine.
	Checked
	// Begun: Parse looks, and it may be the pseudo header's alone, as in packets that another
	// network namespace of the machine left to a card to finish.
	Begun
)

// Parse takes a frame apart. Payload points into it.
func Parse(b []byte, c Checksum) (p Packet, cause Cause) {
	if len(b) < EthernetBytes {
		return p, Short
	}
	var from, to netip.Addr
	var udp []byte
	var pseudo uint64
	switch ip := b[EthernetBytes:]; binary.BigEndian.Uint16(b[12:]) {
	case etherIPv4:
		if udp, cause = ipv4(ip); cause != Taken {
			return p, cause
		}
		from, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		pseudo = sum(protocolUDP, ip[12:20])
	case etherIPv6:
		if len(ip) < ipv6Bytes {
			return p, Short
		}
		if ip[6] != protocolUDP {
			return p, NotUDP
		}
		n := int(binary.BigEndian.Uint16(ip[4:]))
		if n > len(ip)-ipv6Bytes {
			return p, Short
		}
		udp = ip[ipv6Bytes : ipv6Bytes+n]
		from, to = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		pseudo = sum(protocolUDP, ip[8:40])
	default:
		return p, NotUDP
	}
	if len(udp) < udpBytes {
		return p, Short
	}
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpBytes || n > len(udp) {
		return p, Short
	}
	udp = udp[:n]
	if c != Checked && !right(udp, pseudo+uint64(n), c == Begun, to.Is4()) {
		return p, BadChecksum
	}
	p.From = netip.AddrPortFrom(from, binary.BigEndian.Uint16(udp))
	p.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(udp[2:]))
	p.Payload = udp[udpBytes:]
	return p, Taken
}

// ipv4 gives what is behind the header, which it checks.
func ipv4(ip []byte) ([]byte, Cause) {
	if len(ip) < ipv4Bytes {
		return nil, Short
	}
	header := int(ip[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	switch {
	case ip[0]>>4 != 4 || ip[9] != protocolUDP:
		return nil, NotUDP
	case header < ipv4Bytes || header > total || total > len(ip):
		return nil, Short
	case binary.BigEndian.Uint16(ip[6:])&0x3fff != 0: // more to come, or an offset
		return nil, Fragment
	case fold(sum(0, ip[:header])) != 0xffff:
		return nil, BadChecksum
	}
	return ip[header:total], Taken
}

// right tells whether the checksum of a datagram is, whose pseudo header has a sum.
func right(udp []byte, pseudo uint64, begun, optional bool) bool {
	c := binary.BigEndian.Uint16(udp[6:])
	if c == 0 && optional {
		return true // RFC 768: the sender made none
	}
	if begun && c == fold(pseudo) {
		return true
	}
	return fold(sum(pseudo, udp)) == 0xffff
}
