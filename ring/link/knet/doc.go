// Package knet carries ring packets as Kronosnet does, which is corosync's transport knet: over
// one link (link 0) to each peer, kept alive by pings, in fragments that fit the path, with
// duplicates filtered, and encrypted where there is a key. It is wire-compatible with libknet
// 1.25, and pure: packets in, packets out, time as an argument.
//
//	m := knet.New(cfg)
//	p, ok := m.Receive(now, from, packet)  // a ring packet has come, perhaps
//	n := m.Send(now, datagrams)            // took the first n
//	next := m.Tick(now)
//	for _, d := range m.Ready() { … }      // to a peer, or to all of m.Up()
//	m.Reset()                              // after what was ready has been sent, and before Send
//
// A packet, all integers big endian:
//
//	0 version 1 | 1 type | 2 node (2) | 4 highest version 1 | 5 zero | then by type
//
//	0x00 data         6 seq (2) | 8 compression 0 | 9 zero | 10 1 if for all | 11 fragments |
//	                  12 fragment, from 1 | 13 channel 0 | 14 ring packet, or a part of it
//	0x81 ping         6 link 0 | 7 time (16) | 23 seq (2) | 25 timed
//	0x82 pong         the ping, with its type and node replaced
//	0x83 pmtud        6 link 0 | 7 size (2) | 9 zeros up to the size
//	0x84 pmtud reply  the first 9 bytes, with type and node replaced
//
// The time of a ping and the size of a probe are their sender's alone, in its own byte order.
// With encryption salt, packet and tag go over the wire (see Crypto).
//
// A peer is up when it has answered more than PongCount pings, each in time, and down when no
// answer has come for the timeout. Data goes to peers that are up, and is taken from those.
//
// Not here: further links, SCTP, compression, change of the key at run time.
package knet
