package session

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Arguments of declare and bind, which are RabbitMQ's. One that is known is checked, one
// that RabbitMQ knows and this broker does not is refused where leaving it out would change
// what the client gets, and what nobody knows is ignored.
//
// Two limits differ from RabbitMQ's. A message's own expiration has 32 bits, 49 days. And with
// x-overflow reject-publish, what consumers hold counts towards x-max-length and x-max-length-bytes:
// every member has to refuse alike, and only the dispatcher knows what is held.

// queueDeclared is what the arguments of queue.declare say.
type queueDeclared struct {
	o    *broker.QueueOptions
	kind string // x-queue-type
}

// queueArgument takes one argument; what it returns is what is wrong with it.
type queueArgument func(d *queueDeclared, v amqp091.Value) string

var knownQueueArguments = map[string]queueArgument{
	"x-message-ttl": func(d *queueDeclared, v amqp091.Value) string {
		return limit(v, 0, broker.MaxTTL, &d.o.MessageTTL)
	},
	"x-expires": func(d *queueDeclared, v amqp091.Value) string {
		return limit(v, 1, broker.MaxTTL, &d.o.Expires)
	},
	"x-max-length": func(d *queueDeclared, v amqp091.Value) string {
		return limit(v, 0, math.MaxInt64, &d.o.MaxLength)
	},
	"x-max-length-bytes": func(d *queueDeclared, v amqp091.Value) string {
		d.o.CountBodies = true
		return limit(v, 0, math.MaxInt64, &d.o.MaxLengthBytes)
	},
	"x-dead-letter-exchange": func(d *queueDeclared, v amqp091.Value) string {
		return name(v, &d.o.DeadLetter)
	},
	"x-dead-letter-routing-key": func(d *queueDeclared, v amqp091.Value) string {
		return name(v, &d.o.DeadLetterKey)
	},
	"x-overflow":   overflow,
	"x-queue-type": queueType,
	"x-max-priority": func(*queueDeclared, amqp091.Value) string {
		return "queues have no priorities here: leave it out"
	},
	"x-single-active-consumer": func(_ *queueDeclared, v amqp091.Value) string {
		on, ok := v.Bool()
		switch {
		case !ok:
			return expected("boolean", v)
		case on:
			return "not here: consume exclusively instead"
		}
		return ""
	},
	"x-delivery-limit": func(*queueDeclared, amqp091.Value) string {
		return "deliveries are counted but not limited here: leave it out"
	},
	"x-queue-mode": oneOf("default", "lazy"), // long queues page by themselves
	// Messages are dead-lettered at least once always.
	"x-dead-letter-strategy":          oneOf("at-most-once", "at-least-once"),
	"x-max-age":                       onlyStreams,
	"x-stream-max-segment-size-bytes": onlyStreams,
	"x-stream-filter-size-bytes":      onlyStreams,
}

func queueArguments(queue string, t amqp091.Table, o *broker.QueueOptions) *amqp091.Error {
	d := queueDeclared{o: o}
	for {
		name, v, rest, ok := t.Next()
		if !ok {
			break
		}
		t = rest
		if f := knownQueueArguments[string(name)]; f != nil {
			if wrong := f(&d, v); wrong != "" {
				return invalidArgument(string(name), "queue", queue, wrong)
			}
		}
	}
	if o.DeadLetterKey != nil && o.DeadLetter == nil {
		return invalidArgument("x-dead-letter-routing-key", "queue", queue, "routing_key_but_no_dlx_defined")
	}
	return d.quorum(queue)
}

// quorum refuses what RabbitMQ refuses for quorum queues, so that a client which works here
// works there. Here all queues are replicated, whatever their type.
func (d *queueDeclared) quorum(queue string) *amqp091.Error {
	property := ""
	switch {
	case d.kind != "quorum":
		return nil
	case !d.o.Durable:
		property = "non-durable"
	case d.o.Exclusive:
		property = "exclusive-owner"
	case d.o.AutoDelete:
		property = "auto-delete"
	default:
		return nil
	}
	return amqp091.Errorf(amqp091.PreconditionFailed, "invalid property '%s' for queue '%s' in vhost '%s'",
		property, queue, virtualHost)
}

