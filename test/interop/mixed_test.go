package interop

import (
	"slices"
	"testing"
)

// mixed starts members in an order, ours on some hosts and corosync on the others, and gives them
// in that order.
func (l *lab) mixed(ours []int, order ...int) (list []*process) {
	l.t.Helper()
	for i, host := range order {
		if slices.Contains(ours, host) {
			list = append(list, l.ringnode(host, 0))
		} else {
			list = append(list, l.corosync(host))
		}
		for _, p := range list {
			p.awaitView(viewLimit, order[:i+1]...)
		}
	}
	return list
}

// TestTwoOfOurs forms rings of two of ours and one corosync: it or one of ours has the lowest id
// and forms the ring, and comes first or last. Then a member dies and comes back: the corosync, so
// that ours are among themselves and announce themselves to each other, or one of ours.
func TestTwoOfOurs(t *testing.T) {
	for i, x := range []struct {
		name  string
		ours  []int
		order []int
	}{
		{"corosync forms and comes first", []int{2, 3}, []int{1, 2, 3}},
		{"corosync forms and comes last", []int{2, 3}, []int{3, 2, 1}},
		{"we form, corosync is between us", []int{1, 3}, []int{2, 3, 1}},
		{"we form, corosync comes last", []int{1, 2}, []int{1, 2, 3}},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t)
			list := l.mixed(x.ours, x.order...)
			exchange(t, exchangeLimit, burstMessages, list...)
			mine := i%2 == 1
			at := slices.IndexFunc(list, func(p *process) bool { return slices.Contains(x.ours, p.host) == mine })
			victim := list[at]
			killInFlood(l, slices.Delete(slices.Clone(list), at, at+1), victim, func() {
				if !mine {
					l.daemons[victim.host].kill()
				}
				victim.kill()
			})
			if mine {
				list[at] = l.ringnode(victim.host, 1<<20) // as saved; it has to be above all before
			} else {
				list[at] = l.corosync(victim.host)
			}
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}
