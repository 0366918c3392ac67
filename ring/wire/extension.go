package wire

import "encoding/binary"

// What follows the protocol's own fields (section 13.1): members that understand each other
// say more than corosync knows of. Corosync reads a packet as far as its fields go, and passes
// a commit token on without what follows; so members see by what arrives whether all of them
// have announced themselves.

// Features are what a member understands beyond the protocol, a bit each.
type Features uint32

// FeatureMarks: the token has Marks.
const FeatureMarks Features = 1

// Announcement is one member's features, on a commit token.
type Announcement struct {
	Node     NodeID
	Features Features
}

// Marks is what the token carries where all members have announced it.
type Marks struct {
	// Keeper is who multicast last: it keeps the token when the ring falls idle.
	Keeper NodeID
	// Quiet counts the keeper's visits at which nobody had multicast, asked or repeated
	// anything, and everybody had everything.
	Quiet uint32
	// Received is how far each member has everything, in the order of the ring's members.
	Received []Seq
	// Heard is the longest probe that each member has heard from every other, as long as Received.
	Heard []uint16
}

const (
	extensionMagic    = 0x31525051 // "QPR1"
	extensionBytes    = 8          // magic and count
	announcementBytes = 8
	marksBytes        = 8
	markBytes         = 6
	// MaxMarked is the largest ring whose token has marks: with all of them, and all requests,
	// it fits into one Ethernet frame.
	MaxMarked = 128
)

// extension returns the count behind the magic of an extension, and what follows; ok is false
// if there is none, or one that is not for us.
func (o Order) extension(b []byte) (count int, rest []byte, ok bool) {
	if len(b) < extensionBytes || o.Uint32(b) != extensionMagic {
		return 0, nil, false
	}
	n := o.Uint32(b[4:])
	if n > MaxMembers {
		return 0, nil, false
	}
	return int(n), b[extensionBytes:], true
}

func appendExtension(b []byte, count int) []byte {
	return appendUint32(appendUint32(b, extensionMagic), uint32(count))
}

func (o Order) announcements(dst []Announcement, b []byte) []Announcement {
	n, b, ok := o.extension(b)
	if !ok || len(b) < n*announcementBytes {
		return dst
	}
	for i := range n {
		at := b[i*announcementBytes:]
		dst = append(dst, Announcement{NodeID(o.Uint32(at)), Features(o.Uint32(at[4:]))})
	}
	return dst
}

func appendAnnouncements(b []byte, list []Announcement) []byte {
	if len(list) == 0 {
		return b
	}
	b = appendExtension(b, len(list))
	for _, a := range list {
		b = appendUint32(appendUint32(b, uint32(a.Node)), uint32(a.Features))
	}
	return b
}

// decode reads the marks behind a token's fields; without any, m is empty.
func (m *Marks) decode(o Order, b []byte) {
	*m = Marks{Received: m.Received[:0], Heard: m.Heard[:0]}
	n, b, ok := o.extension(b)
	if !ok || n > MaxMarked || len(b) < marksBytes+n*markBytes {
		return
	}
	m.Keeper, m.Quiet = NodeID(o.Uint32(b)), o.Uint32(b[4:])
	for i := range n {
		at := b[marksBytes+i*markBytes:]
		m.Received = append(m.Received, Seq(o.Uint32(at)))
		m.Heard = append(m.Heard, o.Uint16(at[4:]))
	}
}

func (m *Marks) append(b []byte) []byte {
	if len(m.Received) == 0 {
		return b
	}
	b = appendExtension(b, len(m.Received))
	b = appendUint32(appendUint32(b, uint32(m.Keeper)), m.Quiet)
	for i, s := range m.Received {
		b = appendUint32(b, uint32(s))
		b = binary.LittleEndian.AppendUint16(b, m.Heard[i])
	}
	return b
}
