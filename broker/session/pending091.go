package session

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// numbered is a numbered request under way.
type numbered struct {
	ch      *channel091
	call    *call091 // of a publish: nil, or what went wrong
	kind    numberedKind
	confirm bool // a publish to be confirmed
}

type numberedKind uint8

const (
	aPublish  numberedKind = iota
	aCall                  // to be answered when completed
	aFinished              // answered
)

// call091 is a method that is answered when the member has answered.
type call091 struct {
	method   amqp091.MethodID
	noWait   bool
	reserved bool   // a declare of a reserved name, sent as passive: it may not create
	subject  string // "queue 'q'", for texts
	name     string
	consumer *consumer091
	result   broker.Result
}

// pending091 is the numbered requests under way, oldest first: a ring, as numbers are given
// and completed in order.
type pending091 struct {
	ring  []numbered // a power of two long
	head  int
	count int
	first uint64 // the number of the oldest
}

func (p *pending091) push(n numbered) {
	if p.count == len(p.ring) {
		p.grow()
	}
	if p.first == 0 {
		p.first = 1
	}
	p.ring[(p.head+p.count)&(len(p.ring)-1)] = n
	p.count++
}

func (p *pending091) grow() {
	ring := make([]numbered, max(16, 2*len(p.ring)))
	for i := range p.count {
		ring[i] = p.ring[(p.head+i)&(len(p.ring)-1)]
	}
	p.ring, p.head = ring, 0
}

// at returns the request of that number, nil if it is not under way.
func (p *pending091) at(number uint64) *numbered {
	if number < p.first || number-p.first >= uint64(p.count) {
		return nil
	}
	return &p.ring[(p.head+int(number-p.first))&(len(p.ring)-1)]
}

func (p *pending091) pop() numbered {
	n := p.ring[p.head]
	p.ring[p.head] = numbered{}
	p.head = (p.head + 1) & (len(p.ring) - 1)
	p.count--
	p.first++
	return n
}

// asked notes that the request just submitted is for a call.
func (ch *channel091) asked(call *call091) {
	ch.outstanding++
	ch.k.pending.push(numbered{ch: ch, call: call, kind: aCall})
}

func (k *conn091) answer(now time.Duration, list []broker.Answer) {
	size := k.c.out.Size()
	for i := range list {
		a := &list[i]
		switch a.Kind {
		case broker.AnsDeliver:
			k.deliver(now, a)
		case broker.AnsCompleted:
			k.completed(now, a.Number)
		case broker.AnsResult:
			k.result(now, a)
		case broker.AnsEmpty:
			k.empty(now, a)
		case broker.AnsCancelled:
			k.cancelled(a.Consumer)
		}
	}
	k.flush(now, size)
}

// result keeps how a request ended until it is completed: an answer may promise only what is
// safe. Subscriptions last no longer than their connection and are answered at once, so that
// the answer comes before the first delivery.
func (k *conn091) result(now time.Duration, a *broker.Answer) {
	n := k.pending.at(a.Number)
	switch {
	case n == nil || a.Result == nil || n.kind == aFinished:
	case n.kind == aPublish && a.Result.Code == broker.NoRoute:
		n.ch.returned(a)
		return
	case n.kind == aPublish:
		n.call = &call091{subject: "exchange", result: *a.Result}
	case n.call.consumer != nil:
		n.call.result = *a.Result
		n.kind = aFinished
		k.finish(now, n.ch, n.call)
	default:
		n.call.result = *a.Result
	}
	a.Unpin()
}

func (k *conn091) completed(now time.Duration, number uint64) {
	for k.pending.count > 0 && k.pending.first <= number {
		n := k.pending.pop()
		ch := n.ch
		ch.outstanding--
		switch n.kind {
		case aPublish:
			if e := ch.publishDone(&n); e != nil {
				k.asyncError(now, ch, at(amqp091.BasicPublishID, e))
			}
		case aCall:
			k.finish(now, ch, n.call)
		}
		ch.closeIfDone()
	}
	k.closeIfDone()
}

// finish answers a call.
func (k *conn091) finish(now time.Duration, ch *channel091, call *call091) {
	if e := ch.finish(call); e != nil {
		k.asyncError(now, ch, at(call.method, e))
	}
}

// asyncError is for errors that the member found. The channel may be gone by then.
func (k *conn091) asyncError(now time.Duration, ch *channel091, e *amqp091.Error) {
	if k.state != running091 || ch.state != channelOpen && !e.Code.Hard() {
		return
	}
	if e = k.channelError(ch.number, e); e != nil {
		k.fail(now, e)
	}
}

// finish writes the answer of a call, or says what went wrong.
func (ch *channel091) finish(call *call091) *amqp091.Error {
	r := &call.result
	if call.consumer != nil {
		return ch.consumerFinished(call)
	}
	if e := call.failure(); e != nil {
		return e
	}
	if ch.state != channelOpen || call.noWait || ch.k.state != running091 {
		return nil
	}
	switch call.method {
	case amqp091.QueueDeclareID:
		ch.k.send(ch.number, &amqp091.QueueDeclareOk{
			Queue: []byte(call.name), MessageCount: count32(r.Messages), ConsumerCount: r.Consumers,
		})
	case amqp091.QueueDeleteID:
		ch.k.send(ch.number, &amqp091.QueueDeleteOk{MessageCount: count32(r.Messages)})
	case amqp091.QueuePurgeID:
		ch.k.send(ch.number, &amqp091.QueuePurgeOk{MessageCount: count32(r.Messages)})
	case amqp091.QueueBindID:
		ch.k.send(ch.number, &amqp091.QueueBindOk{})
	case amqp091.QueueUnbindID:
		ch.k.send(ch.number, &amqp091.QueueUnbindOk{})
	case amqp091.ExchangeDeclareID:
		ch.k.send(ch.number, &amqp091.ExchangeDeclareOk{})
	case amqp091.ExchangeDeleteID:
		ch.k.send(ch.number, &amqp091.ExchangeDeleteOk{})
	case amqp091.ExchangeBindID:
		ch.k.send(ch.number, &amqp091.ExchangeBindOk{})
	case amqp091.ExchangeUnbindID:
		ch.k.send(ch.number, &amqp091.ExchangeUnbindOk{})
	}
	return nil
}

func count32(n uint64) uint32 { return uint32(min(n, 1<<32-1)) }
