package broker

import (
	"encoding/binary"
	"time"
)

// How messages leave queues: entries that a member proposes about what it holds.
//
// A dequeue or release entry is its header and a list of messages:
//
//	12 queue u64  20 count u32  24 index u64 …   repeated for each queue
//
// Flag 1 of a release says that the deliveries count as failed.
const (
	listHead           = 12
	flagCounted uint8  = 1
	maxListed   uint32 = 1 << 20
)

// appendDequeue appends one dequeue entry for all of done.
func appendDequeue(b []byte, done []Done) []byte {
	w := beginEntry(b, KindDequeue, 0)
	w.b = appendLists(w.b, done)
	return w.end()
}

func appendRelease(b []byte, done []Done, counted bool) []byte {
	w := beginEntry(b, KindRelease, 0)
	if counted {
		w.b[w.from+5] = flagCounted
	}
	w.b = appendLists(w.b, done)
	return w.end()
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
	return b.eachListed(r.b, func(q *Queue, i Index) {
		q.shard.ops = append(q.shard.ops, op{kind: opDequeue, q: q, index: i})
	})
}

func (b *Broker) applyRelease(e *Entry) error {
	h, r, err := openEntry(e.Record)
	if err != nil {
		return err
	}
	counted := h.Flags&flagCounted != 0
	return b.eachListed(r.b, func(q *Queue, i Index) {
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
		s.out.done = append(s.out.done, Done{Queue: q.id, Index: m.index})
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
	w := beginEntry(s.out.entries, KindDeadLetter, 0)
	w.uint(uint64(q.id))
	w.uint(uint64(m.index))
	w.str(exchange)
	w.str(*key)
	w.b = append(w.b, props...)
	s.out.entries = w.end()
}

// deadLetter takes a message out of its queue and publishes it anew, with the properties
// that the entry carries and the body that is in the log already.
func (b *Broker) deadLetter(e *Entry, r *reader) {
	q := b.byID[QueueID(r.uint())]
	index, exchange, key := Index(r.uint()), r.str(), r.str()
	if r.err != nil || q == nil || q.deleted {
		return
	}
	pos, ok := q.find(index)
	if !ok {
		return
	}
	var p Publish
	if err := ParsePublish(b.log.Bytes(q.at(pos).ref), &p); err != nil {
		panic("broker: a queued record is no publish: " + err.Error())
	}
	body := p.Body
	p.Exchange, p.Key, p.Props, p.Body, p.Conn = []byte(exchange), []byte(key), r.b, nil, 0
	p.Flags &^= FlagMandatory | FlagTTL
	if x := b.exchanges[exchange]; x != nil {
		head := AppendPublishHead(nil, &p, len(body))
		ref, err := b.log.Append(e.Index, p.Flags&FlagDurable != 0, head, body)
		if err != nil {
			panic("broker: no room for a dead letter: " + err.Error())
		}
		again := Entry{Index: e.Index, From: e.From, Now: e.Now, Ref: ref}
		b.routePublish(&again, x, &p)
		// A message that nobody took is let go like any other record.
		b.log.Retain(ref, 1)
		q.shard.out.drops = append(q.shard.out.drops, ref)
	}
	q.shard.take(q, pos)
	q.shard.mark(q)
	if q.draining && q.count == 0 {
		b.dropQueue(q)
	}
}

// appendExpireQueue proposes the end of a queue that was not used since its lastUse.
func appendExpireQueue(b []byte, q *Queue) []byte {
	w := beginEntry(b, KindQueueDelete, 0)
	w.str(q.name)
	w.bool(true)
	w.bool(false)
	w.uint(uint64(q.lastUse))
	return w.end()
}
