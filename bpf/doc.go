// Package bpf puts programs into the kernel where the ring's packets come in. They drop what cannot be
// the ring's before it costs anything more, count why, and hand the ring's packets to an AF_XDP socket
// where there is one.
//
//	g, err := bpf.Attach(bpf.Config{Interface: index, Hook: bpf.TC, Own: own, Group: group, Drop: true})
//	defer g.Close()          // or let the process die: the kernel detaches it
//	g.Steer(queue, socket)   // XDP: an AF_XDP socket takes the queue's packets
//	g.Hold(rep, seq, aru)    // what the member has, of which more is dropped; g.Release() takes it back
//	g.Counts()               // what became of packets
//
// One source (ring.h) is compiled for the hooks there are (design.md, kernel assist):
//
//	card -> [native XDP] -> frames become packets -> [generic XDP] -> AF_PACKET -> [TC] -> IP, UDP
//
// Native XDP is cheapest where a card does it, and costs most on veth, whose aggregates are cut up for
// it. Nothing here chooses; the daemon does.
//
// The programs keep out of everybody's way: what is not for the ring's port and addresses passes
// untouched, nothing is pinned, no program of others is replaced. If the kernel refuses, the error says
// what it lacks, with the verifier's complaint in whole, and the ring does without.
//
// AttachTokenPass puts a program on TC that passes the ring's token on while its member lets it, and a guard
// on XDP does it besides if Config.TokenPass has it so (token.h, docs/adr/0009-token-pass.md). Apart from the
// ring, LimitConnections keeps a source from making clients' connections faster than a rate,
// and Spread gives them to several acceptors in turn.
//
// It knows of the ring the bytes that a packet begins with, and a token's (docs/ring-protocol.md, sections
// 1.2, 2.1, 2.3, 13.1), and nothing else.
package bpf
