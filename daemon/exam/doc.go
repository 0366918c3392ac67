// Package exam is how a doctor examines brokers that run, its own host's and others': over the port
// that members connect to, in place of a member's hello, with its magic. Then, in lines of JSON, one
// question and one answer after the other:
//
//	c, err := exam.Dial(ctx, "10.0.0.2:5406")   c.Close()
//	f, err := c.Facts()                         // who it is, and what its ring is told to be
//	offset, roundTrip, err := c.Clock()
//	err = c.Probe(nonce)                        // it sends a packet to everyone, and to each alone
//	everyone, alone, err := c.Heard(nonce)      // whose packets came to it
//	findings, err := c.Findings()               // what its own doctor says
//
// A broker answers with Serve, and tells what it is asked for by a Member. It tells nothing that is
// secret, changes nothing, and answers only who could be a member (package reach).
//
// A probe is a ring packet that every Totem since corosync 2 takes and does nothing upon: a hold
// cancel for a ring that cannot be, with no representative and the nonce as its number. It goes
// through the ring's own sockets, so what stops it stops the ring's packets too, and it is protected
// as they are. Nonces are even; the odd number after one marks what went to a node alone.
package exam
