package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/ring/corosync"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// corosyncRing is the provider that is a client of the corosync on this host.
type corosyncRing struct {
	*corosync.Ring
	log    *slog.Logger
	warned bool
}

func (r *corosyncRing) receive(now time.Duration, t taker) error {
	more := true
	for i := 0; more && i < maxReceives; i++ {
		more = r.Receive(now)
		r.show(now, t)
		r.Release()
	}
	return r.Err()
}

func (r *corosyncRing) show(now time.Duration, t taker) {
	ready := r.Ready()
	t.take(now, ready.Events, ready.Safe)
}

func (r *corosyncRing) flush(now time.Duration, t taker) error {
	r.Flush(now)
	r.show(now, t)
	return r.Err()
}

func (r *corosyncRing) tick(now time.Duration, t taker) (time.Duration, error) {
	next := r.Tick(now)
	r.show(now, t)
	if !r.warned && r.Stats().Foreign > 0 {
		r.warned = true
		r.log.Log(context.Background(), logging.Warning,
			"processes in the cluster's group send what is not understood, and do not take part: all brokers of a cluster must have the same --ring-provider, and compatible versions")
	}
	return next, r.Err()
}

// suspect does nothing: corosync cannot be told, and sees itself when a process ends.
func (r *corosyncRing) suspect(time.Duration, wire.NodeID) {}

// expect does nothing: corosync knows what it expects.
func (r *corosyncRing) expect(int) {}

func (r *corosyncRing) leave(now time.Duration) { r.Leave(now) }

func (r *corosyncRing) left() bool { return r.Left() }

func (r *corosyncRing) close() { r.Close() }

// corosyncPatience is how long a corosync is waited for, as long as the original waited.
const corosyncPatience = 25 * time.Second

// joinCorosync joins the group of the corosync on this host.
func (b *Broker) joinCorosync(cfg *cluster.Config, log *slog.Logger) error {
	say := func(text string) { log.Log(context.Background(), logging.Notice, text) }
	say("Initializing CPG")
	r, err := corosync.Open(corosync.Config{Group: b.opts.ClusterName, PID: uint32(os.Getpid()), Patience: corosyncPatience,
		Waiting: func(err error, patience time.Duration) {
			say(fmt.Sprintf("Re-trying CPG initialization for %v: %v", patience, err))
		}})
	if err != nil {
		return err
	}
	b.provider = &corosyncRing{Ring: r, log: log}
	at, err := corosyncAddress(r.Self().Node)
	if err != nil {
		return err
	}
	if err := b.joinMembers(cfg, cluster.MemberOf(r.Self()), at, log); err != nil {
		return err
	}
	say(fmt.Sprintf("ring of the corosync on this host, node id %d at %s", r.Self().Node, at))
	return b.engine.watch(r.FD())
}

// corosyncAddress is where other members find this host: at the address of corosync's ring, else,
// if that cannot be told, at the default route's.
func corosyncAddress(node wire.NodeID) (netip.Addr, error) {
	if at, err := corosync.Address(node); err == nil {
		return at, nil
	}
	at, err := host.RingAddress("")
	return at.Address, err
}
