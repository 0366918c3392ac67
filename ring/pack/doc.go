// Package pack puts messages into packets and takes them out again: several small ones share
// a packet, a large one spans several (section 3 of docs/ring-protocol.md; corosync calls
// this layer totempg).
//
//	q.Push(header, parts...)        copy one message into the queue
//	n := q.Pack(payload)            fill one packet, as much as fits
//	a.Unpack(from, ..., &batch)     on every member, in the agreed order
//
// There are two streams, each with a queue and an assembler of its own: one for the
// application, one for synchronisation after a change of the ring, so that half a message of
// the application can rest while members synchronise.
//
// All members must take the same messages out of the same packets, also the members that came
// in the middle of a message. Therefore the assembler keeps corosync's rules for packets that
// do not fit together to the letter, and the queue avoids needing them: when the ring changes
// in the middle of a message, Restart makes the next packet one that every receiver throws
// away, in step again, and the message is sent once more from its beginning.
package pack
