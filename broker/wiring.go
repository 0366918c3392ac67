package broker

import "strings"

// What changes exchanges, queues and bindings. Every function here runs on every member at
// the same place of the order and must come to the same end on each.

// Limits of wiring.
const (
	maxQueues    = 1 << 20
	maxExchanges = 1 << 16
)

func (b *Broker) queueDeclare(e *Entry, from Origin, r *Reader) *Result {
	passive, name, o := r.bool(), r.str(), r.queueOptions()
	if r.Err != nil {
		return nil
	}
	if q := b.queues[name]; q != nil {
		return b.redeclare(e, from, q, passive, &o)
	}
	if passive {
		return fail(NotFound, "no queue '%s'", name)
	}
	if len(b.queues) >= maxQueues {
		return fail(Refused, "queue '%s': there are %d queues already, the most there can be", name, maxQueues)
	}
	if len(name) == 0 || len(name) > MaxNameBytes {
		return fail(PreconditionFailed, "a queue's name has 1 to %d bytes", MaxNameBytes)
	}
	q := &Queue{id: QueueID(e.Index), name: name, options: o, shard: b.shardOf(name), lastUse: e.Index}
	if o.Exclusive {
		q.owner = from
		b.ties.add(from, q)
	}
	q.dispatcher, q.epoch, q.usedAt = e.From, e.Index, e.Now
	b.addQueue(q)
	return &Result{}
}

func (b *Broker) addQueue(q *Queue) {
	b.queues[q.name], b.byID[q.id] = q, q
	b.order = append(b.order, q)
	if q.options.Expires != nil {
		q.shard.watch(q)
	}
}

func (b *Broker) redeclare(e *Entry, from Origin, q *Queue, passive bool, o *QueueOptions) *Result {
	if res := q.locked(from); res != nil {
		return res
	}
	if !passive {
		if q.options.Exclusive != o.Exclusive {
			return q.lockedResult()
		}
		if d := q.options.differ(o); d.option != "" {
			return d.refusal("queue", q.name)
		}
	}
	q.lastUse, q.usedAt = e.Index, e.Now
	return b.countFor(e, q)
}

// locked refuses the use of another connection's exclusive queue.
func (q *Queue) locked(from Origin) *Result {
	if q.options.Exclusive && q.owner != from {
		return q.lockedResult()
	}
	return nil
}

// lockedResult has RabbitMQ's words. They are meant for both: a queue that is another connection's, and
// one that is declared exclusive and was not, or the other way round.
func (q *Queue) lockedResult() *Result {
	return fail(ResourceLocked, "cannot obtain exclusive access to locked queue '%s'. It could be originally declared on "+
		"another connection or the exclusive property value does not match that of the original declaration.", q.name)
}

func (q *Queue) result() *Result {
	return &Result{Messages: uint64(q.ready), Consumers: q.consumerCount()}
}

func (b *Broker) queueDelete(e *Entry, from Origin, r *Reader) *Result {
	name, ifUnused, ifEmpty := r.str(), r.bool(), r.bool()
	var expire Index
	if r.Err == nil && len(r.Rest) > 0 {
		expire = Index(r.Uint())
	}
	if r.Err != nil {
		return nil
	}
	q := b.queues[name]
	switch {
	case q == nil:
		return fail(NotFound, "no queue '%s'", name)
	case expire != 0:
		if q.lastUse != expire || len(q.consumers) > 0 {
			return nil
		}
	default:
		if res := q.locked(from); res != nil {
			return res
		}
	}
	if ifUnused && len(q.consumers) > 0 {
		return fail(PreconditionFailed, "queue '%s' in use", name)
	}
	if ifEmpty && q.count > 0 {
		return fail(PreconditionFailed, "queue '%s' not empty", name)
	}
	res := &Result{Messages: uint64(q.ready)}
	b.deleteQueue(e, q)
	return res
}

// Effect appends what a journal has of an entry that was applied, if not the entry itself: whether a queue
// was empty it cannot tell, so it is told whether that was deleted.
func Effect(b, entry []byte, went bool) (effect []byte, differs bool) {
	h, r, err := openEntry(entry)
	if err != nil || h.Kind != KindQueueDelete {
		return b, false
	}
	if !went {
		w := BeginEntry(b, KindRelease, 0) // of nothing
		w.setFlags(FlagLogged)
		return w.End(), true
	}
	name, ifUnused, _ := r.str(), r.bool(), r.bool()
	if r.Err != nil {
		return b, false
	}
	w := BeginEntry(b, KindQueueDelete, h.Conn)
	w.Text(name)
	w.bool(ifUnused)
	w.bool(false)
	w.Bytes = append(w.Bytes, r.Rest...)
	return w.End(), true
}

