package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Publishing (1.8.3.7): a method, a content header and body frames become one publish entry.
// The entry is made when the last frame is there. A body of one frame is copied from where
// it was read straight into the entry; one of several is assembled in between.

// keepBodyBytes is up to what size a channel keeps the buffer that it assembles bodies in.
const keepBodyBytes = 64 << 10

// content091 is a message that is being sent.
type content091 struct {
	active   bool // publish received, message not complete
	header   bool // its content header too
	flags    uint8
	priority uint8
	ttl      uint32
	exchange int    // bytes of names that are the exchange; the rest is the routing key
	names    []byte // reused
	props    []byte // reused
	want     uint64 // bytes of body to come
	body     []byte // assembled so far
}

func (ch *channel091) publish(arguments []byte) *amqp091.Error {
	var m amqp091.BasicPublish
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if m.Immediate {
		return amqp091.Errorf(amqp091.NotImplemented, "immediate=true")
	}
	p := &ch.content
	p.active, p.header, p.flags, p.priority, p.ttl = true, false, 0, 0, 0
	if m.Mandatory {
		p.flags = broker.FlagMandatory
	}
	p.names = append(append(p.names[:0], m.Exchange...), m.RoutingKey...)
	p.exchange = len(m.Exchange)
	return nil
}

// contentFrame takes a header or body frame.
func (ch *channel091) contentFrame(f *amqp091.Frame) *amqp091.Error {
	p := &ch.content
	var e *amqp091.Error
	switch {
	case !p.active:
		e = amqp091.Errorf(amqp091.UnexpectedFrame, "expected method frame, got content")
	case !p.header && f.Type == amqp091.FrameHeader:
		e = ch.contentHeader(f)
	case p.header && f.Type == amqp091.FrameBody:
		e = ch.contentBody(f.Payload)
	default:
		e = amqp091.Errorf(amqp091.UnexpectedFrame, "content frames out of order")
	}
	return at(amqp091.BasicPublishID, e)
}

func (ch *channel091) contentHeader(f *amqp091.Frame) *amqp091.Error {
	class, bodyBytes, props, err := f.ContentHeader()
	if err != nil {
		return asError(err)
	}
	if class != amqp091.ClassBasic {
		return amqp091.Errorf(amqp091.UnexpectedFrame, "content header of class %d after basic.publish", class)
	}
	if limit := ch.k.messageBytes(); bodyBytes > limit {
		return amqp091.Errorf(amqp091.ContentTooLarge,
			"message size %d is larger than configured max size %d", bodyBytes, limit)
	}
	if bodyBytes+uint64(len(props)) > broker.MaxEntryBytes-2*broker.MaxNameBytes-1024 {
		return amqp091.Errorf(amqp091.ContentTooLarge, "message of %d bytes is larger than any can be", bodyBytes)
	}
	q := &ch.k.props
	if err := q.Decode(props); err != nil {
		return asError(err)
	}
	if e := ch.content.properties(q); e != nil {
		return e
	}
	if e := copies(q.Headers); e != nil {
		return e
	}
	if q.Flags&amqp091.FlagUserId != 0 && ch.k.c.cfg.Users != nil && string(q.UserId) != ch.k.user {
		return amqp091.Errorf(amqp091.PreconditionFailed,
			"user_id property set to '%s' but authenticated user was '%s'", q.UserId, ch.k.user)
	}
	p := &ch.content
	p.header = true
	p.props = append(p.props[:0], props...)
	p.want = bodyBytes
	if bodyBytes == 0 {
		ch.submit(nil)
	}
	return nil
}

// properties takes what of the properties the broker itself acts upon.
func (p *content091) properties(q *amqp091.Properties) *amqp091.Error {
	if q.Flags&amqp091.FlagDeliveryMode != 0 && q.DeliveryMode == 2 {
		p.flags |= broker.FlagDurable
	}
	if q.Flags&amqp091.FlagPriority != 0 {
		p.priority = q.Priority
	}
	if q.Flags&amqp091.FlagExpiration != 0 {
		ttl, ok := milliseconds(q.Expiration)
		if !ok {
			return amqp091.Errorf(amqp091.PreconditionFailed,
				"invalid expiration '%s': a number of milliseconds from 0 to %d is expected", q.Expiration, uint32(1<<32-1))
		}
		p.ttl = ttl
		p.flags |= broker.FlagTTL
	}
	return nil
}

// copies refuses RabbitMQ's headers CC and BCC, lists of further routing keys: without a word most of whom a
// message is meant for would not get it, and all would see who is in BCC.
func copies(headers amqp091.Table) *amqp091.Error {
	for t := headers; ; {
		name, v, rest, ok := t.Next()
		if !ok {
			return nil
		}
		t = rest
		if n := string(name); (n == "CC" || n == "BCC") && (v.Type != 'A' || len(v.Raw) > 0) {
			return amqp091.Errorf(amqp091.PreconditionFailed,
				"invalid message: header %s: a message has no routing key here but its own", name)
		}
	}
}

