// Package xdp is a path for ring packets past the kernel's network stack: AF_XDP sockets on the queues
// of the ring's interface, to which a program steers the ring's packets (package bpf, which the caller
// attaches).
//
//	cfg.OpenPath = xdp.Opener(attach)   // link.Open does the rest
//
// Each queue has a socket with memory of its own (umem), half for what comes and half for what goes,
// and four rings:
//
//	         fill: empty frames             completion: sent frames
//	us  ----------------------->  kernel  ------------------------->  us
//	us  <-----------------------  kernel  <-------------------------  us
//	         rx: received frames            tx: frames to send
//
// Received packets are copied out of their frames, which go back at once: a ring holds packets for some
// rotations, and a socket without frames is deaf. With zero-copy the card writes into the frames,
// without it the kernel does; the kernel is woken only where it asks for that (need_wakeup).
//
// Everything is sent from the first queue, so that it keeps its order. What comes by several queues has
// lost its order among them, so unicasts, of which tokens are some, are handed out behind the multicasts
// of all queues.
//
// A packet that is longer than a frame is in several, where the kernel has that (Linux 6.6). The interface
// may be removed and made again, and be given more queues. It needs CAP_NET_RAW to be opened, and nothing
// afterwards: sockets cannot be bound twice, so some are kept.
package xdp
