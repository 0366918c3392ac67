package session

import (
	"fmt"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// keyForm tells where an incoming link's routing keys come from.
type keyForm uint8

const (
	keyFixed   keyForm = iota // from the address; the queue's name for a queue
	keySubject                // from the subject of each message
	keyTo                     // both exchange and key from the address each message is to
)

// node100 is where the messages of an incoming link go.
type node100 struct {
	form     keyForm
	exchange []byte
	key      []byte
}

// found100 is what is known of an address of formName.
type found100 struct {
	queue, exchange bool // the whole address
	prefix          bool // what is before the slash, an exchange
	durable         bool
	exchangeType    broker.ExchangeType
}

func (f *found100) note(step step100, r *broker.Result) {
	switch {
	case step == stepPrefix:
		f.prefix, f.durable = r.IsExchange, f.durable || r.Durable
		if f.exchangeType == 0 {
			f.exchangeType = r.ExchangeType
		}
	default:
		f.queue, f.exchange, f.durable = r.IsQueue, r.IsExchange, f.durable || r.Durable
		if r.IsExchange {
			f.exchangeType = r.ExchangeType
		}
	}
}

// lookUp asks what an address is, as far as it does not say.
func (l *link100) lookUp(address string) *failure100 {
	a, err := parseAddress([]byte(address))
	if err != nil {
		return &failure100{amqp100.ErrInvalidField, fmt.Sprintf("address %.300q: %v", address, err)}
	}
	l.attach.address = a
	l.query(string(a.name), stepName)
	if a.form == formName {
		if exchange, _, subject := splitAddress(a.name); !subject && len(exchange) > 0 {
			l.query(string(exchange), stepPrefix)
		}
	}
	return nil
}

// resolved is what lookUp has found.
type resolved100 struct {
	queue    string
	exchange string
	key      []byte
	subject  bool // no key was given with the exchange
}

// resolved decides what an address is, queues first, but for who asks for a topic. Where
// nothing was found, all of it is empty.
func (l *link100) resolved(capabilities []string) (r resolved100) {
	a := &l.attach.address
	f := &l.attach.found
	topic := f.exchange && slices.Contains(capabilities, "topic")
	switch {
	case a.form != formExchange && f.queue && !topic:
		r.queue = string(a.name)
	case a.form == formExchange && f.exchange:
		r.exchange, r.key, r.subject = string(a.name), a.key, !a.hasKey
	case a.form == formName && f.exchange:
		r.exchange, r.subject = string(a.name), true
	case a.form == formName && f.prefix:
		exchange, key, _ := splitAddress(a.name)
		r.exchange, r.key = string(exchange), key
	}
	l.attach.topic = r.exchange != ""
	return r
}

func (l *link100) notFound() *failure100 {
	return &failure100{amqp100.ErrNotFound, fmt.Sprintf("no queue or exchange %.300q", l.attach.address.name)}
}

// openTarget begins an incoming link. A target without an address is the anonymous
// terminus: each message says where it goes.
func (l *link100) openTarget() *failure100 {
	t := &l.attach.target
	switch {
	case t.Dynamic && temporaryTopic(t.Capabilities):
		return errTemporaryTopic()
	case t.Dynamic:
		// Not auto-delete: JMS makes a temporary queue so, and then has consumers of it
		// come and go.
		name := l.declareTemporary(false)
		t.Address, t.DynamicNodeProperties = amqp100.Some(name), temporary100()
		l.node = node100{key: []byte(name)}
		return nil
	case !t.Address.Set:
		l.node = node100{form: keyTo}
		l.answerAttach()
		return nil
	}
	return l.lookUp(t.Address.Value)
}

func (l *link100) resolveTarget() *failure100 {
	a := l.attach
	switch r := l.resolved(a.target.Capabilities); {
	case r.queue != "":
		l.node = node100{key: []byte(r.queue)}
	case r.exchange != "":
		l.node = node100{exchange: []byte(r.exchange), key: r.key}
		// RabbitMQ's form without a key means the empty key, qpidd's the subject.
		if r.subject && a.address.form == formName {
			l.node.form = keySubject
		}
	case l.onDemand(a.target.Capabilities, a.target.Durable, a.target.DynamicNodeProperties):
		l.node = node100{key: a.address.name}
	default:
		return l.notFound()
	}
	return nil
}

// route fills in where p.publish goes. retry says that an address which names no queue is
// to be tried as an exchange.
func (n *node100) route(p *conn100) (retry bool, failure *failure100) {
	if n.form == keyFixed {
		p.publish.Exchange, p.publish.Key = n.exchange, n.key
		return false, nil
	}
	if err := p.sections.DecodeProperties(&p.properties); err != nil {
		return false, &failure100{amqp100.ErrDecode, err.Error()}
	}
	if n.form == keySubject {
		p.publish.Exchange, p.publish.Key = n.exchange, p.properties.Subject
		if len(p.publish.Key) > broker.MaxNameBytes {
			return false, &failure100{amqp100.ErrInvalidField,
				"the subject is too long for a routing key: " + errName.Error()}
		}
		return false, nil
	}
	a, err := parseAddress(p.properties.To)
	if err != nil {
		return false, &failure100{amqp100.ErrInvalidField, "the address a message is to: " + err.Error()}
	}
	if a.form == formExchange {
		p.publish.Exchange, p.publish.Key = a.name, a.key
		return false, nil
	}
	p.publish.Exchange, p.publish.Key = nil, a.name
	return a.form == formName, nil
}

// temporaryTopic tells whether a dynamic node is to be a topic. There are queues only, and consumers of a queue
// would get some messages each where they are to get all.
func temporaryTopic(capabilities []string) bool {
	return slices.Contains(capabilities, "topic") || slices.Contains(capabilities, "temporary-topic")
}

func errTemporaryTopic() *failure100 {
	return &failure100{amqp100.ErrNotImplemented, "dynamic nodes are queues here: use an exchange in place of a temporary topic"}
}

// temporary100 are the properties of a dynamic node, whatever was asked for: it goes with the link (3.5.10).
func temporary100() amqp100.Raw {
	b, at := amqp100.BeginMap(nil)
	b = amqp100.AppendDescriptor(amqp100.AppendSymbol(b, "lifetime-policy"), amqp100.CodeDeleteOnClose)
	b, list := amqp100.BeginList(b)
	return amqp100.EndCompound(amqp100.EndCompound(b, list, 0), at, 2)
}

// declareTemporary makes a queue that goes with the link, or at the latest with the
// connection, and returns its name.
func (l *link100) declareTemporary(autoDelete bool) string {
	p := l.s.p
	var id [16]byte
	p.c.cfg.Random(id[:])
	name := fmt.Sprintf("qpid-tmp-%x", id)
	p.c.req.QueueDeclare(&broker.QueueDeclare{
		Conn: p.c.id, Name: name,
		Options: broker.QueueOptions{Exclusive: true, AutoDelete: autoDelete},
	})
	l.wire()
	l.delete = name
	return name
}

// onDemand makes a queue of an address that was not found, if the client asks for that as
// qpidd's clients do ("create: always"), and tells whether it does.
func (l *link100) onDemand(capabilities []string, durable uint32, properties amqp100.Raw) bool {
	a := &l.attach.address
	if a.form == formExchange || !slices.Contains(capabilities, "create-on-demand") {
		return false
	}
	options := broker.QueueOptions{Durable: durable != amqp100.DurableNone}
	if v, ok := properties.Lookup("durable"); ok {
		options.Durable, _ = v.Bool()
	}
	if v, ok := properties.Lookup("auto-delete"); ok {
		options.AutoDelete, _ = v.Bool()
	}
	p := l.s.p
	l.attach.found.durable = options.Durable
	p.c.req.QueueDeclare(&broker.QueueDeclare{Conn: p.c.id, Name: string(a.name), Options: options})
	l.wire()
	return true
}
