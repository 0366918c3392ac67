package link

import (
	"fmt"
	"time"
)

// reports tells of packets that are not taken, so that somebody hears of a wrong key or a
// forgotten node, and not more than once a minute of each cause.
type reports struct {
	to   func(trouble bool, text string)
	last map[string]*refusals // by cause, of which there are few
}

type refusals struct {
	told  time.Time
	count uint64 // since
}

// reportInterval is how often a cause is told.
const reportInterval = time.Minute

func (r *reports) refused(cause string, from *sockaddr) {
	if r.to == nil {
		return
	}
	c := r.last[cause]
	if c == nil {
		if r.last == nil {
			r.last = map[string]*refusals{}
		}
		c = &refusals{}
		r.last[cause] = c
	}
	c.count++
	if now := time.Now(); now.Sub(c.told) >= reportInterval {
		r.to(true, fmt.Sprintf("ring packets are not taken, %d more, the last from %s: %s", c.count, from.addrPort(), cause))
		c.told, c.count = now, 0
	}
}

func (r *reports) say(trouble bool, format string, args ...any) {
	if r.to != nil {
		r.to(trouble, fmt.Sprintf(format, args...))
	}
}
