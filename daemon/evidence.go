package daemon

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// suspect is told by the mesh that a member's end of a connection is closed, and that nobody
// listens there: evidence that it is dead, upon which the ring need not wait for timeouts.
func (b *Broker) suspect(m broker.MemberID) {
	b.engine.tell(message{kind: msgDo, do: func(now time.Duration) {
		b.provider.suspect(now, wire.NodeID(m>>32))
	}})
}

// How often, and how long, a member that left is looked at. A process that was killed closes
// its sockets before it counts as dead, and with much memory that takes a while.
const (
	mournEvery = 10 * time.Millisecond
	mournMost  = time.Second
	mournLimit = time.Minute
)

// mourn looks after those who have left the view. If one ran on this host, its process can be
// looked at. That it is gone, and that nobody listens where it did, is proof: a process of
// another container that shares the address cannot be seen, but its socket can.
func (b *Broker) mourn(old, now *cluster.Status) {
	if old == nil {
		return
	}
	here := func(s *cluster.Status, m broker.MemberID) bool {
		return slices.ContainsFunc(s.Members, func(x cluster.MemberStatus) bool { return x.ID == m })
	}
	for _, x := range old.Members {
		at, err := netip.ParseAddrPort(x.Mesh)
		if err != nil || here(now, x.ID) || !host.Local(at.Addr()) {
			continue
		}
		go func() {
			back := func() bool { return here(b.status.Load(), x.ID) }
			if b.awaitDeath(uint32(x.ID), x.Mesh, back) {
				b.engine.tell(message{kind: msgDo, do: func(now time.Duration) { b.engine.node.Dead(now, x.ID) }})
			}
		}()
	}
}

// awaitDeath tells whether a process ends before its member is back, and soon.
func (b *Broker) awaitDeath(pid uint32, mesh string, back func() bool) bool {
	end := time.Now().Add(mournLimit)
	for wait := mournEvery; !host.Dead(pid) || !deserted(mesh); wait = min(2*wait, mournMost) {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-b.stopped:
			t.Stop()
			return false
		}
		if back() || time.Now().After(end) {
			return false
		}
	}
	return true
}

// deserted tells whether nobody listens at an address of this host.
func deserted(at string) bool {
	c, err := net.DialTimeout("tcp", at, meshDial)
	if err == nil {
		c.Close()
	}
	return refused(err)
}
