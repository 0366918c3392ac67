package session

import (
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// This file is incoming links: the client sends, transfers become publish entries, and
// their completions become dispositions and new credit.

const (
	linkCredit     = 1000    // messages of a link that may be sent or not yet completed
	keepGatherSize = 1 << 20 // a gathering buffer larger than this is not kept
)

// incoming100 is the receiving side of an incoming link.
type incoming100 struct {
	credit   uint32      // transfers of a new delivery that the client may still send
	count    amqp100.Seq // the delivery-count
	inFlight uint32      // published, and not completed

	partial bool // a delivery has begun and not ended
	settled bool
	resumed bool
	format  uint32
	id      amqp100.Seq
	gather  []byte // of the delivery, where it takes more than one transfer
}

// transfer takes one transfer (2.7.5).
func (l *link100) transfer(t *amqp100.Transfer, payload []byte) {
	in := &l.in
	if !in.partial {
		if failure := in.begin(t); failure != nil {
			l.fail(failure)
			return
		}
	} else if t.DeliveryID.Set && t.DeliveryID.Value != in.id {
		l.fail(&failure100{amqp100.ErrNotAllowed,
			fmt.Sprintf("delivery %d begins before %d has ended", t.DeliveryID.Value, in.id)})
		return
	}
	in.settled = in.settled || t.Settled
	switch {
	case t.Aborted || in.resumed && !t.More:
		l.dropPartial()
		l.replenish()
	case in.resumed: // 2.7.5: what is not among our unsettled, where nothing is, is passed over
	case t.More || len(in.gather) > 0:
		if l.gatherMore(payload) && !t.More {
			l.post(in.gather)
			l.dropPartial()
		}
	case uint64(len(payload)) > l.s.p.maxMessageBytes():
		l.tooLarge()
	default:
		in.partial = false
		l.post(payload)
	}
}

// begin takes what the first transfer of a delivery says.
func (in *incoming100) begin(t *amqp100.Transfer) *failure100 {
	if in.credit == 0 {
		return &failure100{amqp100.ErrTransferLimitExceeded, "a delivery without credit"}
	}
	if !t.DeliveryID.Set {
		return &failure100{amqp100.ErrInvalidField, "the first transfer of a delivery needs a delivery-id"}
	}
	in.credit--
	in.count++
	in.partial, in.settled, in.id = true, false, t.DeliveryID.Value
	in.resumed, in.format = t.Resume, t.MessageFormat.Or(0)
	return nil
}

// gatherMore keeps a part of a message until the rest is there.
func (l *link100) gatherMore(payload []byte) bool {
	p, in := l.s.p, &l.in
	limit := p.maxMessageBytes()
	switch n := uint64(len(payload)); {
	case uint64(len(in.gather))+n > limit:
		l.tooLarge()
		return false
	case p.partial+n > 2*limit:
		l.fail(&failure100{amqp100.ErrResourceLimitExceeded,
			fmt.Sprintf("over %d bytes of unfinished messages on this connection", 2*limit)})
		return false
	}
	in.gather = extend(in.gather, payload, limit)
	p.partial += uint64(len(payload))
	return true
}

func (l *link100) tooLarge() {
	l.fail(&failure100{amqp100.ErrMessageSizeExceeded,
		fmt.Sprintf("a message of over %d bytes", l.s.p.maxMessageBytes())})
}

// dropPartial forgets the delivery that is being gathered.
func (l *link100) dropPartial() {
	in := &l.in
	l.s.p.partial -= uint64(len(in.gather))
	in.partial, in.gather = false, in.gather[:0]
	if cap(in.gather) > keepGatherSize {
		in.gather = nil
	}
}

// post publishes a message that has arrived whole. It is copied here, once, behind the
// head of its entry.
func (l *link100) post(message []byte) {
	p, in := l.s.p, &l.in
	if in.format != 0 {
		l.reject(&failure100{amqp100.ErrNotImplemented,
			fmt.Sprintf("message-format %#x: only AMQP's own, 0, is known here", in.format)})
		return
	}
	if failure := p.parseMessage(message); failure != nil {
		l.fail(failure)
		return
	}
	retry, failure := l.node.route(p)
	if failure != nil {
		l.reject(failure)
		return
	}
	if !in.settled || retry {
		p.publish.Flags |= broker.FlagMandatory
	}
	p.c.req.Publish(&p.publish)
	p.pending.push(request100{link: l, step: stepPublish, id: in.id, settled: in.settled, retry: retry})
	in.inFlight++
	if in.credit == 0 {
		l.replenish()
	}
}

// reject ends a delivery that is not published.
func (l *link100) reject(f *failure100) {
	in := &l.in
	if !in.settled {
		l.s.outcome(in.id, run100{condition: f.condition, text: f.text, settled: l.settlesFirst()})
	}
	l.replenish()
}

// parseMessage makes p.publish of a message, but for where it goes.
func (p *conn100) parseMessage(message []byte) *failure100 {
	err := p.sections.Scan(message)
	if err == nil {
		err = p.sections.Check()
	}
	if err == nil {
		err = p.sections.DecodeHeader(&p.header)
	}
	if err != nil {
		return &failure100{amqp100.ErrDecode, err.Error()}
	}
	at := p.sections.BodyAt
	p.publish = broker.Publish{
		Format:   broker.FormatAMQP100,
		Priority: p.header.Priority.Or(amqp100.DefaultPriority),
		Conn:     p.c.id,
		Props:    message[:at],
		Body:     message[at:],
	}
	if p.header.Durable {
		p.publish.Flags |= broker.FlagDurable
	}
	if p.header.TTL.Or(0) > 0 { // qpidd too takes 0 for no limit
		p.publish.Flags |= broker.FlagTTL
		p.publish.TTL = p.header.TTL.Value
	}
	return nil
}

// retry publishes to an exchange what has reached no queue of that name: an anonymous
// sender's address may be either, and asking first would cost every message a round trip.
// The request takes a new number, and this one ends with nobody waiting.
func (p *conn100) retry(r *request100, record []byte) {
	if broker.ParsePublish(record, &p.publish) != nil {
		return
	}
	name := p.publish.Key
	exchange, key, subject := splitAddress(name)
	if subject && p.sections.Scan(p.publish.Props) == nil && p.sections.DecodeProperties(&p.properties) == nil {
		key = p.properties.Subject
	}
	if len(key) > broker.MaxNameBytes {
		return
	}
	p.publish.Conn, p.publish.Exchange, p.publish.Key = p.c.id, exchange, key
	again := *r
	again.retry, again.code, again.text = false, broker.OK, ""
	r.step = stepForgotten
	p.c.req.Publish(&p.publish)
	p.pending.push(again)
}

// published ends a publish: the client is told, if it waits, and given new credit.
func (l *link100) published(r *request100) {
	l.in.inFlight--
	if l.state != linkAttached {
		return
	}
	if !r.settled {
		l.s.outcome(r.id, run100{code: r.code, text: r.text, settled: l.settlesFirst()})
	}
	l.replenish()
}

// settlesFirst tells whether we settle with the outcome. Where the client chose that the
// receiver settles second, it settles, and there is nothing of ours left to forget.
func (l *link100) settlesFirst() bool { return l.rcvMode == amqp100.First }

// replenish gives new credit once half of it is used up and completed. Credit and what is
// in flight never exceed linkCredit together: that bounds what a client can pile up here.
func (l *link100) replenish() {
	in := &l.in
	if l.state != linkAttached || in.credit+in.inFlight > linkCredit/2 {
		return
	}
	in.credit = linkCredit - in.inFlight
	l.sendCredit()
}

func (l *link100) sendCredit() { l.s.sendFlow(l, false) }
