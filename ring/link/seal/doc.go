// Package seal encrypts and authenticates ring packets over udp and udpu, where corosync has no
// protection, and so for rings of our members only. It is pure.
//
//	s, err := seal.NewSealer(secret, cluster, self, instance)
//	b = s.Seal(b, packet)                  // appends, Overhead longer
//	o := seal.NewOpener(secret, cluster)
//	packet, err := o.Open(now, from, b)    // in place
//
// A sealed packet:
//
//	0 "QPS1" | 4 start (6) | 10 random (6) | 16 counter (8) | 24 AES-256-GCM of the packet | tag (16)
//
// Start is when the sender's process began, in milliseconds since 1970, and counter counts its
// packets from 1; both are big endian. Bytes 4 to 15 are the sender's instance. Each instance has
// a key of its own, HKDF-SHA256 of the shared secret, with the instance as salt, and in info the
// purpose, the cluster's name, and the address and port the packets come from. The nonce is four
// zero bytes and the counter; bytes 0 to 23 are authenticated, too. So no key and nonce serve
// twice: not after a restart, with which the instance changes, nor on two members, whose
// addresses differ.
//
// Of each address one instance counts, that with the latest start. A packet of it is taken once:
// a window of counters behind the highest tells which were. An older instance is not taken, as it
// may be a recording, but after ForgetAfter of silence: its sender's clock may have been set back.
// So who has just started, and has heard nothing of a sender yet, can be told what was recorded of
// it, in the order and as often as a window lets through; the ring takes that for packets of a
// ring gone by.
package seal
