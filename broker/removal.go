package broker

import (
	"encoding/binary"
	"slices"
	"time"
)

// How messages leave queues: entries that a member proposes about what it holds.
//
// A dequeue or release entry is its header and a list of messages:
//
//	12 queue u64  20 count u32  24 index u64 …   repeated for each queue
//
// Flag 1 of a release says that the deliveries count as failed. FlagLogged says that some of
// the messages are on the disk.
const (
	listHead           = 12
	flagCounted uint8  = 1
	maxListed   uint32 = 1 << 20
)

// appendDequeue appends one dequeue entry for all of done.
func appendDequeue(b []byte, done []Done, logged bool) []byte {
	w := BeginEntry(b, KindDequeue, 0)
	if logged {
		w.setFlags(FlagLogged)
	}
	w.Bytes = appendLists(w.Bytes, done)
	return w.End()
}

// AppendRefused appends an entry that has a message leave a queue in journals that was never in it, as a
// connection of the proposer's has been refused it.
func AppendRefused(b []byte, c ConnID, of Done) []byte {
	w := BeginEntry(b, KindDequeue, c)
	w.setFlags(FlagLogged)
	w.Bytes = appendLists(w.Bytes, []Done{of})
	return w.End()
}

func appendRelease(b []byte, done []Done, counted bool) []byte {
	w := BeginEntry(b, KindRelease, 0)
	flags := uint8(0)
	if counted {
		flags |= flagCounted
	}
	if slices.ContainsFunc(done, func(d Done) bool { return d.Logged }) {
		flags |= FlagLogged
	}
	w.setFlags(flags)
	w.Bytes = appendLists(w.Bytes, done)
	return w.End()
}

func appendLists(b []byte, done []Done) []byte {
	for i := 0; i < len(done); {
		q := done[i].Queue
		b = binary.LittleEndian.AppendUint64(b, uint64(q))
		count := len(b)
		b = append(b, 0, 0, 0, 0)
		n := uint32(0)
		for ; i < len(done) && done[i].Queue == q; i++ {
			b = binary.LittleEndian.AppendUint64(b, uint64(done[i].Index))
			n++
		}
		binary.LittleEndian.PutUint32(b[count:], n)
	}
	return b
}

// eachListed calls do for every message of a list; q is nil if its queue is gone.
func (b *Broker) eachListed(list []byte, do func(q *Queue, i Index)) error {
	for len(list) > 0 {
		if len(list) < listHead {
			return errShort
		}
		q := b.byID[QueueID(binary.LittleEndian.Uint64(list))]
		n := binary.LittleEndian.Uint32(list[8:])
		list = list[listHead:]
		if n > maxListed || uint64(n)*8 > uint64(len(list)) {
			return errShort
		}
		for ; n > 0; n-- {
			if q != nil {
				do(q, Index(binary.LittleEndian.Uint64(list)))
			}
			list = list[8:]
		}
	}
	return nil
}

func (b *Broker) applyDequeue(e *Entry) error {
	_, r, err := openEntry(e.Record)
	if err != nil {
		return err
	}
	return b.eachListed(r.Rest, func(q *Queue, i Index) {
		q.shard.ops = append(q.shard.ops, op{kind: opDequeue, q: q, index: i})
	})
}

func (b *Broker) applyRelease(e *Entry) error {
	h, r, err := openEntry(e.Record)
	if err != nil {
		return err
	}
	counted := h.Flags&flagCounted != 0
	return b.eachListed(r.Rest, func(q *Queue, i Index) {
		q.shard.ops = append(q.shard.ops, op{kind: opRelease, q: q, index: i, counted: counted})
	})
}

// reason is why a message leaves its queue without having been accepted.
type reason string

// Reasons; the first three are what the death is called in a message's headers.
const (
	reasonExpired   reason = "expired"
	reasonRejected  reason = "rejected"
	reasonMaxLength reason = "maxlen"
	reasonPurged    reason = "purged"
	reasonDeleted   reason = "deleted" // its queue was
)

// heir tells which exchange takes what q gives up for a reason, and under which key (nil:
// the message's own). A dead letter exchange takes what died, qpidd's alternate exchange
// what was rejected and what a deleted queue leaves behind.
func (q *Queue) heir(why reason) (exchange string, key *string, ok bool) {
	o := &q.options
	switch why {
	case reasonPurged:
		return "", nil, false
	case reasonExpired, reasonMaxLength, reasonRejected:
		if o.DeadLetter != nil {
			return *o.DeadLetter, o.DeadLetterKey, true
		}
	}
	if o.AlternateExchange != "" && (why == reasonRejected || why == reasonDeleted) {
		return o.AlternateExchange, nil, true
	}
	return "", nil, false
}

