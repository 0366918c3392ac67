package session

import (
	"bytes"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// This file is what an outgoing link takes messages from: a queue, or an exchange by way of
// a queue that is bound for the link.

// outcomes100 are what may become of a delivery, as a source names them.
var outcomes100 = []string{
	"amqp:accepted:list", "amqp:rejected:list", "amqp:released:list", "amqp:modified:list",
}

// filter100 is what a source's filters come to. echo is those that are at work.
type filter100 struct {
	key     []byte
	hasKey  bool
	headers amqp100.Raw // a map
	echo    amqp100.Raw
}

// openSource begins an outgoing link.
func (l *link100) openSource() *failure100 {
	src, o := &l.attach.source, &l.out
	o.settled = l.sndMode == amqp100.Settled
	o.browse = src.DistributionMode == "copy"
	outcome, ok := outcome100(src.DefaultOutcome)
	if !ok {
		return &failure100{amqp100.ErrInvalidField, "the default-outcome of the source is none that is known"}
	}
	if o.defaultOutcome = outcome; outcome == 0 {
		o.defaultOutcome = broker.Released
	}
	src.Outcomes = outcomes100
	switch {
	case !l.attach.hasSource:
		l.query(l.subscription(), stepName)
		return nil
	case src.Dynamic && temporaryTopic(src.Capabilities):
		return errTemporaryTopic()
	case src.Dynamic:
		src.Filter = nil
		name := l.declareTemporary(true)
		src.Address, src.DynamicNodeProperties = amqp100.Some(name), temporary100()
		l.subscribe(name, false)
		return nil
	case !src.Address.Set:
		return &failure100{amqp100.ErrInvalidField, "a source needs an address, or to be dynamic"}
	}
	return l.lookUp(src.Address.Value)
}

// subscription is the queue of a source that outlives its link.
func (l *link100) subscription() string { return l.s.p.container + "." + l.name }

// resolveSubscription attaches to the source that there is under the link's name, as a client asks for that
// leaves it out (2.6.3): to go on, or, as JMS does to unsubscribe, to close it.
func (l *link100) resolveSubscription() *failure100 {
	a, name := l.attach, l.subscription()
	if !a.found.queue {
		return &failure100{amqp100.ErrNotFound, fmt.Sprintf("no subscription %.300q, and no source in the attach", l.name)}
	}
	a.hasSource = true
	a.source.Address, a.source.ExpiryPolicy = amqp100.Some(name), "never"
	if a.found.durable {
		a.source.Durable = amqp100.DurableConfiguration
	}
	l.delete, l.keep = name, true
	l.subscribe(name, true)
	return nil
}

func (l *link100) resolveSource() *failure100 {
	a := l.attach
	if !a.hasSource {
		return l.resolveSubscription()
	}
	filter, failure := readFilter(a.source.Filter)
	if failure != nil {
		return failure
	}
	switch r := l.resolved(a.source.Capabilities); {
	case r.queue != "":
		a.source.Filter = nil
		l.subscribe(r.queue, false)
	case r.exchange != "":
		a.source.Filter = filter.echo
		return l.subscribeExchange(&r, &filter)
	case l.onDemand(a.source.Capabilities, a.source.Durable, a.source.DynamicNodeProperties):
		a.source.Filter = nil
		l.subscribe(string(a.address.name), false)
	default:
		return l.notFound()
	}
	return nil
}

// subscribeExchange makes a queue, binds it and consumes it. A source that is to outlive
// its link (durable, or never to expire) has a queue named after container and link, which
// is there until the link is closed and not just detached. The client is told which it is.
func (l *link100) subscribeExchange(r *resolved100, filter *filter100) *failure100 {
	p, src := l.s.p, &l.attach.source
	// The link's queue has a copy of each message already. Were it browsed, they would never leave it.
	l.out.browse = false
	bind := broker.Bind{Conn: p.c.id, Exchange: r.exchange, Key: string(r.key)}
	switch {
	case filter.hasKey:
		bind.Key = string(filter.key)
	case r.subject && l.attach.found.exchangeType == broker.Topic:
		bind.Key = "#"
	}
	if len(bind.Key) > broker.MaxNameBytes {
		return &failure100{amqp100.ErrInvalidField, "the binding key: " + errName.Error()}
	}
	if filter.headers != nil {
		bind.HasFields = true
		bind.Match, bind.Fields = bindFields100(filter.headers)
	}
	durable := src.Durable != amqp100.DurableNone
	if durable || src.ExpiryPolicy == "never" {
		bind.Target = l.subscription()
		if len(bind.Target) > broker.MaxNameBytes {
			return &failure100{amqp100.ErrInvalidField,
				"container-id and link name of a durable subscription together: " + errName.Error()}
		}
		p.c.req.QueueDeclare(&broker.QueueDeclare{
			Conn: p.c.id, Name: bind.Target, Options: broker.QueueOptions{Durable: durable},
		})
		l.wire()
		l.delete, l.keep = bind.Target, true
		src.ExpiryPolicy, src.Timeout = "never", 0
	} else {
		bind.Target = l.declareTemporary(true)
		src.ExpiryPolicy, src.Timeout = "link-detach", 0
	}
	p.c.req.Bind(&bind)
	l.wire()
	l.subscribe(bind.Target, l.keep)
	return nil
}

// readFilter reads the filters of a source that this broker knows. A selector is refused,
// for without it the client would get what it did not ask for; the others that are not
// known are left out of the answer, which tells the client so (3.5.8).
func readFilter(filters amqp100.Raw) (f filter100, failure *failure100) {
	echo, at := amqp100.BeginMap(nil)
	count := 0
	it := filters.Items()
	for it.Next() {
		code, value, ok := it.Value.Described()
		if !ok {
			continue
		}
		text, isText := value.Text()
		switch {
		case code == amqp100.CodeSelectorFilter:
			return f, &failure100{amqp100.ErrNotImplemented, "this broker has no selectors for AMQP 1.0"}
		case (code == amqp100.CodeLegacyDirectBinding || code == amqp100.CodeLegacyTopicBinding) && isText:
			f.key, f.hasKey = text, true
		case code == amqp100.CodeLegacyHeadersBinding && value.Kind() == amqp100.KindMap:
			f.headers = value
		default:
			continue
		}
		echo = append(append(echo, it.Key...), it.Value...)
		count += 2
	}
	if err := it.Err(); err != nil {
		return f, &failure100{amqp100.ErrDecode, "the filter of the source: " + err.Error()}
	}
	if count > 0 {
		f.echo = amqp100.EndCompound(echo, at, count)
	}
	return f, nil
}

// bindFields100 makes binding arguments of the map of a headers filter.
func bindFields100(m amqp100.Raw) (match broker.Match, fields []broker.Field) {
	for it := m.Items(); it.Next(); {
		name, ok := it.Key.Text()
		if !ok {
			continue
		}
		if string(name) != "x-match" {
			fields = append(fields, broker.Field{Name: string(name), Value: value100(it.Value)})
			continue
		}
		how, _ := it.Value.Text()
		switch {
		case bytes.Equal(how, []byte("any")):
			match = broker.MatchAny
		case bytes.Equal(how, []byte("any-with-x")):
			match = broker.MatchAnyX
		case bytes.Equal(how, []byte("all-with-x")):
			match = broker.MatchAllX
		}
	}
	return match, fields
}
