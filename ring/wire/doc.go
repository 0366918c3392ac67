// Package wire is the bytes of the ring: the six messages of the Totem single ring protocol,
// the packing header that lets several messages share a packet, and the messages of the
// services above it, as corosync 3 puts them on the network.
//
// It decodes into values that the caller owns and encodes by appending; it keeps no state.
// Decoders check every length before they use it, never panic, and allocate at most what a
// named limit allows, whatever the packet says.
//
// A ring message is
//
//	0      2       3      4      5        9        13
//	+------+-------+------+------+--------+--------+-------------------+
//	| magic|version| type | encap| nodeid | target | body, by type     |
//	+------+-------+------+------+--------+--------+-------------------+
//
// and the body of a Mcast is, from the outside in,
//
//	mcast header   who sent it first, its place (seq) and the ring the place belongs to
//	packing header how many messages are in the packet, whether the first and last are parts
//	group header   which of the two streams: "a" for services, "sync" for synchronisation
//	executive      service and function, then the function's fields
//
// All integers are in the byte order of their sender, which the receiver tells from the magic
// (Order). We always send little endian. "Section n" in comments means the numbered sections
// of docs/ring-protocol.md.
//
// Block, Packet and Datagram, in block.go, are how packets travel in memory: without copies,
// counted by their single owner.
package wire