// proposeRemoval proposes that m leave q: to its heir, else for good.
func (s *shard) proposeRemoval(now time.Duration, q *Queue, m *slot, why reason) {
	exchange, key, ok := q.heir(why)
	if !ok {
		s.out.dequeue(q, m)
		return
	}
	var p Publish
	if err := ParsePublish(s.b.log.Bytes(m.ref), &p); err != nil {
		panic("broker: a queued record is no publish: " + err.Error())
	}
	props := p.Props
	if s.b.cfg.Rewrite != nil && why != reasonDeleted {
		unix := s.b.cfg.Unix + int64(now/time.Second)
		props = s.b.cfg.Rewrite(&p, q.name, string(why), unix, nil)
	}
	if key == nil {
		k := string(p.Key)
		key = &k
	}
	w := BeginEntry(s.out.entries, KindDeadLetter, 0)
	flags := uint8(0)
	if why == reasonRejected {
		flags |= flagRejected
	}
	if m.logged {
		flags |= FlagLogged
	}
	w.setFlags(flags)
	w.Uint(uint64(q.id))
	w.Uint(uint64(m.index))
	w.Text(exchange)
	w.Text(*key)
	w.Bytes = append(w.Bytes, props...)
	s.out.entries = w.End()
}

// flagRejected on a dead letter: a consumer would have it so.
const flagRejected uint8 = 1

// maxTrail is the longest way that a message dies along without anybody having rejected it.
const maxTrail = 64

// died reports whether a message died in q of itself, since it was last rejected. Such a message
// does not go there again: it would go round for ever, as fast as the members can go. After a
// consumer's rejection it may, as that is how retries with a delay are made. So does RabbitMQ.
func (p *Publish) died(q *Queue) bool {
	for t := p.Trail; len(t) > 0; t = t[8:] {
		if QueueID(binary.LittleEndian.Uint64(t)) == q.id {
			return true
		}
	}
	return len(p.Trail) > 8*maxTrail
}

// lengthen puts q on the trail of a message that dies there.
func (p *Publish) lengthen(q *Queue, rejected bool) {
	if rejected {
		p.Trail = nil
		return
	}
	p.Trail = binary.LittleEndian.AppendUint64(slices.Clip(p.Trail), uint64(q.id))
}

// deadLetter takes a message out of its queue and publishes it anew, with the properties
// that the entry carries and the body that is in the log already.
func (b *Broker) deadLetter(e *Entry, h Header, r *Reader) {
	q := b.byID[QueueID(r.Uint())]
	index, exchange, key := Index(r.Uint()), r.str(), r.str()
	if r.Err != nil || q == nil || q.deleted {
		return
	}
	pos, ok := q.find(index)
	if !ok {
		return
	}
	switch x := b.exchanges[exchange]; {
	case b.replaying: // what was made then follows; and the record may be gone from the disk
	case x != nil:
		b.publishDead(e, q, pos, x, h.Flags&flagRejected != 0, key, r.Rest)
	case h.Flags&FlagLogged != 0:
		if _, err := b.log.Append(e.Index, true, e.Record); err != nil {
			panic("broker: no room for an entry: " + err.Error())
		}
	}
	b.takeDead(q, pos)
}

func (b *Broker) takeDead(q *Queue, pos uint64) {
	q.shard.take(q, pos)
	q.shard.mark(q)
	if q.draining && q.count == 0 {
		b.dropQueue(q)
	}
}

// A durable message that has died is in journals as one record: as it is published anew, and, behind
// that, the queue and the index that it leaves, 8 bytes each. In two, one could be there without the other.
const deathBytes = 16

// replayDeath has a message leave that was published anew by this record.
func (b *Broker) replayDeath(e *Entry, death []byte) {
	q := b.byID[QueueID(binary.LittleEndian.Uint64(death))]
	if q == nil {
		return
	}
	b.Settle(e.Now)
	if pos, ok := q.find(Index(binary.LittleEndian.Uint64(death[8:]))); ok {
		b.takeDead(q, pos)
	}
}

// publishDead publishes the message at pos to x.
func (b *Broker) publishDead(e *Entry, q *Queue, pos uint64, x *exchange, rejected bool, key string, props []byte) {
	var p Publish
	if err := ParsePublish(b.log.Bytes(q.at(pos).ref), &p); err != nil {
		panic("broker: a queued record is no publish: " + err.Error())
	}
	body := p.Body
	p.lengthen(q, rejected)
	p.Exchange, p.Key, p.Props, p.Body, p.Conn = []byte(x.name), []byte(key), props, nil, 0
	p.Flags &^= FlagMandatory | FlagTTL
	head, durable := AppendPublishHead(nil, &p, len(body)), p.Flags&FlagDurable != 0
	var death []byte
	if durable {
		death = binary.LittleEndian.AppendUint64(death, uint64(q.id))
		death = binary.LittleEndian.AppendUint64(death, uint64(q.at(pos).index))
	}
	ref, err := b.log.Append(e.Index, durable, head, body, death)
	if err != nil {
		panic("broker: no room for a dead letter: " + err.Error())
	}
	again := Entry{Index: e.Index, From: e.From, Now: e.Now, Ref: ref}
	b.routePublish(&again, x, &p, len(body))
	// A message that nobody took is let go like any other record.
	b.log.Retain(ref, 1)
	q.shard.out.drops = append(q.shard.out.drops, ref)
}

// appendExpireQueue proposes the end of a queue that was not used since its lastUse.
func appendExpireQueue(b []byte, q *Queue) []byte {
	w := BeginEntry(b, KindQueueDelete, 0)
	w.Text(q.name)
	w.bool(true)
	w.bool(false)
	w.Uint(uint64(q.lastUse))
	return w.End()
}
