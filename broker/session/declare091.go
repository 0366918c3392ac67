package session

import (
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// The queue and exchange classes (1.6, 1.7), each method an entry.

// reservedPrefix opens names that are the broker's to give.
const reservedPrefix = "amq."

// predeclared are the exchanges that the standard, or its headers type, wants to exist.
var predeclared = map[string]bool{
	"amq.direct": true, "amq.fanout": true, "amq.topic": true, "amq.headers": true, "amq.match": true,
}

var exchangeTypes = map[string]broker.ExchangeType{
	"direct": broker.Direct, "fanout": broker.Fanout, "topic": broker.Topic, "headers": broker.Headers,
}

func (ch *channel091) queue(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch id {
	case amqp091.QueueDeclareID:
		return ch.queueDeclare(arguments)
	case amqp091.QueueBindID:
		return ch.queueBind(arguments)
	case amqp091.QueueUnbindID:
		return ch.queueUnbind(arguments)
	case amqp091.QueuePurgeID:
		return ch.queuePurge(arguments)
	case amqp091.QueueDeleteID:
		return ch.queueDelete(arguments)
	}
	return unexpected(id)
}

func (ch *channel091) exchange(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch id {
	case amqp091.ExchangeDeclareID:
		return ch.exchangeDeclare(arguments)
	case amqp091.ExchangeDeleteID:
		return ch.exchangeDelete(arguments)
	case amqp091.ExchangeBindID:
		return ch.exchangeBind(arguments)
	case amqp091.ExchangeUnbindID:
		return ch.exchangeUnbind(arguments)
	}
	return unexpected(id)
}

// queueName resolves the empty name: the queue that this channel declared last.
func (ch *channel091) queueName(name []byte) (string, *amqp091.Error) {
	if len(name) > 0 {
		return string(name), nil
	}
	if ch.lastQueue == "" {
		return "", amqp091.Errorf(amqp091.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

func (ch *channel091) queueDeclare(arguments []byte) *amqp091.Error {
	var m amqp091.QueueDeclare
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	d := broker.QueueDeclare{Conn: ch.k.c.id, Name: string(m.Queue), Passive: m.Passive}
	call := &call091{method: amqp091.QueueDeclareID, noWait: m.NoWait, subject: "queue"}
	switch {
	case m.Passive:
		name, e := ch.queueName(m.Queue)
		if e != nil {
			return e
		}
		d.Name = name
	case d.Name == "":
		d.Name = ch.k.randomName("amq.gen-")
	case strings.HasPrefix(d.Name, reservedPrefix):
		// One that was given such a name may be declared again, but not be made so.
		d.Passive, call.reserved = true, true
	}
	if !m.Passive {
		d.Options.Durable, d.Options.Exclusive, d.Options.AutoDelete = m.Durable, m.Exclusive, m.AutoDelete
		if e := queueArguments(d.Name, m.Arguments, &d.Options); e != nil {
			return e
		}
	}
	call.name = d.Name
	ch.lastQueue = d.Name
	ch.k.c.req.QueueDeclare(&d)
	ch.asked(call)
	return nil
}

// queueDelete: a queue is empty, for if-empty, when consumers hold nothing of it either. RabbitMQ looks at what is
// ready, which here only the queue's dispatcher knows.
func (ch *channel091) queueDelete(arguments []byte) *amqp091.Error {
	var m amqp091.QueueDelete
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	name, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	ch.k.c.req.QueueDelete(&broker.QueueDelete{Conn: ch.k.c.id, Name: name, IfUnused: m.IfUnused, IfEmpty: m.IfEmpty})
	ch.asked(&call091{method: amqp091.QueueDeleteID, noWait: m.NoWait, subject: "queue", name: name})
	return nil
}

func (ch *channel091) queuePurge(arguments []byte) *amqp091.Error {
	var m amqp091.QueuePurge
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	name, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	ch.k.c.req.QueuePurge(&broker.QueuePurge{Conn: ch.k.c.id, Name: name})
	ch.asked(&call091{method: amqp091.QueuePurgeID, noWait: m.NoWait, subject: "queue", name: name})
	return nil
}

func (ch *channel091) queueBind(arguments []byte) *amqp091.Error {
	var m amqp091.QueueBind
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	name, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	key := string(m.RoutingKey)
	if len(m.Queue) == 0 && key == "" {
		key = name // 1.7.2.3: where both are empty, the queue's name is the key
	}
	b := broker.Bind{Exchange: string(m.Exchange), Target: name, Key: key}
	call := &call091{method: amqp091.QueueBindID, noWait: m.NoWait}
	return ch.bind(call, &b, m.Arguments, true)
}

func (ch *channel091) queueUnbind(arguments []byte) *amqp091.Error {
	var m amqp091.QueueUnbind
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	name, e := ch.queueName(m.Queue)
	if e != nil {
		return e
	}
	key := string(m.RoutingKey)
	if len(m.Queue) == 0 && key == "" {
		key = name
	}
	b := broker.Bind{Exchange: string(m.Exchange), Target: name, Key: key}
	return ch.bind(&call091{method: amqp091.QueueUnbindID}, &b, m.Arguments, false)
}

func (ch *channel091) exchangeBind(arguments []byte) *amqp091.Error {
	var m amqp091.ExchangeBind
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	b := broker.Bind{Exchange: string(m.Source), ToExchange: true, Target: string(m.Destination), Key: string(m.RoutingKey)}
	return ch.bind(&call091{method: amqp091.ExchangeBindID, noWait: m.NoWait}, &b, m.Arguments, true)
}

func (ch *channel091) exchangeUnbind(arguments []byte) *amqp091.Error {
	var m amqp091.ExchangeUnbind
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	b := broker.Bind{Exchange: string(m.Source), ToExchange: true, Target: string(m.Destination), Key: string(m.RoutingKey)}
	return ch.bind(&call091{method: amqp091.ExchangeUnbindID, noWait: m.NoWait}, &b, m.Arguments, false)
}

func (ch *channel091) bind(call *call091, b *broker.Bind, arguments amqp091.Table, tie bool) *amqp091.Error {
	if b.Exchange == "" || b.ToExchange && b.Target == "" {
		return defaultExchange()
	}
	if e := bindArguments(arguments, b); e != nil {
		return e
	}
	b.Conn = ch.k.c.id
	call.subject, call.name = "exchange", b.Exchange
	if tie {
		ch.k.c.req.Bind(b)
	} else {
		ch.k.c.req.Unbind(b)
	}
	ch.asked(call)
	return nil
}

func defaultExchange() *amqp091.Error {
	return amqp091.Errorf(amqp091.AccessRefused, "operation not permitted on the default exchange")
}

func (ch *channel091) exchangeDeclare(arguments []byte) *amqp091.Error {
	var m amqp091.ExchangeDeclare
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	d := broker.ExchangeDeclare{Conn: ch.k.c.id, Name: string(m.Exchange), Passive: m.Passive}
	call := &call091{method: amqp091.ExchangeDeclareID, noWait: m.NoWait, subject: "exchange", name: d.Name}
	if d.Name == "" {
		return defaultExchange()
	}
	if !m.Passive {
		kind, ok := exchangeTypes[string(m.Type)]
		if !ok {
			return amqp091.Errorf(amqp091.CommandInvalid, "unknown exchange type '%s'", m.Type)
		}
		d.Options = broker.ExchangeOptions{
			Type: kind, Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal,
		}
		if e := exchangeArguments(d.Name, m.Arguments, &d.Options); e != nil {
			return e
		}
		if strings.HasPrefix(d.Name, reservedPrefix) && !predeclared[d.Name] {
			d.Passive, call.reserved = true, true
		}
	}
	ch.k.c.req.ExchangeDeclare(&d)
	ch.asked(call)
	return nil
}

func (ch *channel091) exchangeDelete(arguments []byte) *amqp091.Error {
	var m amqp091.ExchangeDelete
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	name := string(m.Exchange)
	switch {
	case name == "":
		return defaultExchange()
	case strings.HasPrefix(name, reservedPrefix):
		return amqp091.Errorf(amqp091.AccessRefused, "deletion of system exchange '%s' in vhost '%s' not allowed",
			name, virtualHost)
	}
	ch.k.c.req.ExchangeDelete(&broker.ExchangeDelete{Conn: ch.k.c.id, Name: name, IfUnused: m.IfUnused})
	ch.asked(&call091{method: amqp091.ExchangeDeleteID, noWait: m.NoWait, subject: "exchange", name: name})
	return nil
}
