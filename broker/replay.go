package broker

import (
	"slices"
	"time"
)

// What a member does with its own journal when it starts: the durable entries are applied once
// more, without anybody being served. Only durable queues take messages; wiring is followed in
// full, as it decides where messages went.

// Replay applies one durable entry again. Settled follows now and then.
func (b *Broker) Replay(e *Entry) error {
	b.replaying = true
	defer func() { b.replaying = false }()
	if _, err := b.Apply(e); err != nil {
		return err
	}
	if h, _ := ParseHeader(e.Record); h.Kind == KindPublish && len(e.Record) == int(h.Size)+deathBytes {
		b.replayDeath(e, e.Record[h.Size:])
	}
	return nil
}

// Settled has what was replayed take effect, and lets go of what that leaves behind.
func (b *Broker) Settled(now time.Duration) {
	b.settled(now)
	for b.bury(1 << 20) {
	}
}

func (b *Broker) settled(now time.Duration) {
	b.Settle(now)
	for _, s := range b.shards {
		for _, ref := range s.out.drops {
			b.log.Drop(ref)
		}
		s.out.reset()
	}
	b.proposals = b.proposals[:0]
}

// Moved tells that the record of an index is at ref from now on: it was carried forward.
func (b *Broker) Moved(i Index, ref Ref) {
	for _, q := range b.order {
		if pos, ok := q.find(i); ok {
			m := q.own(pos)
			b.log.Retain(ref, 1)
			b.log.Drop(m.ref)
			m.ref = ref
		}
	}
}

// Locate tells where the record of a message is.
func (b *Broker) Locate(id QueueID, i Index) (Ref, bool) {
	q := b.byID[id]
	if q == nil {
		return Ref{}, false
	}
	pos, ok := q.find(i)
	if !ok {
		return Ref{}, false
	}
	return q.at(pos).ref, true
}

// Forsake lets go of all messages: this state is given up.
func (b *Broker) Forsake(now time.Duration) {
	for !b.Fade(now, 1<<20) {
	}
}

// Fade is Forsake for so many messages, and tells whether none is left. It is all that a broker is
// asked from then on.
func (b *Broker) Fade(now time.Duration, messages int) (done bool) {
	b.settled(now)
	b.endCarrying()
	b.graves = append(b.graves, b.order...)
	b.order = nil
	if b.bury(messages) {
		return false
	}
	b.Reset()
	return true
}

// Revive begins to serve a state that outlived its members, in e: what was not durable is gone
// with them.
func (b *Broker) Revive(e *Entry, members []MemberID) {
	b.Settled(e.Now)
	for _, q := range slices.Clone(b.order) {
		if !q.deleted && !q.keeps() {
			q.options.AlternateExchange = "" // it had nothing that could go there
			b.deleteQueue(e, q)
		}
	}
	for _, name := range sortedNames(b.exchanges) {
		if x := b.exchanges[name]; x != nil && !x.options.Durable && !x.predeclared {
			b.dropExchange(x)
		}
	}
	b.Anew(e, members)
}
