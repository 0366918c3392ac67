package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// headerValue100 looks up a header for the headers exchange: an application property of a
// message whose stored sections props are. Only a string that is found allocates.
func headerValue100(props []byte, name string) (broker.Value, bool) {
	for len(props) > 0 {
		code, value, rest, err := amqp100.SplitDescribed(props)
		if err != nil {
			break
		}
		if code == amqp100.CodeApplicationProperties {
			v, ok := value.Lookup(name)
			if !ok {
				return broker.Value{}, false
			}
			return value100(v), true
		}
		props = rest
	}
	return broker.Value{}, false
}

// value100 is a value in no protocol's encoding. Timestamps are compared as integers, and
// binaries as strings, as the same values of 0-9-1 are.
func value100(v amqp100.Raw) broker.Value {
	switch v.Kind() {
	case amqp100.KindNull:
		return broker.Value{Kind: broker.ValueVoid}
	case amqp100.KindBool:
		b, _ := v.Bool()
		if b {
			return broker.Value{Kind: broker.ValueBool, Int: 1}
		}
		return broker.Value{Kind: broker.ValueBool}
	case amqp100.KindFloat, amqp100.KindDouble:
		f, _ := v.Float()
		return broker.Value{Kind: broker.ValueFloat, Float: f}
	}
	if n, ok := v.Int(); ok {
		return broker.Value{Kind: broker.ValueInt, Int: n}
	}
	if s, ok := v.Text(); ok {
		return broker.Value{Kind: broker.ValueString, Str: string(s)}
	}
	if s, ok := v.Binary(); ok {
		return broker.Value{Kind: broker.ValueString, Str: string(s)}
	}
	return broker.Value{Kind: broker.ValueOther}
}
