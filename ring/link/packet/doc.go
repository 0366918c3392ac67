// Package packet is a path for ring packets past the kernel's UDP: an AF_PACKET socket on the ring's
// interface, whose frames we write and read ourselves.
//
//	cfg.OpenPath = packet.Open   // link.Open does the rest
//
// Receiving: a ring of memory shared with the kernel (TPACKET_V2), from which packets are taken
// without a system call. Frames longer than a slot, as aggregates are that came through the machine
// or a card put together, are read from the socket, one call each. It is not TPACKET_V3, which hands
// out packets by the block and no sooner than a timer of a millisecond or more: a token would wait
// for it at every member (docs/adr/0006-datapaths.md).
//
// Sending: sendmmsg past the queueing discipline (PACKET_QDISC_BYPASS), with several packets of one
// size as one frame that is cut behind us (VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2), and checksums left
// to the card.
//
// A filter in the kernel keeps all else away. Fragments, what is longer than the MTU, and neighbours
// that the kernel does not know yet are left to the link's sockets. It needs CAP_NET_RAW to be
// opened, and nothing afterwards.
package packet
