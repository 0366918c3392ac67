package broker

import "fmt"

// difference is the first option in which a declaration differs from what is there, as clients spell it.
type difference struct{ option, received, current string }

func (d *difference) refusal(kind, name string) *Result {
	return fail(PreconditionFailed, "inequivalent arg '%s' for %s '%s': received %s but current is %s",
		d.option, kind, name, d.received, d.current)
}

// none is what an option is that was not given.
const none = "none"

func compare[T comparable](d *difference, option string, current, received T) {
	if d.option == "" && current != received {
		*d = difference{option, fmt.Sprintf("'%v'", received), fmt.Sprintf("'%v'", current)}
	}
}

func compareOpt[T comparable](d *difference, option string, current, received *T) {
	if d.option != "" || current == received || current != nil && received != nil && *current == *received {
		return
	}
	*d = difference{option, quoteOpt(received), quoteOpt(current)}
}

func quoteOpt[T any](v *T) string {
	if v == nil {
		return none
	}
	return fmt.Sprintf("'%v'", *v)
}

func compareName(d *difference, option, current, received string) {
	compareOpt(d, option, nameOpt(current), nameOpt(received))
}

func nameOpt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// differ compares all but Exclusive, and CountBodies, which is not a client's to say.
func (o *QueueOptions) differ(p *QueueOptions) (d difference) {
	compare(&d, "durable", o.Durable, p.Durable)
	compare(&d, "auto_delete", o.AutoDelete, p.AutoDelete)
	compareOpt(&d, "x-message-ttl", o.MessageTTL, p.MessageTTL)
	compareOpt(&d, "x-expires", o.Expires, p.Expires)
	compareOpt(&d, "x-max-length", o.MaxLength, p.MaxLength)
	compareOpt(&d, "x-max-length-bytes", o.MaxLengthBytes, p.MaxLengthBytes)
	compare(&d, "x-overflow", o.Overflow, p.Overflow)
	compareOpt(&d, "x-dead-letter-exchange", o.DeadLetter, p.DeadLetter)
	compareOpt(&d, "x-dead-letter-routing-key", o.DeadLetterKey, p.DeadLetterKey)
	compareName(&d, "alternate-exchange", o.AlternateExchange, p.AlternateExchange)
	return d
}

func (o *ExchangeOptions) differ(p *ExchangeOptions) (d difference) {
	compare(&d, "type", o.Type, p.Type)
	compare(&d, "durable", o.Durable, p.Durable)
	compare(&d, "auto_delete", o.AutoDelete, p.AutoDelete)
	compare(&d, "internal", o.Internal, p.Internal)
	compareName(&d, "alternate-exchange", o.AlternateExchange, p.AlternateExchange)
	return d
}

func (o Overflow) String() string {
	if o == OverflowReject {
		return "reject-publish"
	}
	return "drop-head"
}

func (t ExchangeType) String() string {
	switch t {
	case Direct:
		return "direct"
	case Fanout:
		return "fanout"
	case Topic:
		return "topic"
	case Headers:
		return "headers"
	}
	return "unknown"
}
