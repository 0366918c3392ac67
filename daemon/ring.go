package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// provider orders messages among the members: a ring of our own (totem.go), or the corosync on
// this host (corosync.go).
type provider interface {
	cluster.Group
	// receive takes what has come and shows what that delivers.
	receive(now time.Duration, t taker) error
	// flush sends what was multicast.
	flush(now time.Duration, t taker) error
	// tick does what is due and returns when it wants to be called next, 0 for never.
	tick(now time.Duration, t taker) (next time.Duration, err error)
	// suspect takes evidence that a node is dead.
	suspect(now time.Duration, node wire.NodeID)
	// expect tells how many votes the cluster expects.
	expect(votes int)
	// leave leaves the group; left tells when that is done.
	leave(now time.Duration)
	left() bool
	close()
}

// taker is shown what a provider delivers, in its order, and up to which message all members
// have it. The bytes of messages are valid until take returns.
type taker interface {
	take(now time.Duration, events []cpg.Event, safe uint64)
}

// ring joins a provider to the engine.
type ring struct {
	provider
	engine  *engine
	log     *slog.Logger
	members []broker.MemberID // of the last view
	safe    uint64
	told    uint64 // what the node knows to be safe
	news    bool   // something was delivered since the shards last ran
}

func (r *ring) receive(now time.Duration) error { return r.provider.receive(now, r) }

func (r *ring) tick(now time.Duration) time.Duration {
	next, err := r.provider.tick(now, r)
	if err != nil {
		r.engine.fail(err)
	}
	return next
}

// flush sends what the last round multicast, and tells the node what is safe: after the
// shards have run, so that what they refused is known.
func (r *ring) flush(now time.Duration) {
	if err := r.provider.flush(now, r); err != nil {
		r.engine.fail(err)
	}
	r.told = r.safe
	r.engine.node.Safe(r.safe)
}

// pending tells whether the ring has delivered something, or made it safe, that the round
// under way came too early for: a member that holds the token delivers what it multicasts at
// once.
func (r *ring) pending() bool { return r.news || r.told != r.safe }

func (r *ring) take(now time.Duration, events []cpg.Event, safe uint64) {
	r.news = r.news || len(events) > 0
	for i := range events {
		ev := &events[i]
		if ev.Message {
			r.engine.node.Message(now, ev.Number, cluster.MemberOf(ev.From), ev.Parts)
			continue
		}
		r.view(now, ev.View)
	}
	r.safe = safe
}

func (r *ring) view(now time.Duration, v *cpg.View) {
	for _, l := range v.Left {
		r.log.Log(context.Background(), logging.Notice, "member left", "member", l.Member, "clean", l.Clean())
	}
	for _, m := range v.Joined {
		r.log.Info("member joined", "member", m)
	}
	c := cluster.ViewOf(v)
	r.members = c.Members
	r.engine.node.View(now, c)
	for _, l := range v.Left {
		// The corosync of its node has seen the process end.
		if l.Reason == wire.ReasonProcDown {
			r.engine.node.Dead(now, cluster.MemberOf(l.Member))
		}
	}
}