// milliseconds reads a decimal number. It is strconv.ParseUint without the string.
func milliseconds(s []byte) (uint32, bool) {
	if len(s) == 0 || len(s) > 10 {
		return 0, false
	}
	v := uint64(0)
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = 10*v + uint64(c-'0')
	}
	return uint32(v), v < 1<<32
}

func (ch *channel091) contentBody(part []byte) *amqp091.Error {
	p := &ch.content
	size := uint64(len(part))
	switch {
	case size > p.want:
		return amqp091.Errorf(amqp091.FrameError, "%d bytes of body where %d are left", size, p.want)
	case len(p.body) == 0 && size == p.want:
		ch.submit(part)
		return nil
	}
	k := ch.k
	if k.assemblyBytes+size > assemblyMessages*k.messageBytes() {
		return amqp091.Errorf(amqp091.ResourceError, "more than %d bytes of unfinished messages on one connection",
			assemblyMessages*k.messageBytes())
	}
	k.assemblyBytes += size
	p.body = extend(p.body, part, uint64(len(p.body))+p.want)
	p.want -= size
	if p.want == 0 {
		ch.submit(p.body)
	}
	return nil
}

// extend appends a part to a message that will have total bytes at most. It doubles what it has, where
// append takes a quarter more, which copies a large message five times over; and it takes no more
// than there can be.
func extend(message, part []byte, total uint64) []byte {
	if need := len(message) + len(part); need > cap(message) {
		room := min(uint64(max(need, 2*cap(message))), max(total, uint64(need)))
		message = append(make([]byte, 0, room), message...)
	}
	return append(message, part...)
}

// submit makes the entry of a complete message.
func (ch *channel091) submit(body []byte) {
	p, k := &ch.content, ch.k
	k.pub = broker.Publish{
		Flags:    p.flags,
		Format:   broker.FormatAMQP091,
		Priority: p.priority,
		Conn:     k.c.id,
		TTL:      p.ttl,
		Exchange: p.names[:p.exchange],
		Key:      p.names[p.exchange:],
		Props:    p.props,
		Body:     body,
	}
	k.c.req.Publish(&k.pub)
	k.pub = broker.Publish{}
	ch.outstanding++
	k.pending.push(numbered{ch: ch, kind: aPublish, confirm: ch.confirm})
	ch.dropContent()
}

// dropContent forgets the message that is being sent, and a buffer that grew large with it.
func (ch *channel091) dropContent() {
	p := &ch.content
	p.active = false
	ch.k.assemblyBytes -= uint64(len(p.body))
	if p.body = p.body[:0]; cap(p.body) > keepBodyBytes {
		p.body = nil
	}
}

func (ch *channel091) confirmSelect(arguments []byte) *amqp091.Error {
	var m amqp091.ConfirmSelect
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	ch.confirm = true
	if !m.NoWait {
		ch.k.send(ch.number, &amqp091.ConfirmSelectOk{})
	}
	return nil
}

// publishDone confirms a message that is safe, or says what became of it instead.
func (ch *channel091) publishDone(n *numbered) *amqp091.Error {
	if ch.state != channelOpen || ch.k.state != running091 {
		return nil
	}
	if n.call == nil || n.call.result.Code == broker.OK {
		if n.confirm {
			ch.confirmed++
			ch.touch()
		}
		return nil
	}
	switch code := n.call.result.Code; {
	case n.confirm && (code == broker.Refused || code == broker.Unavailable || code == broker.NoMemory):
		ch.flushConfirms()
		ch.confirmed++
		ch.confirmSent = ch.confirmed
		ch.k.send(ch.number, &amqp091.BasicNack{DeliveryTag: ch.confirmed})
		return nil
	case code == broker.Refused:
		return nil // nobody wants to know
	}
	return n.call.failure()
}

// flushConfirms acknowledges all that was completed since the last time, at once.
func (ch *channel091) flushConfirms() {
	if ch.confirmed == ch.confirmSent || ch.k.state != running091 {
		return
	}
	m := amqp091.BasicAck{DeliveryTag: ch.confirmed, Multiple: ch.confirmed-ch.confirmSent > 1}
	out := &ch.k.c.out
	out.SetBuffer(m.Append(out.Buffer(), ch.number))
	ch.confirmSent = ch.confirmed
}

// returned sends back what reached no queue (basic.return). It comes before the message's
// confirmation, as that comes when the request is completed.
func (ch *channel091) returned(a *broker.Answer) {
	k := ch.k
	if ch.state != channelOpen || k.state != running091 || broker.ParsePublish(a.Record, &k.pub) != nil {
		a.Unpin()
		return
	}
	m := amqp091.BasicReturn{
		ReplyCode:  uint16(amqp091.NoRoute),
		ReplyText:  []byte(amqp091.NoRoute.Name()),
		Exchange:   k.pub.Exchange,
		RoutingKey: k.pub.Key,
	}
	k.c.out.SetBuffer(m.Append(k.c.out.Buffer(), ch.number))
	k.writeContent(ch.number, a.Pin)
}
