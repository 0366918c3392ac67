package session

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// The basic class (1.8): dispatch, qos, get, and how clients settle what they were given.

func (ch *channel091) basic(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch id {
	case amqp091.BasicPublishID:
		return ch.publish(arguments)
	case amqp091.BasicAckID:
		return ch.ack(arguments)
	case amqp091.BasicNackID:
		return ch.nack(arguments)
	case amqp091.BasicRejectID:
		return ch.reject(arguments)
	case amqp091.BasicGetID:
		return ch.getReceived(arguments)
	case amqp091.BasicConsumeID:
		return ch.consume(arguments)
	case amqp091.BasicCancelID:
		return ch.cancelReceived(arguments)
	case amqp091.BasicCancelOkID:
		return nil // to our basic.cancel, if the client answers it
	case amqp091.BasicQosID:
		return ch.qos(arguments)
	case amqp091.BasicRecoverID, amqp091.BasicRecoverAsyncID:
		return ch.recover(id, arguments)
	}
	return unexpected(id)
}

// qos sets, as in RabbitMQ, the prefetch of each consumer to come, or if global that of all
// consumers of the channel together.
func (ch *channel091) qos(arguments []byte) *amqp091.Error {
	var m amqp091.BasicQos
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if m.PrefetchSize != 0 {
		return amqp091.Errorf(amqp091.NotImplemented, "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	if m.Global {
		ch.global = uint64(m.PrefetchCount)
		ch.credit = true
		ch.touch()
	} else {
		ch.prefetch = m.PrefetchCount
	}
	ch.k.send(ch.number, &amqp091.BasicQosOk{})
	return nil
}

func (ch *channel091) getReceived(arguments []byte) *amqp091.Error {
	var m amqp091.BasicGet
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	queue, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	if ch.gets == maxGets {
		return amqp091.Errorf(amqp091.ResourceError, "more than %d basic.get without waiting", maxGets)
	}
	ch.gets++
	c := ch.k.newConsumer(ch, "", queue, m.NoAck)
	c.get = true
	ch.k.c.req.Get(c.id, queue, m.NoAck)
	return nil
}

// getDone forgets a get that was answered. Its message, if any, still knows it.
func (ch *channel091) getDone(c *consumer091) {
	ch.gets--
	delete(ch.k.consumers, c.id)
}

// empty answers a get that found nothing.
func (k *conn091) empty(now time.Duration, a *broker.Answer) {
	c := k.consumers[a.Consumer]
	if c == nil || !c.get {
		return
	}
	ch := c.ch
	ch.getDone(c)
	if ch.state != channelOpen || k.state != running091 {
		return
	}
	call := call091{method: amqp091.BasicGetID, subject: "queue", name: c.queue}
	if a.Result != nil {
		call.result = *a.Result
	}
	if e := call.failure(); e != nil {
		k.asyncError(now, ch, at(call.method, e))
		return
	}
	k.send(ch.number, &amqp091.BasicGetEmpty{})
}

func (ch *channel091) ack(arguments []byte) *amqp091.Error {
	var m amqp091.BasicAck
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	return ch.settleTo(m.DeliveryTag, m.Multiple, broker.Accepted)
}

func (ch *channel091) nack(arguments []byte) *amqp091.Error {
	var m amqp091.BasicNack
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	return ch.settleTo(m.DeliveryTag, m.Multiple, rejection(m.Requeue))
}

func (ch *channel091) reject(arguments []byte) *amqp091.Error {
	var m amqp091.BasicReject
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	return ch.settleTo(m.DeliveryTag, false, rejection(m.Requeue))
}

func rejection(requeue bool) broker.Outcome {
	if requeue {
		return broker.Requeued
	}
	return broker.Rejected
}

// settleTo settles one delivery, or all up to it; all there are if the tag is 0.
func (ch *channel091) settleTo(tag uint64, multiple bool, o broker.Outcome) *amqp091.Error {
	u := &ch.unacked
	if multiple && tag == 0 {
		ch.settleAll(o)
		return nil
	}
	i := u.find(tag)
	if i < 0 {
		return amqp091.Errorf(amqp091.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	if !multiple {
		ch.settle(i, o)
		return nil
	}
	for u.trim(); u.count > 0 && u.at(0).tag <= tag; u.trim() {
		ch.settle(0, o)
	}
	return nil
}

func (ch *channel091) settleAll(o broker.Outcome) {
	for u := &ch.unacked; ; {
		if u.trim(); u.count == 0 {
			return
		}
		ch.settle(0, o)
	}
}

// recover gives back all that is not settled; asking for it again on the same channel
// without giving it back is what no broker does.
func (ch *channel091) recover(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	var m amqp091.BasicRecover
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if !m.Requeue {
		return amqp091.Errorf(amqp091.NotImplemented, "requeue=false")
	}
	ch.settleAll(broker.Requeued)
	if id == amqp091.BasicRecoverID {
		ch.k.send(ch.number, &amqp091.BasicRecoverOk{})
	}
	return nil
}
