package datapath

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/manage/metrics"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TokenTimes measure the token's way past this member. When it came in the kernel tells: the program that
// passes it on, which stamps each, or else the socket. Where neither does, as with AF_XDP, it is when it was
// read, and nobody knows how long it had waited.
//
// The ring's goroutine writes them, and any reads.
type TokenTimes struct {
	rotation metrics.Histogram // from one token to the next, where no program measures it
	hop      metrics.Histogram // from when a token came in until this member had sent it on
	waiting  metrics.Histogram // from when it came in until it was read

	last time.Duration // when the token came in before
}

// Came tells when a token came in that has just been read, and whether by the kernel.
func (t *TokenTimes) Came(now time.Duration, p *wire.Packet, seq uint32, pass *Pass) (at time.Duration, exact bool) {
	if pass != nil {
		if at, exact = pass.Arrived(now, seq); exact {
			return at, true
		}
	}
	if p.Arrived == 0 {
		return now, false
	}
	waited := time.Duration(time.Now().UnixNano()) - p.Arrived
	if waited < 0 || waited > maxWaited {
		return now, false // the clock was set meanwhile
	}
	return now - waited, true
}

// maxWaited is more than a token waits in a ring that goes on.
const maxWaited = time.Minute

// Visited counts a visit of the token, which came in at some time, was read, and was sent on, or is kept: then
// sent is 0.
func (t *TokenTimes) Visited(at time.Duration, exact bool, read, sent time.Duration) {
	if exact {
		t.waiting.Observe(max(read-at, 0))
	}
	if sent != 0 {
		t.hop.Observe(max(sent-at, 0))
	}
	if t.last != 0 && at > t.last {
		t.rotation.Observe(at - t.last)
	}
	t.last = at
}

// Counted is all that is known of the token's times: of rotations, of the hop by this member and by the kernel,
// and of waiting to be read.
type Counted struct {
	Rotation, Member, Kernel, Waiting metrics.Times
}

// Counted are the times so far, with those of the program that passes tokens on if there is one.
func (t *TokenTimes) Counted(c *Choice) (x Counted) {
	x.Member, x.Waiting = t.hop.Times(), t.waiting.Times()
	rotation, hop, ok := c.Times()
	if !ok {
		x.Rotation = t.rotation.Times()
		return x
	}
	x.Rotation, x.Kernel = metrics.Times(rotation), metrics.Times(hop)
	return x
}
