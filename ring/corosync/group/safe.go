package group

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
)

// secure works out what all members have.
func (m *Machine) secure() {
	if m.agreeing {
		return
	}
	all := m.have
	for i := range m.members {
		if p := &m.members[i]; p.Member != m.self {
			all = min(all, p.reported)
		}
	}
	m.safe = max(m.safe, m.base+all)
}

// wantsReport tells whether the others wait to hear what we have: whoever sent the last message
// of another's does; after a while whoever wants to know how far its own have come.
func (m *Machine) wantsReport() bool {
	if m.reporting || m.told >= m.have {
		return false
	}
	return m.told < m.foreign || m.lazyAt != 0 && m.now >= m.lazyAt
}

// onReport takes what a member has.
func (m *Machine) onReport(from cpg.Member, f *frame) {
	if from == m.self {
		m.reporting = false
		if m.watch.poking {
			m.watch.poking, m.watch.poked = false, m.now
		}
	}
	if p := m.peer(from); p != nil && !m.agreeing && f.view == m.view {
		p.reported = max(p.reported, min(f.have, m.have))
		m.secure()
	}
}

// watch keeps an eye on the member that everybody waits for. It is expelled when it has kept
// still for half of Config.Stall, and for the other half after a message of ours has gone around:
// a ring that stands still is nobody's fault.
type watch struct {
	who    cpg.Member
	at     uint64 // what it has
	since  time.Duration
	poke   bool // to be sent
	poking bool // on its way
	poked  time.Duration
	expel  bool // to be sent
}

// view is what an expulsion is said to be valid in: a view, or a state without one.
func (w *watch) view(m *Machine) uint64 {
	if m.agreeing {
		return m.state
	}
	return m.view
}

// laggard is the member that is waited for.
func (m *Machine) laggard() (who cpg.Member, at uint64, found bool) {
	if m.agreeing {
		for _, p := range m.awaited() {
			if p != m.self && m.said && !slices.ContainsFunc(m.flushes, func(f flush) bool { return f.from == p }) {
				return p, 0, true
			}
		}
		return cpg.Member{}, 0, false
	}
	at = m.have
	for i := range m.members {
		if p := &m.members[i]; p.Member != m.self && p.reported < at {
			who, at, found = p.Member, p.reported, true
		}
	}
	return who, at, found
}

// Tick does what is due and returns when it wants to be called next, 0 for never.
func (m *Machine) Tick(now time.Duration) (next time.Duration) {
	m.now = now
	if m.gone || m.err != nil {
		return 0
	}
	if !m.agreeing && m.told < m.have && len(m.members) > 1 {
		if m.lazyAt == 0 {
			m.lazyAt = now + lazy
		}
		if now < m.lazyAt {
			next = m.lazyAt
		}
	}
	if w := m.look(now); w != 0 && (next == 0 || w < next) {
		next = w
	}
	return next
}

// look looks after the member that is waited for, and says when to look again.
func (m *Machine) look(now time.Duration) time.Duration {
	who, at, found := m.laggard()
	if !found {
		m.watch = watch{}
		return 0
	}
	w := &m.watch
	if w.who != who || w.at != at || w.since == 0 {
		*w = watch{who: who, at: at, since: now}
	}
	half := m.cfg.Stall / 2
	switch {
	case w.poked != 0 && now >= w.poked+half:
		w.expel = true
	case w.poked != 0:
		return w.poked + half
	case now < w.since+half:
		return w.since + half
	case !w.poking:
		w.poke = true
	}
	return now + half
}

// onExpel takes a member out, if it has still not moved at this place of the order.
func (m *Machine) onExpel(f *frame) {
	if m.agreeing {
		silent := !slices.ContainsFunc(m.flushes, func(o flush) bool { return o.from == f.target })
		if f.view != m.state || !silent || !slices.Contains(m.present, f.target) || slices.Contains(m.expelled, f.target) {
			return
		}
	} else if p := m.peer(f.target); f.view != m.view || p == nil || p.reported > f.have {
		return
	}
	m.stats.Expelled++
	if f.target == m.self {
		m.err = ErrExpelled
		return
	}
	m.expelled = append(m.expelled, f.target)
	slices.SortFunc(m.expelled, compareMembers)
	m.change()
}
