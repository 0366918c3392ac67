package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// HeaderValue reads one application header of a message in its protocol's encoding; ok is
// false if the message has none of that name. It is what a headers exchange asks for each of
// its bindings: only values that are strings are allocated.
func HeaderValue(f broker.Format, props []byte, name string) (v broker.Value, ok bool) {
	switch f {
	case broker.FormatAMQP091:
		return headerValue091(props, name)
	case broker.FormatAMQP100:
		return headerValue100(props, name)
	}
	return broker.Value{}, false
}

func headerValue091(props []byte, name string) (broker.Value, bool) {
	v, ok := amqp091.HeaderLookup(props, name)
	if !ok {
		return broker.Value{}, false
	}
	return value091(v), true
}

// value091 makes a value of a field table comparable. Timestamps are integers, decimals are
// floats, and byte arrays are strings.
func value091(v amqp091.Value) broker.Value {
	if v.Type == 'V' {
		return broker.Value{Kind: broker.ValueVoid}
	}
	if on, ok := v.Bool(); ok {
		n := int64(0)
		if on {
			n = 1
		}
		return broker.Value{Kind: broker.ValueBool, Int: n}
	}
	if n, ok := v.Int(); ok {
		return broker.Value{Kind: broker.ValueInt, Int: n}
	}
	if x, ok := v.Float(); ok {
		return broker.Value{Kind: broker.ValueFloat, Float: x}
	}
	if b, ok := v.Bytes(); ok {
		return broker.Value{Kind: broker.ValueString, Str: string(b)}
	}
	return broker.Value{Kind: broker.ValueOther}
}
