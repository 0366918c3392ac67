package daemon

import (
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// ownRing is the provider that needs nothing else: the ring's state machine, and its link.
type ownRing struct {
	*cpg.Machine
	link    link.Link
	packets []wire.Packet
	save    func(seq uint64) error
	trouble *troubles
	pass    *datapath.Pass // of the token by the kernel; nil: there is none
	guard   *datapath.Choice
	drained bool        // the last receive took all that had come
	probes  exam.Probes // of doctors
	// outdated is told by which config_version this node's configuration is out of date; an error ends it.
	outdated func(newest uint64) error

	times datapath.TokenTimes
	clock func() time.Duration
	visit bool          // a token has just been taken
	sent  time.Duration // it was sent then; 0: not yet
}

// receiveBatch is how many packets are taken from the link at a time: one aggregate of the
// kernel's holds up to 64.
const receiveBatch = 128

func newOwnRing(m *cpg.Machine, l link.Link, save func(uint64) error, clock func() time.Duration, trouble *troubles) *ownRing {
	trouble.ring, trouble.link = m, l
	return &ownRing{Machine: m, link: l, save: save, clock: clock, trouble: trouble, packets: make([]wire.Packet, receiveBatch)}
}

// maxReceives bounds the batches taken before clients get their turn.
const maxReceives = 16

func (r *ownRing) receive(now time.Duration, t taker) error {
	r.pass.Take(now, r.Machine)
	r.drained = false
	for range maxReceives {
		n := r.link.Recv(r.packets)
		for i := range n {
			if err := r.step(now, &r.packets[i], t); err != nil {
				return err
			}
		}
		if n < len(r.packets) {
			r.drained = true
			return nil
		}
	}
	return nil
}

// step takes one packet, and measures what a token has of its time.
func (r *ownRing) step(now time.Duration, p *wire.Packet, t taker) error {
	seq, token := wire.TokenSeq(p.Data)
	var read, at time.Duration
	exact, before := false, uint64(0)
	if token {
		read, before = r.clock(), r.Stats().Totem.Tokens
		at, exact = r.times.Came(read, p, seq, r.pass)
	}
	if !r.probes.Take(p.Data) {
		r.Step(now, *p)
	}
	p.Release()
	*p = wire.Packet{}
	r.visit, r.sent = token, 0
	err := r.flush(now, t)
	if r.visit = false; token && r.Stats().Totem.Tokens != before {
		r.times.Visited(at, exact, read, r.sent)
	}
	return err
}

// flush takes what the machine has to say: packets to the link first, so that the token is
// on its way while this member works on what came with it.
func (r *ownRing) flush(now time.Duration, t taker) error {
	quit := r.compare(now)
	ready := r.Ready()
	if ready.SaveRingSeq {
		if err := r.save(ready.RingSeq); err != nil {
			return fmt.Errorf("cannot save the ring's number: %w", err)
		}
	}
	if len(ready.Send) > 0 {
		r.guard.Hold(r.Machine)
		r.link.Send(ready.Send)
		for i := 0; r.visit && i < len(ready.Send); i++ {
			if _, token := wire.TokenSeq(ready.Send[i].Data); token {
				r.sent = r.clock()
				break
			}
		}
	}
	if quit != nil {
		return quit
	}
	t.take(now, ready.Events, ready.Safe)
	return nil
}

// compare leaves the ring if this node's configuration is not good enough for it.
func (r *ownRing) compare(now time.Duration) error {
	newest, yes := r.Outdated()
	if !yes {
		return nil
	}
	err := r.outdated(newest)
	if err != nil {
		r.Quit(now)
	}
	return err
}

func (r *ownRing) tick(now time.Duration, t taker) (time.Duration, error) {
	r.pass.Take(now, r.Machine)
	next := r.Tick(now)
	if wait := r.link.Tick(); wait != 0 && (next == 0 || now+wait < next) {
		next = now + wait
	}
	next = cluster.Soonest(next, r.trouble.look(now))
	err := r.flush(now, t)
	r.guard.Hold(r.Machine)
	// Last, so that it knows what there is to send.
	next = cluster.Soonest(next, r.pass.Say(now, r.Machine, r.drained))
	return next, err
}

func (r *ownRing) suspect(now time.Duration, node wire.NodeID) { r.Suspect(now, node) }

func (r *ownRing) expect(votes int) { r.Expect(uint32(votes)) }

func (r *ownRing) leave(now time.Duration) { r.Leave(now) }

func (r *ownRing) left() bool { return r.Left() }

func (r *ownRing) close() { r.link.Close() }
