package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// ring joins the ring's state machine to its link.
type ring struct {
	machine *cpg.Machine
	link    link.Link
	log     *slog.Logger
	packets []wire.Packet
	members []broker.MemberID // of the last view
	save    func(seq uint64) error
	safe    uint64
	told    uint64 // what the node knows to be safe
	news    bool   // something was delivered since the shards last ran
}

// receiveBatch is how many packets are taken from the link at a time: one aggregate of the
// kernel's holds up to 64.
const receiveBatch = 128

func newRing(m *cpg.Machine, l link.Link, log *slog.Logger, save func(uint64) error) *ring {
	return &ring{machine: m, link: l, log: log, save: save, packets: make([]wire.Packet, receiveBatch)}
}

func memberID(m cpg.Member) broker.MemberID {
	return broker.MemberID(m.Node)<<32 | broker.MemberID(m.PID)
}

func memberIDs(list []cpg.Member) (ids []broker.MemberID) {
	for _, m := range list {
		ids = append(ids, memberID(m))
	}
	return ids
}

// maxReceives bounds the batches taken before clients get their turn.
const maxReceives = 16

// receive takes what the link has.
func (r *ring) receive(e *engine, now time.Duration) error {
	for range maxReceives {
		n := r.link.Recv(r.packets)
		for i := range n {
			r.machine.Step(now, r.packets[i])
			r.packets[i].Release()
			r.packets[i] = wire.Packet{}
			if err := r.hand(e, now); err != nil {
				return err
			}
		}
		if n < len(r.packets) {
			return nil
		}
	}
	return nil
}

func (r *ring) tick(e *engine, now time.Duration) time.Duration {
	next := r.machine.Tick(now)
	if err := r.hand(e, now); err != nil {
		e.fail(err)
	}
	return next
}

// flush sends what the last round multicast, and tells the node what is safe: after the
// shards have run, so that what they refused is known.
func (r *ring) flush(e *engine, now time.Duration) {
	if err := r.hand(e, now); err != nil {
		e.fail(err)
	}
	r.told = r.safe
	e.node.Safe(r.safe)
}

// pending tells whether the ring has delivered something, or made it safe, that the round
// under way came too early for: a member that holds the token delivers what it multicasts at
// once.
func (r *ring) pending() bool { return r.news || r.told != r.safe }

// hand takes what the machine has to say: packets to the link first, so that the token is
// on its way while this member works on what came with it.
func (r *ring) hand(e *engine, now time.Duration) error {
	ready := r.machine.Ready()
	if ready.SaveRingSeq {
		if err := r.save(ready.RingSeq); err != nil {
			return fmt.Errorf("cannot save the ring's number: %w", err)
		}
	}
	if len(ready.Send) > 0 {
		r.link.Send(ready.Send)
	}
	r.news = r.news || len(ready.Events) > 0
	for i := range ready.Events {
		ev := &ready.Events[i]
		if ev.Message {
			e.node.Message(now, ev.Number, memberID(ev.From), ev.Parts)
			continue
		}
		r.view(e, now, ev.View)
	}
	r.safe = ready.Safe
	return nil
}

func (r *ring) view(e *engine, now time.Duration, v *cpg.View) {
	c := &cluster.View{RingRep: uint32(v.Ring.Rep), RingSeq: v.Ring.Seq,
		Members: memberIDs(v.Members), Came: memberIDs(v.Transitional)}
	for _, l := range v.Left {
		if l.Clean() {
			c.LeftCleanly = append(c.LeftCleanly, memberID(l.Member))
		}
		r.log.Log(context.Background(), logging.Notice, "member left", "member", l.Member, "clean", l.Clean())
	}
	for _, m := range v.Joined {
		r.log.Info("member joined", "member", m)
	}
	r.members = c.Members
	e.node.View(now, c)
}
