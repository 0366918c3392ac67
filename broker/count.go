package broker

import "slices"

// How many messages of a queue are ready, and when a purge of them is done, its dispatcher alone
// knows. A request that asks for that is answered by an entry of the dispatcher: the member where it
// was made keeps a question until then, and asks the next dispatcher when the queue changes hands.
// As the answer is an entry, it is as safe as what it tells of.

// question is a request that waits for the dispatcher's answer.
type question struct {
	index Index  // of the request's entry, which names it
	purge bool   // of the messages up to to; else how many are ready
	to    Index  // purge
	from  uint64 // purge, on the dispatcher: Queue.purged when it came
}

// ask has the dispatcher answer the request in e. Every member comes here with it.
func (b *Broker) ask(e *Entry, q *Queue, x question) *Result {
	if e.From == b.cfg.Self {
		q.asked = append(q.asked, x)
	}
	b.put(q, x)
	return &Result{Awaits: true, Consumers: q.consumerCount()}
}

// put puts a question to the dispatcher, if that is this member.
func (b *Broker) put(q *Queue, x question) {
	if q.dispatcher != b.cfg.Self {
		return
	}
	if !x.purge && q.knows() {
		b.proposals = appendCounted(b.proposals, q, x.index, q.readyBefore(x.index))
		return
	}
	x.from = q.purged
	q.questions = append(q.questions, x)
	if x.purge {
		q.purging, q.purgeTo = true, max(q.purgeTo, x.to)
	}
	q.shard.mark(q)
}

// knows tells whether this member, the dispatcher, knows what is ready: nothing is being purged, and
// everybody has said what they hold.
func (q *Queue) knows() bool { return !q.purging && len(q.waiting) == 0 }

// answerQuestions tells what was asked. What was purged has been proposed by now, and comes first.
func (s *shard) answerQuestions(q *Queue) {
	for _, x := range q.questions {
		n := q.purged - x.from
		if !x.purge {
			n = q.readyBefore(x.index)
		}
		s.out.entries = appendCounted(s.out.entries, q, x.index, n)
	}
	q.questions = q.questions[:0]
}

// readyBefore is how many of the ready messages came before an entry: who asks for their number does
// not mean those that came behind the question.
func (q *Queue) readyBefore(i Index) uint64 {
	n := q.ready
	for pos := q.tail; pos > q.head && q.at(pos-1).index > i; pos-- {
		if q.at(pos-1).state == slotReady {
			n--
		}
	}
	return uint64(max(n, 0))
}

// askAgain puts what was asked of a dispatcher to the next one.
func (b *Broker) askAgain(q *Queue) {
	q.questions, q.purging = nil, false
	for _, x := range q.asked {
		if x.purge && q.count > 0 {
			b.proposals = appendPurgeAgain(b.proposals, q, x)
			continue
		}
		b.proposals = appendCounted(b.proposals, q, x.index, q.readyBefore(x.index))
	}
}

// answerAll answers what was asked of a queue that is gone.
func (b *Broker) answerAll(q *Queue) {
	for _, x := range q.asked {
		b.proposals = appendCounted(b.proposals, q, x.index, 0)
	}
	q.asked, q.questions = nil, nil
}

func appendCounted(b []byte, q *Queue, request Index, messages uint64) []byte {
	w := BeginEntry(b, KindCounted, 0)
	if q.keeps() {
		w.setFlags(FlagLogged)
	}
	w.Uint(uint64(q.id))
	w.Uint(uint64(request))
	w.Uint(messages)
	return w.End()
}

// counted takes an answer. Whoever keeps the request knows it by its index.
func (b *Broker) counted(e *Entry) (*Result, error) {
	_, r, err := openEntry(e.Record)
	if err != nil {
		return nil, err
	}
	q, request, messages := b.byID[QueueID(r.Uint())], Index(r.Uint()), r.Uint()
	if r.Err != nil {
		return nil, r.Err
	}
	if q != nil {
		q.asked = slices.DeleteFunc(q.asked, func(x question) bool { return x.index == request })
	}
	return &Result{Answers: request, Messages: messages}, nil
}

// appendPurgeAgain is the purge in x once more: of what it meant then, whatever came since.
func appendPurgeAgain(b []byte, q *Queue, x question) []byte {
	w := BeginEntry(b, KindQueuePurge, 0)
	w.Text(q.name)
	w.Uint(uint64(q.id))
	w.Uint(uint64(x.index))
	w.Uint(uint64(x.to))
	return w.End()
}

// queuePurge is a client's purge of a queue, or one that is asked for again.
func (b *Broker) queuePurge(e *Entry, from Origin, r *Reader) *Result {
	name := r.str()
	x := question{index: e.Index, purge: true, to: e.Index}
	var again QueueID
	if r.Err == nil && len(r.Rest) > 0 {
		again, x.index, x.to = QueueID(r.Uint()), Index(r.Uint()), Index(r.Uint())
	}
	q := b.queues[name]
	switch {
	case r.Err != nil || b.replaying: // what became of the messages follows
		return nil
	case again != 0:
		if q != nil && q.id == again {
			b.put(q, x)
		}
		return nil
	case q == nil:
		return fail(NotFound, "no queue '%s'", name)
	}
	if res := q.locked(from); res != nil {
		return res
	}
	if q.count == 0 {
		return q.result()
	}
	return b.ask(e, q, x)
}

// countFor is the answer to a request of the entry e for how many messages and consumers q has.
func (b *Broker) countFor(e *Entry, q *Queue) *Result {
	switch {
	case q.count == 0 || b.replaying:
	case q.dispatcher != e.From, q.dispatcher == b.cfg.Self && !q.knows():
		return b.ask(e, q, question{index: e.Index})
	}
	return q.result()
}
