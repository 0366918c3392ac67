package knet

import (
	"net/netip"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// peer is another node and the link to it.
type peer struct {
	node wire.NodeID
	addr netip.AddrPort
	up   bool

	pingDue  time.Duration
	pongs    int           // in time, since it was down
	pongLast time.Duration // 0: none since it was down
	downAt   time.Duration
	latency  time.Duration // mean
	samples  int

	filter filter
	path   path
}

const (
	// backoffMost is what the timeout is multiplied by when a peer has just gone down, so that
	// one that comes and goes is not taken for up each time; it is 1 less every second.
	backoffMost = 10
	// latencySamples is how many answers count for the mean, knet_ping_precision's default.
	latencySamples = 2048
)

// timeout is how long a peer that has answered may be silent.
func (p *peer) timeout(c *Config, now time.Duration) time.Duration {
	backoff := max(backoffMost-int((now-p.downAt)/time.Second), 1)
	return time.Duration(backoff)*c.PingTimeout + 2*p.latency
}

// pong takes an answer that took so long, and tells whether the peer is up now that was not.
func (p *peer) pong(c *Config, now, took time.Duration) bool {
	p.pongLast = now
	if took < 0 || took > c.PingTimeout {
		return false
	}
	p.samples = min(p.samples+1, latencySamples)
	p.latency = (p.latency*time.Duration(p.samples-1) + took) / time.Duration(p.samples)
	if p.up || p.latency >= p.timeout(c, now) {
		return false
	}
	if p.pongs < c.PongCount {
		p.pongs++
		return false
	}
	p.up = true
	return true
}

// down forgets what was learned of a peer that does not answer.
func (p *peer) down(now time.Duration) {
	p.up, p.pongs, p.pongLast, p.downAt = false, 0, 0, now
	p.filter.reset()
	p.path = path{}
}

// path is the search for the longest packet that reaches a peer: now and then, packets of some
// sizes; what is answered, reaches it. Lost ones are sent again.
type path struct {
	mtu     int // that counts; 0: none has been found
	probing bool
	found   int // in this search
	tries   int // left
	due     time.Duration
	begins  time.Duration // the next search
}

// probeTries is how often a size is tried in one search.
const probeTries = 3

// probeSizes are the MTUs that are met: tunnels, PPPoE, Ethernet, jumbo frames.
var probeSizes = [...]int{leastIPv4, 1006, leastIPv6, 1400, 1450, 1492, 1500, 4352, 9000}
