package broker

import (
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

// Config is what a Broker is made with.
type Config struct {
	Self    MemberID
	Shards  int // queues are divided among so many; 0 is 1
	Log     Log
	Memory  Memory // nil is the Go heap
	Headers HeaderFunc
	// Rewrite returns the properties of a message that is dead-lettered from queue for
	// reason, with the death added to them, appended to dst. Nil leaves them as they are.
	Rewrite func(p *Publish, queue, reason string, unixSeconds int64, dst []byte) []byte
	// Unix is the time of day, in seconds, at now = 0.
	Unix int64
}

// Broker is the state that all members share, and what this one does about it.
//
//	res := b.Apply(e)    // for each entry, in order
//	b.Run(now)           // after each batch of them, and when Tick is due
//	b.Collect(…)         // what came of it
type Broker struct {
	// Crowded is set by the owner while much of what was proposed is still to be multicast.
	Crowded bool

	cfg       Config
	log       Log
	exchanges map[string]*exchange
	queues    map[string]*Queue
	byID      map[QueueID]*Queue
	order     []*Queue // all queues that are not gone, in order of declaration
	ties      ties
	shards    []*shard
	members   []MemberID // those that take part, sorted
	ports     map[ConnID]*Port
	handles   []MemberID // peers by handle
	applied   Index
	router    router
	early     []earlyMesh
	earlyFrom map[MemberID]int // how many of them are whose
	proposals []byte           // entries to be proposed that no shard made
	scratch   []byte
	publish   Publish
	replaying bool
	carrier   carrier
	graves    []*Queue // deleted, with messages to be let go of
	seed      maphash.Seed
}

// New returns a broker with the exchanges that are always there.
func New(cfg Config) *Broker {
	b := &Broker{cfg: cfg, log: cfg.Log, ports: map[ConnID]*Port{}, seed: maphash.MakeSeed()}
	b.router.headers = cfg.Headers
	b.Reset()
	return b
}

// Reset forgets all that is replicated, as a member does before it takes another's state.
// Records are not given back one by one: the log is emptied by its owner.
func (b *Broker) Reset() {
	for _, q := range b.order {
		q.shard.chunks.drop(q.chunks)
	}
	for _, s := range b.shards {
		s.chunks.close()
	}
	b.exchanges = map[string]*exchange{}
	b.queues, b.byID, b.order = map[string]*Queue{}, map[QueueID]*Queue{}, nil
	b.ties = ties{}
	b.members, b.early, b.proposals, b.applied = nil, nil, nil, 0
	b.earlyFrom = map[MemberID]int{}
	b.carrier, b.graves = carrier{}, nil
	b.shards = nil
	for range max(b.cfg.Shards, 1) {
		b.shards = append(b.shards, &shard{b: b, chunks: chunks{memory: b.cfg.Memory}})
	}
	for _, x := range []struct {
		name string
		kind ExchangeType
	}{{"", Direct}, {"amq.direct", Direct}, {"amq.fanout", Fanout}, {"amq.topic", Topic},
		{"amq.headers", Headers}, {"amq.match", Headers}} {
		b.exchanges[x.name] = newExchange(x.name, ExchangeOptions{Type: x.kind, Durable: true})
		b.exchanges[x.name].predeclared = true
	}
	for _, p := range b.ports {
		p.locals = nil
	}
}

// Entry is one entry at its place in the order.
type Entry struct {
	Index  Index
	From   MemberID
	Number uint64 // of the connection's request, if it is one of this member's
	Now    time.Duration
	Record []byte
	Ref    Ref
}

// Apply applies one entry and returns how it ended; nil is a publish, or an entry that
// nobody asked for, that went well. A malformed entry changes nothing, on every member alike.
func (b *Broker) Apply(e *Entry) (*Result, error) {
	b.applied = e.Index
	h, err := ParseHeader(e.Record)
	if err != nil {
		return &Result{Code: NotAllowed, Text: err.Error()}, err
	}
	switch h.Kind {
	case KindPublish:
		return b.applyPublish(e)
	case KindDequeue:
		return nil, b.applyDequeue(e)
	case KindRelease:
		return nil, b.applyRelease(e)
	case KindCounted:
		return b.counted(e)
	}
	// Everything else may change wiring: the shards finish what was routed before it.
	b.Settle(e.Now)
	return b.applyWiring(e, h)
}

func (b *Broker) applyWiring(e *Entry, h Header) (*Result, error) {
	_, r, err := openEntry(e.Record)
	if err != nil {
		return &Result{Code: NotAllowed, Text: err.Error()}, err
	}
	from := Origin{Member: e.From, Conn: h.Conn}
	var res *Result
	switch h.Kind {
	case KindQueueDeclare:
		res = b.queueDeclare(e, from, &r)
	case KindQueueDelete:
		res = b.queueDelete(e, from, &r)
	case KindQueuePurge:
		res = b.queuePurge(e, from, &r)
	case KindExchangeDeclare:
		res = b.exchangeDeclare(&r)
	case KindExchangeDelete:
		res = b.exchangeDelete(&r)
	case KindBind, KindUnbind:
		res = b.bind(from, &r, h.Kind == KindBind)
	case KindSubscribe:
		res = b.subscribe(e, from, &r)
	case KindCancel:
		res = b.cancel(e, from, &r)
	case KindConnClosed:
		b.connClosed(e, from)
	case KindDeadLetter:
		b.deadLetter(e, h, &r)
	case KindHeld:
		b.held(e, &r)
	default:
		return nil, fmt.Errorf("entry of kind %d is not the broker's", h.Kind)
	}
	if r.Err != nil {
		return &Result{Code: NotAllowed, Text: r.Err.Error()}, r.Err
	}
	return res, nil
}

func (b *Broker) applyPublish(e *Entry) (*Result, error) {
	p := &b.publish
	if err := ParsePublish(e.Record, p); err != nil {
		return &Result{Code: NotAllowed, Text: err.Error()}, err
	}
	x := b.exchanges[string(p.Exchange)]
	if x == nil {
		return fail(NotFound, "no exchange '%s'", p.Exchange), nil
	}
	if x.options.Internal && !b.replaying {
		return fail(AccessRefused, "exchange '%s' is internal: publish to the exchange it is bound to", p.Exchange), nil
	}
	return b.routePublish(e, x, p, len(p.Body)), nil
}

// routePublish gives p, whose body is in the record, not always in p, to the queues that it goes to.
func (b *Broker) routePublish(e *Entry, x *exchange, p *Publish, bodyBytes int) *Result {
	if x.name == "" {
		b.router.found = b.router.found[:0]
		if q := b.queues[string(p.Key)]; q != nil {
			b.router.found = append(b.router.found, q)
		}
	} else {
		b.router.route(x, p, b.exchanges)
	}
	found := b.router.found
	if len(p.Trail) > 0 {
		found = slices.DeleteFunc(found, p.died)
	}
	if b.replaying {
		found = slices.DeleteFunc(found, func(q *Queue) bool { return !q.keeps() })
	}
	if len(found) == 0 {
		if p.Flags&FlagMandatory != 0 {
			return fail(NoRoute, "no queue of exchange '%s' takes key '%s'", p.Exchange, p.Key)
		}
		return nil
	}
	b.log.Retain(e.Ref, len(found))
	for _, q := range found {
		q.shard.ops = append(q.shard.ops, op{
			kind: opEnqueue, q: q, index: e.Index, ref: e.Ref,
			apart: e.Ref.Length - min(uint32(bodyBytes), e.Ref.Length),
			ttl:   p.TTL, hasTTL: p.Flags&FlagTTL != 0, conn: p.Conn, number: e.Number,
			logged: p.Flags&FlagDurable != 0 && q.keeps(), decided: b.replaying, own: e.From == b.cfg.Self && !b.replaying,
		})
	}
	return nil
}

// Settle runs what was routed so far, without handing anything out.
func (b *Broker) Settle(now time.Duration) {
	for _, s := range b.shards {
		for i := range s.ops {
			s.apply(now, &s.ops[i])
		}
		clear(s.ops)
		s.ops = s.ops[:0]
	}
}

// Run runs the shards. It returns whether there is more to do at once.
func (b *Broker) Run(now time.Duration) (more bool) {
	b.replayEarly(now)
	for _, s := range b.shards {
		s.run(now)
		more = more || s.again
	}
	return b.bury(buryMessages) || more
}

// buryMessages is how many messages of deleted queues are let go of in a run.
const buryMessages = 4 << 10

// Tick does what is due by the clock; Run follows it.
func (b *Broker) Tick(now time.Duration) {
	for _, s := range b.shards {
		s.tick(now)
	}
}

// Timed tells whether any queue looks at the clock.
func (b *Broker) Timed() bool {
	for _, s := range b.shards {
		if len(s.timed) > 0 {
			return true
		}
	}
	return false
}

// Sink takes what the shards have produced. The slices are the broker's again afterwards.
type Sink interface {
	Deliveries([]Delivery)
	Refusals([]Refusal)
	Propose(entries []byte) // entries, back to back, of this member
	Mesh([]MeshOut)
}

// Collect hands over what has come of the last runs.
func (b *Broker) Collect(to Sink) {
	for _, s := range b.shards {
		o := &s.out
		if len(o.done) > 0 {
			b.scratch = appendDequeue(b.scratch[:0], o.done, false)
			to.Propose(b.scratch)
		}
		if len(o.logged) > 0 {
			b.scratch = appendDequeue(b.scratch[:0], o.logged, true)
			to.Propose(b.scratch)
		}
		if len(o.entries) > 0 {
			to.Propose(o.entries)
		}
		if len(o.deliveries) > 0 {
			to.Deliveries(o.deliveries)
		}
		if len(o.refusals) > 0 {
			to.Refusals(o.refusals)
		}
		if len(o.mesh) > 0 {
			to.Mesh(o.mesh)
		}
		for _, ref := range o.drops {
			b.log.Drop(ref)
		}
		o.reset()
	}
	// Last, so that what a connection settled goes before the release of what it held.
	if len(b.proposals) > 0 {
		to.Propose(b.proposals)
		b.proposals = b.proposals[:0]
	}
}

func (b *Broker) shardOf(name string) *shard {
	return b.shards[maphash.String(b.seed, name)%uint64(len(b.shards))]
}

func (b *Broker) peerHandle(m MemberID) holder {
	i := slices.Index(b.handles, m)
	if i < 0 {
		i = len(b.handles)
		b.handles = append(b.handles, m)
	}
	return firstPeer + 2*holder(i)
}

func fail(c Code, format string, args ...any) *Result {
	return &Result{Code: c, Text: fmt.Sprintf(format, args...)}
}