func invalidArgument(argument, kind, object, wrong string) *amqp091.Error {
	return amqp091.Errorf(amqp091.PreconditionFailed, "invalid arg '%s' for %s '%s' in vhost '%s': %s",
		argument, kind, object, virtualHost, wrong)
}

func expected(kind string, v amqp091.Value) string {
	return fmt.Sprintf("expected %s, got %s", kind, v.TypeName())
}

func integer(v amqp091.Value, low, high int64) (int64, string) {
	n, ok := v.Int()
	switch {
	case !ok || v.Type == 'T':
		return 0, expected("integer", v)
	case n < 0:
		return 0, fmt.Sprintf("{value_negative,%d}", n)
	case n < low:
		return 0, fmt.Sprintf("{value_zero,%d}", n)
	case n > high:
		return 0, fmt.Sprintf("{value_too_large,%d}", n)
	}
	return n, ""
}

func limit(v amqp091.Value, low, high int64, to **uint64) string {
	n, wrong := integer(v, low, high)
	if wrong == "" {
		m := uint64(n)
		*to = &m
	}
	return wrong
}

func name(v amqp091.Value, to **string) string {
	b, ok := v.Bytes()
	switch {
	case !ok:
		return expected("string", v)
	case len(b) > broker.MaxNameBytes:
		return fmt.Sprintf("a name of %d bytes: at most %d", len(b), broker.MaxNameBytes)
	}
	s := string(b)
	*to = &s
	return ""
}

func overflow(d *queueDeclared, v amqp091.Value) string {
	b, ok := v.Bytes()
	if !ok {
		return expected("string", v)
	}
	switch string(b) {
	case "drop-head":
		d.o.Overflow = broker.OverflowDropHead
	case "reject-publish":
		d.o.Overflow = broker.OverflowReject
	default:
		return fmt.Sprintf("'%.64s' is none of drop-head, reject-publish", b)
	}
	return ""
}

func queueType(d *queueDeclared, v amqp091.Value) string {
	wrong := oneOf("classic", "quorum")(d, v)
	d.kind = string(v.Raw)
	return wrong
}

func oneOf(words ...string) queueArgument {
	return func(_ *queueDeclared, v amqp091.Value) string {
		b, ok := v.Bytes()
		switch {
		case !ok:
			return expected("string", v)
		case !slices.Contains(words, string(b)):
			return fmt.Sprintf("'%.64s' is none of %q", b, words)
		}
		return ""
	}
}

func onlyStreams(*queueDeclared, amqp091.Value) string {
	return "only streams have it, and there are none here"
}

func exchangeArguments(exchange string, t amqp091.Table, o *broker.ExchangeOptions) *amqp091.Error {
	v, ok := t.Lookup("alternate-exchange")
	if !ok {
		return nil
	}
	var alternate *string
	if wrong := name(v, &alternate); wrong != "" {
		return invalidArgument("alternate-exchange", "exchange", exchange, wrong)
	}
	o.AlternateExchange = *alternate
	return nil
}

var matches = map[string]broker.Match{
	"all": broker.MatchAll, "any": broker.MatchAny,
	"all-with-x": broker.MatchAllX, "any-with-x": broker.MatchAnyX,
}

// bindArguments takes the arguments as a headers exchange wants them; to others they only
// tell bindings apart. In the order of their names, so that equal bindings are equal.
func bindArguments(t amqp091.Table, b *broker.Bind) *amqp091.Error {
	b.HasFields = len(t) > 0
	for {
		name, v, rest, ok := t.Next()
		if !ok {
			break
		}
		t = rest
		if string(name) != "x-match" {
			b.Fields = append(b.Fields, broker.Field{Name: string(name), Value: value091(v)})
			continue
		}
		if v.Type != 'S' {
			return amqp091.Errorf(amqp091.PreconditionFailed, "Invalid x-match field type %s; expected longstr", v.TypeName())
		}
		match, known := matches[string(v.Raw)]
		if !known {
			return amqp091.Errorf(amqp091.PreconditionFailed,
				"Invalid x-match field value '%.64s'; expected all, any, all-with-x, or any-with-x", v.Raw)
		}
		b.Match = match
	}
	slices.SortStableFunc(b.Fields, func(f, g broker.Field) int { return cmp.Compare(f.Name, g.Name) })
	return nil
}
