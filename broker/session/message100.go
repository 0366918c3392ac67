package session

import (
	"encoding/binary"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// message100 is a message as it goes out: all before the body, made anew, and the body
// (and footer) as stored.
type message100 struct {
	head  []byte
	body  []byte
	named bool // the body is named in the output, not copied
}

func (m *message100) size() int { return len(m.head) + len(m.body) }

// write writes n bytes from a position in the message.
func (m *message100) write(out *Output, from, n int) {
	if from < len(m.head) {
		part := m.head[from:min(len(m.head), from+n)]
		out.Append(part)
		from, n = from+len(part), n-len(part)
	}
	if n == 0 {
		return
	}
	part := m.body[from-len(m.head):][:n]
	if m.named {
		out.Body(part, nil)
		return
	}
	out.Append(part)
}

// appendHead100 appends a delivery's message up to its body. The header section tells how
// often it was delivered and what is left of its time; the others are as stored, or, if
// it was published by 0-9-1, what sectionsTo100 makes of its properties.
func appendHead100(b []byte, m *broker.Publish, d *delivery100) []byte {
	h := amqp100.Header{
		Durable:       m.Flags&broker.FlagDurable != 0,
		FirstAcquirer: d.deliveries == 0 && m.Flags&broker.FlagRedelivered == 0,
		DeliveryCount: d.deliveries,
	}
	if m.Priority != amqp100.DefaultPriority && hasPriority(m) {
		h.Priority = amqp100.Some(m.Priority)
	}
	if m.Flags&broker.FlagTTL != 0 {
		h.TTL = amqp100.Some(d.ttl)
	}
	b = h.Append(b)
	if m.Format == broker.FormatAMQP091 {
		return sectionsTo100(m, b)
	}
	return append(b, m.Props[headerSectionBytes(m.Props):]...)
}

// hasPriority tells whether a message's priority was given. 0-9-1 has no default for it,
// 1.0 has.
func hasPriority(m *broker.Publish) bool {
	return m.Format != broker.FormatAMQP091 ||
		len(m.Props) >= 2 && binary.BigEndian.Uint16(m.Props)&amqp091.FlagPriority != 0
}

// headerSectionBytes is the size of the header section that props begin with, if they do.
func headerSectionBytes(props []byte) int {
	code, _, rest, err := amqp100.SplitDescribed(props)
	if err != nil || code != amqp100.CodeHeader {
		return 0
	}
	return len(props) - len(rest)
}
