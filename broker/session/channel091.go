package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// channel091 is a channel (2.2.5): its numbered requests, what it is publishing, what its
// consumers are and hold.
type channel091 struct {
	k      *conn091
	number uint16
	state  channelState

	outstanding int    // numbered requests not yet completed
	lastQueue   string // declared last: what an empty queue name means
	content     content091

	confirm     bool
	confirmed   uint64 // messages completed since confirm.select
	confirmSent uint64 // of those, told to the client

	consumers  map[string]*consumer091 // by tag
	order      []*consumer091          // the same, oldest first
	prefetch   uint16                  // of consumers to come
	global     uint64                  // most unacked of all consumers together; 0 is no limit
	lastTag    uint64                  // of deliveries
	unacked    unacked091
	unackedAll uint64 // by consumers, not by gets
	held       []broker.Answer
	gets       int

	touched bool
	credit  bool // flush sets the consumers' credit anew
}

type channelState uint8

const (
	channelOpen      channelState = iota
	channelClosing                // close received; close-ok once the member has answered all
	channelCloseSent              // close sent: all is ignored until close-ok
	channelClosed
)

func (k *conn091) channel(number uint16) *channel091 {
	if int(number) < len(k.channels) {
		return k.channels[number]
	}
	return nil
}

// channelFrame takes a frame for a channel other than 0.
func (k *conn091) channelFrame(f *amqp091.Frame) *amqp091.Error {
	ch := k.channel(f.Channel)
	if f.Type != amqp091.FrameMethod {
		if ch == nil {
			return amqp091.Errorf(amqp091.ChannelError, "content on channel %d, which is not open", f.Channel)
		}
		if ch.state != channelOpen {
			return nil
		}
		return ch.contentFrame(f)
	}
	id, arguments, err := f.Method()
	if err != nil {
		return asError(err)
	}
	if ch == nil {
		return at(id, k.channelOpen(f.Channel, id, arguments))
	}
	return at(id, ch.method(id, arguments))
}

// at notes the method in which e happened.
func at(id amqp091.MethodID, e *amqp091.Error) *amqp091.Error {
	if e != nil && e.Method == 0 {
		e.Method = id
	}
	return e
}

func (k *conn091) channelOpen(number uint16, id amqp091.MethodID, arguments []byte) *amqp091.Error {
	if id != amqp091.ChannelOpenID {
		return amqp091.Errorf(amqp091.ChannelError, "expected 'channel.open', got %v on channel %d", id, number)
	}
	if number > k.channelMax {
		return amqp091.Errorf(amqp091.NotAllowed, "channel %d: the negotiated channel_max is %d", number, k.channelMax)
	}
	var m amqp091.ChannelOpen
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	for len(k.channels) <= int(number) {
		k.channels = append(k.channels, nil)
	}
	k.channels[number] = &channel091{k: k, number: number, consumers: map[string]*consumer091{}}
	k.send(number, &amqp091.ChannelOpenOk{})
	return nil
}

// method takes a method on an existing channel.
func (ch *channel091) method(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch {
	case ch.state == channelCloseSent && id == amqp091.ChannelCloseID:
		ch.k.send(ch.number, &amqp091.ChannelCloseOk{}) // both closed at once
		return nil
	case ch.state == channelCloseSent && id == amqp091.ChannelCloseOkID:
		ch.closed()
		return nil
	case ch.state != channelOpen:
		return nil
	case ch.content.active:
		return amqp091.Errorf(amqp091.UnexpectedFrame, "expected content header or body, got %v", id)
	}
	return ch.dispatch(id, arguments)
}