// deleteQueue takes q out of the wiring. Messages go to its alternate exchange if it has
// one, which takes its dispatcher some entries; else they are dropped at once.
func (b *Broker) deleteQueue(e *Entry, q *Queue) {
	delete(b.queues, q.name)
	for _, name := range sortedNames(b.exchanges) {
		b.unbindFrom(b.exchanges[name], func(t *binding) bool { return t.queue == q })
	}
	for _, l := range q.locals {
		l.gone = true
		q.shard.out.deliveries = append(q.shard.out.deliveries,
			Delivery{Conn: l.port.Conn, Answer: Answer{Kind: AnsCancelled, Consumer: l.id}})
	}
	q.consumers, q.locals = nil, nil
	b.answerAll(q)
	if q.options.AlternateExchange != "" && q.count > 0 {
		q.draining = true
		q.peers = nil
		q.shard.mark(q)
		return
	}
	b.dropQueue(q)
}

// dropQueue ends a queue. What it holds is let go of a little at a time.
func (b *Broker) dropQueue(q *Queue) {
	q.deleted, q.reached, q.count = true, 0, 0
	b.graves = append(b.graves, q)
	delete(b.byID, q.id)
	for i, o := range b.order {
		if o == q {
			b.order = append(b.order[:i], b.order[i+1:]...)
			break
		}
	}
}

// bury lets go of so many messages of queues that are gone, and tells whether there are more.
func (b *Broker) bury(messages int) (more bool) {
	for ; len(b.graves) > 0; b.graves = b.graves[1:] {
		q := b.graves[0]
		for ; q.head < q.tail; messages-- {
			if messages == 0 {
				return true
			}
			if s := q.at(q.head); s.state != slotGone && s.state != slotComing {
				b.log.Drop(s.ref)
			}
			q.remove(q.head)
		}
		q.shard.chunks.drop(q.chunks)
		q.chunks = nil
		b.graves[0] = nil
	}
	return false
}

// unbindFrom removes bindings of x, and x with its last one if it is auto-delete.
func (b *Broker) unbindFrom(x *exchange, gone func(*binding) bool) bool {
	removed := x.remove(gone)
	if removed && x.options.AutoDelete && len(x.bindings) == 0 {
		b.dropExchange(x)
	}
	return removed
}

func (b *Broker) dropExchange(x *exchange) {
	delete(b.exchanges, x.name)
	for _, name := range sortedNames(b.exchanges) {
		if y := b.exchanges[name]; y != nil {
			b.unbindFrom(y, func(t *binding) bool { return t.exchange == x })
		}
	}
}

func (b *Broker) exchangeDeclare(r *Reader) *Result {
	passive, name, o := r.bool(), r.str(), r.exchangeOptions()
	if r.Err != nil {
		return nil
	}
	if x := b.exchanges[name]; x != nil {
		if passive || x.options == o {
			return &Result{}
		}
		d := x.options.differ(&o)
		return d.refusal("exchange", name)
	}
	switch {
	case passive:
		return fail(NotFound, "no exchange '%s'", name)
	case o.Type < Direct || o.Type > Headers:
		return fail(PreconditionFailed, "exchange '%s': unknown type %d", name, o.Type)
	case strings.HasPrefix(name, "amq."):
		return fail(AccessRefused, "exchange name '%s' contains reserved prefix 'amq.*'", name)
	case len(b.exchanges) >= maxExchanges:
		return fail(Refused, "exchange '%s': there are %d exchanges already, the most there can be", name, maxExchanges)
	case len(name) > MaxNameBytes:
		return fail(PreconditionFailed, "an exchange's name has 1 to %d bytes", MaxNameBytes)
	}
	b.exchanges[name] = newExchange(name, o)
	return &Result{}
}

func (b *Broker) exchangeDelete(r *Reader) *Result {
	name, ifUnused := r.str(), r.bool()
	if r.Err != nil {
		return nil
	}
	x := b.exchanges[name]
	switch {
	case x == nil:
		return fail(NotFound, "no exchange '%s'", name)
	case x.predeclared:
		return fail(AccessRefused, "exchange '%s' is always there and cannot be deleted", name)
	case ifUnused && len(x.bindings) > 0:
		return fail(PreconditionFailed, "exchange '%s' in use", name)
	}
	b.dropExchange(x)
	return &Result{}
}

func (b *Broker) bind(from Origin, r *Reader, add bool) *Result {
	d := r.binding()
	if r.Err != nil {
		return nil
	}
	x := b.exchanges[d.Exchange]
	if x == nil {
		return fail(NotFound, "no exchange '%s'", d.Exchange)
	}
	t := &binding{key: d.Key, match: d.Match, fields: d.Fields, hasArgs: d.HasFields}
	if d.ToExchange {
		if t.exchange = b.exchanges[d.Target]; t.exchange == nil {
			return fail(NotFound, "no exchange '%s'", d.Target)
		}
		if d.Target == "" || d.Exchange == "" {
			return fail(AccessRefused, "the default exchange cannot be bound")
		}
	} else {
		if t.queue = b.queues[d.Target]; t.queue == nil {
			return fail(NotFound, "no queue '%s'", d.Target)
		}
		if res := t.queue.locked(from); res != nil {
			return res
		}
		if d.Exchange == "" {
			return fail(AccessRefused, "operation not permitted on the default exchange")
		}
	}
	if add {
		x.add(t)
	} else {
		b.unbindFrom(x, t.same)
	}
	return &Result{}
}
