package totem

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// flow is a member's part in the two sums on the token (section 11).
type flow struct {
	sent    int // packets at the last visit
	backlog int // packets queued at the last visit, as told on the token
	current int // packets queued at this visit
}

// update replaces our share of the last rotation by that of this one.
func (f *flow) update(t *wire.Token, sent int) {
	t.FCC += uint32(sent - f.sent)
	t.Backlog += uint32(f.current - f.backlog)
	f.sent, f.backlog = sent, f.current
}

// allowance is how many packets we may multicast at this visit: no more than fit in the
// window, and of a scarce window the share that our queue has of all queues.
func (m *Machine) allowance(t *wire.Token) int {
	f := &m.flow
	f.current = m.backlog()
	window := m.cfg.WindowSize
	others := max(0, int(int32(t.FCC))) // the sums may be below zero when a ring starts
	allowed := min(m.cfg.MaxMessages, max(1, window-others))
	if all := int(int32(t.Backlog + uint32(f.current-f.backlog))); all > 0 {
		if share := window * f.backlog / all; share > 0 {
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
	limit := m.activeQueue().base + wire.Seq(queueSlots-m.cfg.MaxMessages-m.cfg.WindowSize)
	if allowed <= 0 || limit.Less(t.Seq) {
		return 0
	}
	return allowed
}