func (ch *channel091) dispatch(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch id.Class() {
	case amqp091.ClassBasic:
		return ch.basic(id, arguments)
	case amqp091.ClassQueue:
		return ch.queue(id, arguments)
	case amqp091.ClassExchange:
		return ch.exchange(id, arguments)
	}
	switch id {
	case amqp091.ChannelOpenID:
		return amqp091.Errorf(amqp091.ChannelError, "second 'channel.open' on channel %d", ch.number)
	case amqp091.ChannelFlowID:
		return ch.flow(arguments)
	case amqp091.ChannelFlowOkID:
		return nil
	case amqp091.ChannelCloseID:
		return ch.closeReceived(arguments)
	case amqp091.ConfirmSelectID:
		return ch.confirmSelect(arguments)
	case amqp091.AccessRequestID:
		// RabbitMQ and the standard's successors have no access tickets; 1 says "granted".
		ch.k.send(ch.number, &amqp091.AccessRequestOk{Ticket: 1})
		return nil
	case amqp091.TxSelectID, amqp091.TxCommitID, amqp091.TxRollbackID:
		return amqp091.Errorf(amqp091.NotImplemented, "transactions: use publisher confirms")
	}
	return unexpected(id)
}

// unexpected is the error for a method that clients do not send, or that does not exist.
func unexpected(id amqp091.MethodID) *amqp091.Error {
	if amqp091.NewMethod(id) == nil {
		return amqp091.Errorf(amqp091.NotImplemented, "unknown method %v", id)
	}
	return amqp091.Errorf(amqp091.CommandInvalid, "%v is not a client's to send here", id)
}

func (ch *channel091) flow(arguments []byte) *amqp091.Error {
	var m amqp091.ChannelFlow
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if !m.Active {
		return amqp091.Errorf(amqp091.NotImplemented, "active=false: use basic.qos")
	}
	ch.k.send(ch.number, &amqp091.ChannelFlowOk{Active: true})
	return nil
}

func (ch *channel091) closeReceived(arguments []byte) *amqp091.Error {
	var m amqp091.ChannelClose
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	ch.state = channelClosing
	ch.letGo()
	ch.closeIfDone()
	return nil
}

func (ch *channel091) closeIfDone() {
	if ch.state == channelClosing && ch.outstanding == 0 {
		ch.k.send(ch.number, &amqp091.ChannelCloseOk{})
		ch.closed()
	}
}

// closed frees the number. Requests that are still under way keep ch, and find it closed.
func (ch *channel091) closed() {
	ch.state = channelClosed
	ch.k.channels[ch.number] = nil
}

// channelError closes a channel for a soft error, and hands a hard one on.
func (k *conn091) channelError(number uint16, e *amqp091.Error) *amqp091.Error {
	ch := k.channel(number)
	if e.Code.Hard() || ch == nil {
		return e
	}
	if ch.state != channelOpen {
		return nil
	}
	ch.flushConfirms()
	ch.state = channelCloseSent
	k.send(number, &amqp091.ChannelClose{
		ReplyCode: uint16(e.Code),
		ReplyText: []byte(e.Text),
		ClassId:   e.Method.Class(),
		MethodId:  e.Method.Number(),
	})
	ch.letGo()
	return nil
}

// letGo ends what the channel has: consumers first, so that what it gives back does not
// come again.
func (ch *channel091) letGo() {
	ch.dropContent()
	for _, c := range ch.order {
		c.cancel(nil)
	}
	clear(ch.consumers)
	ch.order = nil
	ch.releaseHeld(nil)
	for {
		u, ok := ch.unacked.pop()
		if !ok {
			break
		}
		ch.k.c.req.Settle(u.consumer.id, u.queue, u.index, broker.Requeued)
	}
}

// touch has ch flushed at the end of the batch.
func (ch *channel091) touch() {
	if !ch.touched {
		ch.touched = true
		ch.k.touched = append(ch.k.touched, ch)
	}
}

func (ch *channel091) flush() {
	if ch.state != channelOpen || ch.k.state != running091 {
		return
	}
	ch.flushConfirms()
	if ch.credit {
		ch.credit = false
		ch.flushCredit()
	}
}
