package session

import (
	"strconv"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Messages are translated only where publisher and consumer speak different versions, and
// then only this way:
//
//	0-9-1                         1.0
//	content-type, -encoding       properties.content-type, -encoding
//	headers x-…                   message-annotations x-…
//	headers, others               application-properties
//	delivery-mode, priority       header.durable, priority
//	expiration                    header.ttl
//	correlation-id, message-id    properties.correlation-id, message-id; what is not a string
//	                              there has its type in the header x-…-id-type
//	reply-to                      properties.reply-to, /queues/NAME as NAME
//	timestamp (seconds)           properties.creation-time (milliseconds)
//	type                          properties.subject
//	user-id, app-id               properties.user-id, group-id
//	body                          data; string or binary in amqp-value
//	body, with type amqp-1.0      any other body sections, as they are encoded
//
// It is RabbitMQ's mapping but for type: RabbitMQ keeps it in an annotation of its own.

// encodedType marks an 0-9-1 body that is encoded AMQP 1.0 sections.
const encodedType = "amqp-1.0"

// Headers that keep what 0-9-1 has no place for.
const (
	headerMessageIDType     = "x-message-id-type"
	headerCorrelationIDType = "x-correlation-id-type"
	headerMessageID         = "x-message-id"
	headerCorrelationID     = "x-correlation-id"
)

// propsTo091 appends the property flags and list of a 1.0 message to dst, and returns that
// and the body. The body points into p's, or is new memory that nobody else has.
func propsTo091(p *broker.Publish, dst []byte) (props, body []byte) {
	var s, tail amqp100.Sections
	var properties amqp100.Properties
	var header amqp100.Header
	// Props and Body were scanned when they came in; what is wrong inside them is left out.
	if s.Scan(p.Props) != nil || s.DecodeProperties(&properties) != nil || s.DecodeHeader(&header) != nil {
		properties, header = amqp100.Properties{}, amqp100.Header{}
	}
	body, encoded := bodyTo091(&tail, p.Body)
	m := amqp091.Properties{
		ContentType:     properties.ContentType,
		ContentEncoding: properties.ContentEncoding,
		ReplyTo:         replyTo091(properties.ReplyTo),
		Type:            properties.Subject,
		UserId:          properties.UserID,
		AppId:           properties.GroupID,
		DeliveryMode:    1,
	}
	if encoded {
		m.Type = []byte(encodedType)
	}
	var headers []byte
	m.MessageId, headers = idTo091(headers, properties.MessageID, headerMessageID, headerMessageIDType)
	m.CorrelationId, headers = idTo091(headers, properties.CorrelationID, headerCorrelationID, headerCorrelationIDType)
	headers = fieldsTo091(headers, s.Annotations(), true)
	m.Headers = fieldsTo091(headers, s.Application(), false)
	if p.Flags&broker.FlagDurable != 0 {
		m.DeliveryMode = 2
	}
	if header.Priority.Set {
		m.Flags |= amqp091.FlagPriority
		m.Priority = header.Priority.Value
	}
	if p.Flags&broker.FlagTTL != 0 {
		m.Expiration = strconv.AppendUint(nil, uint64(p.TTL), 10)
	}
	if properties.CreationTime.Set && properties.CreationTime.Value >= 0 {
		m.Flags |= amqp091.FlagTimestamp
		m.Timestamp = uint64(properties.CreationTime.Value) / 1000
	}
	setFlags091(&m)
	return m.Append(dst), body
}

// setFlags091 sets the flags of what is there, and drops what no short string can hold.
func setFlags091(m *amqp091.Properties) {
	m.Flags |= amqp091.FlagDeliveryMode
	if len(m.Headers) > 0 {
		m.Flags |= amqp091.FlagHeaders
	}
	for _, f := range []struct {
		flag  uint16
		value []byte
	}{
		{amqp091.FlagContentType, m.ContentType},
		{amqp091.FlagContentEncoding, m.ContentEncoding},
		{amqp091.FlagCorrelationId, m.CorrelationId},
		{amqp091.FlagReplyTo, m.ReplyTo},
		{amqp091.FlagExpiration, m.Expiration},
		{amqp091.FlagMessageId, m.MessageId},
		{amqp091.FlagType, m.Type},
		{amqp091.FlagUserId, m.UserId},
		{amqp091.FlagAppId, m.AppId},
	} {
		if f.value != nil && len(f.value) <= broker.MaxNameBytes {
			m.Flags |= f.flag
		}
	}
}

// bodyTo091 is a body's bytes, or that they are not plain and stay encoded.
func bodyTo091(s *amqp100.Sections, stored []byte) (body []byte, encoded bool) {
	if s.Scan(stored) != nil {
		return stored, true
	}
	switch s.BodyCode {
	case 0:
		return nil, false
	case amqp100.CodeData:
		return dataTo091(s.Body), false
	case amqp100.CodeAmqpValue:
		_, v, _ := amqp100.Raw(s.Body).Described()
		if v.Kind() == amqp100.KindString {
			text, _ := v.Text()
			return text, false
		}
		if binary, ok := v.Binary(); ok {
			return binary, false
		}
	}
	return s.Body, true
}

// dataTo091 joins data sections; a single one, as nearly always, is not copied.
func dataTo091(sections []byte) (body []byte) {
	for first := true; len(sections) > 0; first = false {
		_, v, rest, err := amqp100.SplitDescribed(sections)
		if err != nil {
			return body
		}
		data, _ := v.Binary()
		if first {
			body = data[:len(data):len(data)]
		} else {
			body = append(body, data...)
		}
		sections = rest
	}
	return body
}

// replyTo091 is a reply address for someone who will publish to the default exchange.
func replyTo091(address []byte) []byte {
	if a, err := parseAddress(address); err == nil && a.form == formQueue {
		return a.name
	}
	return address
}

// idTo091 is an id as text. What was no string is noted in the header typeName, and what is
// too long for a property goes into the header longName.
func idTo091(headers []byte, id amqp100.Raw, longName, typeName string) (text, _ []byte) {
	kind := ""
	switch id.Kind() {
	case amqp100.KindString:
		text, _ = id.Text()
	case amqp100.KindUlong:
		n, _ := id.Uint()
		text, kind = strconv.AppendUint(nil, n, 10), "ulong"
	case amqp100.KindUUID:
		b, _ := id.UUID()
		text, kind = appendUUID(nil, b), "uuid"
	case amqp100.KindBinary:
		text, _ = id.Binary()
		kind = "binary"
	default:
		return nil, headers
	}
	if kind != "" {
		headers = amqp091.AppendString(headers, typeName, kind)
	}
	if len(text) > broker.MaxNameBytes {
		return nil, amqp091.AppendString(headers, longName, string(text))
	}
	return text, headers
}

// fieldsTo091 appends a map's entries as fields. Of annotations those are taken that begin
// with "x-", which by the standard are for everyone's use (3.2.10).
func fieldsTo091(b []byte, m amqp100.Raw, annotations bool) []byte {
	for it := m.Items(); it.Next(); {
		name, ok := it.Key.Text()
		if !ok || len(name) == 0 || len(name) > broker.MaxNameBytes {
			continue
		}
		if annotations && !isPrivate(name) {
			continue
		}
		b = valueTo091(b, string(name), it.Value, 1)
	}
	return b
}

func isPrivate(name []byte) bool { return len(name) > 2 && name[0] == 'x' && name[1] == '-' }
