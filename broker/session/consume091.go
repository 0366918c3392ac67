package session

import (
	"encoding/base64"
	"math"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Consumers (1.8.3.3): subscribe, deliver, cancel, and the credit that basic.qos asks for.

// noLimit is a credit that is never used up.
const noLimit = math.MaxInt64

// maxGets bounds the basic.get a channel may have under way.
const maxGets = 1024

// consumer091 is a consumer, or the one message that a basic.get takes.
type consumer091 struct {
	id       broker.ConsumerID
	ch       *channel091
	tag      string
	tagBytes []byte
	queue    string
	noAck    bool
	get      bool
	active   bool // subscribed
	gone     bool // cancelled, by either side: what still comes goes back
	prefetch uint16

	// Credit is cumulative: delivered - settled is what is under way to the client or with it.
	delivered uint64
	settled   uint64
	granted   uint64
}

func (k *conn091) newConsumer(ch *channel091, tag, queue string, noAck bool) *consumer091 {
	k.lastConsumer++
	for k.lastConsumer == 0 || k.consumers[k.lastConsumer] != nil {
		k.lastConsumer++
	}
	c := &consumer091{id: k.lastConsumer, ch: ch, tag: tag, tagBytes: []byte(tag), queue: queue, noAck: noAck}
	k.consumers[c.id] = c
	return c
}

// addConsumer and removeConsumer keep the two ways to a channel's consumers alike.
func (ch *channel091) addConsumer(c *consumer091) {
	ch.consumers[c.tag] = c
	ch.order = append(ch.order, c)
}

func (ch *channel091) removeConsumer(c *consumer091) bool {
	if ch.consumers[c.tag] != c {
		return false
	}
	delete(ch.consumers, c.tag)
	i := slices.Index(ch.order, c)
	ch.order = slices.Delete(ch.order, i, i+1)
	return true
}

func (k *conn091) randomName(prefix string) string {
	var b [16]byte
	k.c.cfg.Random(b[:])
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func (ch *channel091) consume(arguments []byte) *amqp091.Error {
	var m amqp091.BasicConsume
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	queue, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	if v, ok := m.Arguments.Lookup("x-priority"); ok {
		if n, isInt := v.Int(); !isInt || n != 0 {
			return amqp091.Errorf(amqp091.PreconditionFailed,
				"invalid arg 'x-priority' for consumer '%s': consumers have no priorities here", m.ConsumerTag)
		}
	}
	tag := string(m.ConsumerTag)
	if tag == "" {
		tag = ch.k.randomName("amq.ctag-")
	}
	if ch.consumers[tag] != nil {
		return amqp091.Errorf(amqp091.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	c := ch.k.newConsumer(ch, tag, queue, m.NoAck)
	c.prefetch = ch.prefetch
	ch.addConsumer(c)
	ch.k.c.req.Subscribe(&broker.Subscribe{
		Conn: ch.k.c.id, Consumer: c.id, Queue: queue, Exclusive: m.Exclusive, Settled: m.NoAck,
	})
	ch.asked(&call091{method: amqp091.BasicConsumeID, noWait: m.NoWait, subject: "queue", name: queue, consumer: c})
	return nil
}

func (ch *channel091) cancelReceived(arguments []byte) *amqp091.Error {
	var m amqp091.BasicCancel
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	c := ch.consumers[string(m.ConsumerTag)]
	if c == nil {
		if !m.NoWait {
			ch.k.send(ch.number, &amqp091.BasicCancelOk{ConsumerTag: m.ConsumerTag})
		}
		return nil
	}
	ch.removeConsumer(c)
	c.cancel(&call091{method: amqp091.BasicCancelID, noWait: m.NoWait})
	ch.releaseHeld(c)
	return nil
}

// cancel ends a subscription. Its credit goes first, so that what its channel gives back
// does not come again before the member has ordered the end.
func (c *consumer091) cancel(call *call091) {
	if call == nil {
		call = &call091{method: amqp091.BasicCancelID, noWait: true}
		c.gone = true
	}
	k := c.ch.k
	if c.active {
		k.c.req.Credit(c.id, c.delivered, false)
	}
	k.c.req.Cancel(&broker.Cancel{Conn: k.c.id, Consumer: c.id})
	call.consumer = c
	c.ch.asked(call)
}

// consumerFinished answers consume and cancel.
func (ch *channel091) consumerFinished(call *call091) *amqp091.Error {
	c, k := call.consumer, ch.k
	told := ch.state == channelOpen && k.state == running091 && !call.noWait
	if call.method == amqp091.BasicCancelID {
		c.gone = true
		ch.releaseHeld(c)
		delete(k.consumers, c.id)
		if told {
			k.send(ch.number, &amqp091.BasicCancelOk{ConsumerTag: c.tagBytes})
		}
		return nil
	}
	if e := call.failure(); e != nil {
		delete(k.consumers, c.id)
		ch.removeConsumer(c)
		return e
	}
	c.active = true
	if told {
		k.send(ch.number, &amqp091.BasicConsumeOk{ConsumerTag: c.tagBytes})
	}
	ch.credit = true
	ch.touch()
	return nil
}

// cancelled tells the client that its consumer's queue is gone.
func (k *conn091) cancelled(id broker.ConsumerID) {
	c := k.consumers[id]
	if c == nil {
		return
	}
	delete(k.consumers, id)
	ch := c.ch
	if ch.removeConsumer(c) {
		if k.cancelNotify && ch.state == channelOpen && k.state == running091 {
			k.send(ch.number, &amqp091.BasicCancel{ConsumerTag: c.tagBytes, NoWait: true})
		}
	}
	ch.releaseHeld(c)
	c.gone = true
}

// deliver takes a message for a consumer or a get.
func (k *conn091) deliver(now time.Duration, a *broker.Answer) {
	c := k.consumers[a.Consumer]
	if c == nil || k.state != running091 {
		a.Unpin()
		return
	}
	ch := c.ch
	c.delivered++
	switch {
	case c.gone || ch.state != channelOpen:
		if !c.noAck {
			k.c.req.Settle(c.id, a.Queue, a.Index, broker.Released)
		}
		if c.get {
			ch.getDone(c)
		}
		a.Unpin()
	case !c.noAck && !c.get && ch.global != 0 && ch.unackedAll >= ch.global:
		ch.held = append(ch.held, *a)
	default:
		ch.write(now, c, a)
	}
}

// write sends a message to the client.
func (ch *channel091) write(now time.Duration, c *consumer091, a *broker.Answer) {
	k := ch.k
	if err := broker.ParsePublish(a.Record, &k.pub); err != nil {
		a.Unpin()
		k.fail(now, amqp091.Errorf(amqp091.InternalError, "message %d: %v", a.Index, err))
		return
	}
	ch.lastTag++
	redelivered := a.Deliveries > 0 || k.pub.Flags&broker.FlagRedelivered != 0
	out := &k.c.out
	if c.get {
		m := amqp091.BasicGetOk{
			DeliveryTag: ch.lastTag, Redelivered: redelivered,
			Exchange: k.pub.Exchange, RoutingKey: k.pub.Key, MessageCount: count32(a.Ready),
		}
		out.SetBuffer(m.Append(out.Buffer(), ch.number))
		ch.getDone(c)
	} else {
		m := amqp091.BasicDeliver{
			ConsumerTag: c.tagBytes, DeliveryTag: ch.lastTag, Redelivered: redelivered,
			Exchange: k.pub.Exchange, RoutingKey: k.pub.Key,
		}
		out.SetBuffer(m.Append(out.Buffer(), ch.number))
	}
	k.writeContent(ch.number, a.Pin)
	if c.noAck {
		c.settled++
		return
	}
	if !c.get {
		ch.unackedAll++
	}
	ch.unacked.push(unacked{tag: ch.lastTag, queue: a.Queue, index: a.Index, consumer: c})
}

// writeContent writes header and body frames of the message in k.pub, which pin keeps.
func (k *conn091) writeContent(channel uint16, pin broker.Pin) {
	props, body := k.pub.Props, k.pub.Body
	if k.pub.Format == broker.FormatAMQP100 {
		k.bytes, body = propsTo091(&k.pub, k.bytes[:0])
		props = k.bytes
	}
	out := &k.c.out
	out.SetBuffer(amqp091.AppendContentHeader(out.Buffer(), channel, uint64(len(body)), props))
	for len(body) > 0 {
		part := body[:min(len(body), k.frameMax-amqp091.FrameOverhead)]
		body = body[len(part):]
		out.SetBuffer(amqp091.AppendBodyHead(out.Buffer(), channel, len(part)))
		if len(body) == 0 {
			out.Body(part, pin)
			pin = nil
		} else {
			out.Body(part, nil)
		}
		out.SetBuffer(append(out.Buffer(), amqp091.FrameEnd))
	}
	if pin != nil {
		pin.Unpin()
	}
	k.pub = broker.Publish{}
}

// settle ends the hold on the delivery at position i of unacked.
func (ch *channel091) settle(i int, o broker.Outcome) {
	u := *ch.unacked.at(i)
	ch.unacked.drop(i)
	ch.k.c.req.Settle(u.consumer.id, u.queue, u.index, o)
	if u.consumer.get {
		return
	}
	u.consumer.settled++
	ch.unackedAll--
	ch.credit = true
	ch.touch()
}

// flushCredit gives consumers the credit they are due: each its prefetch beyond what it has
// settled and, where the channel has a limit, no more than that leaves. Several consumers
// may each be given all of what is left; what then comes too much is held, and written when
// there is room.
func (ch *channel091) flushCredit() {
	ch.writeHeld()
	room := uint64(noLimit)
	if ch.global != 0 {
		room = ch.global - min(ch.global, ch.unackedAll+uint64(len(ch.held)))
	}
	for _, c := range ch.order {
		if !c.active || c.gone {
			continue
		}
		limit := uint64(noLimit)
		if !c.noAck {
			if c.prefetch != 0 {
				limit = c.settled + uint64(c.prefetch)
			}
			if ch.global != 0 {
				limit = min(limit, c.delivered+room)
			}
		}
		if limit != c.granted {
			c.granted = limit
			ch.k.c.req.Credit(c.id, limit, false)
		}
	}
}

// writeHeld writes what was held back while there is room for it.
func (ch *channel091) writeHeld() {
	for len(ch.held) > 0 && (ch.global == 0 || ch.unackedAll < ch.global) {
		a := ch.held[0]
		ch.held[0] = broker.Answer{}
		ch.held = ch.held[1:]
		ch.write(ch.k.lastIn, ch.k.consumers[a.Consumer], &a)
	}
}

// releaseHeld gives back what was held for a consumer, or for all of them if it is nil.
func (ch *channel091) releaseHeld(c *consumer091) {
	kept := ch.held[:0]
	for i := range ch.held {
		a := ch.held[i]
		if c != nil && a.Consumer != c.id {
			kept = append(kept, a)
			continue
		}
		ch.k.c.req.Settle(a.Consumer, a.Queue, a.Index, broker.Released)
		a.Unpin()
	}
	clear(ch.held[len(kept):])
	ch.held = kept
}

// releaseHeld gives back what the channels hold back, as the connection is about to end.
func (k *conn091) releaseHeld() {
	for _, ch := range k.channels {
		if ch != nil {
			ch.releaseHeld(nil)
		}
	}
}
