package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// flow is a member's part in the two sums on the token (section 11), and how much it takes
// the network for good for.
type flow struct {
	sent    int // packets at the last visit
	backlog int // packets queued at the last visit, as told on the token
	current int // packets queued at this visit

	window  int // packets of all members in a rotation
	visit   int // packets of ours in a visit
	ceiling int // the window that did not lose packets, as far as is known
	calm    int // visits at the ceiling without a loss
	rest    int // visits until a loss counts again: one is seen for some rotations
}

const (
	// smallestWindow and smallestVisit are corosync's, of packets that are NetMTU long.
	smallestWindow = 50
	smallestVisit  = 17
	// fewestPackets is the least of whatever is long.
	fewestPackets = 4
	// restVisits: a request stands on the token until it is served, and its packet is missed at
	// MissCountConst visits before.
	restVisits = 16
	// calmVisits: at the ceiling a loss is tried for about once in a hundred rotations.
	calmVisits = 64
)

// begin is the flow of a ring that begins.
func (f *flow) begin(c *Config) {
	*f = flow{window: c.WindowSize, visit: c.MaxMessages, ceiling: c.MaxWindow}
}

// update replaces our share of the last rotation by that of this one.
func (f *flow) update(t *wire.Token, sent int) {
	t.FCC += uint32(sent - f.sent)
	t.Backlog += uint32(f.current - f.backlog)
	f.sent, f.backlog = sent, f.current
}

// adapt lets the window grow quickly to the ceiling while there is more to send than it lets
// through, and never below least. A loss halves it and lowers the ceiling below it; that rises
// again slowly.
func (f *flow) adapt(hungry, loss bool, least, most int) {
	switch {
	case f.rest > 0:
		f.rest--
		return
	case loss:
		f.ceiling = max(f.window*7/8, least)
		f.window = max(f.window/2, least)
		f.calm, f.rest = 0, restVisits
	case !hungry:
		return
	case f.window < f.ceiling:
		f.window = min(f.window+f.window/4, f.ceiling)
	case f.ceiling < most:
		if f.calm++; f.calm == calmVisits {
			f.calm, f.ceiling = 0, min(f.ceiling+f.ceiling/16, most)
		}
		return
	default:
		return
	}
	f.visit = max(f.window/2, min(f.window, smallestVisit))
}

// reframe keeps the window's bytes when packets become longer.
func (f *flow) reframe(from, to int) {
	scale := func(n int) int { return max(n*from/to, fewestPackets) }
	f.window, f.ceiling, f.visit = scale(f.window), scale(f.ceiling), scale(f.visit)
}

// allowance is how many packets we may multicast at this visit: no more than fit in the
// window, and of a scarce window the share that our queue has of all queues.
func (m *Machine) allowance(t *wire.Token) int {
	f := &m.flow
	f.current = m.backlog()
	others := max(0, int(int32(t.FCC))) // the sums may be below zero when a ring starts
	allowed := min(f.visit, max(1, f.window-others))
	if all := int(int32(t.Backlog + uint32(f.current-f.backlog))); all > 0 {
		if share := f.window * f.backlog / all; share > 0 {
			allowed = min(allowed, share)
		}
	}
	return allowed
}

func (m *Machine) backlog() int {
	if m.state == Recovery {
		return m.recovery.left
	}
	return m.source.Packets()
}

// withinQueue allows nothing while the slowest member is so far behind that new places might
// not fit the queues.
func (m *Machine) withinQueue(t *wire.Token, allowed int) int {
	limit := m.activeQueue().base + wire.Seq(queueSlots-m.cfg.MaxMessages-2*m.cfg.MaxWindow)
	if allowed <= 0 || limit.Less(t.Seq) {
		return 0
	}
	return allowed
}
