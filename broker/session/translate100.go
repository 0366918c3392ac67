package session

import (
	"strconv"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// The 0-9-1 to 1.0 half of the table in translate.go.

// sectionsTo100 appends the sections of an 0-9-1 message but the header section, up to
// where its body follows as it is stored: behind the head of a data section, mostly.
func sectionsTo100(p *broker.Publish, dst []byte) []byte {
	var m amqp091.Properties
	if m.Decode(p.Props) != nil {
		m = amqp091.Properties{}
	}
	dst = annotationsTo100(dst, p, m.Headers)
	encoded := string(m.Type) == encodedType && isBody100(p.Body)
	properties := propertiesTo100(&m, encoded)
	dst = properties.Append(dst)
	dst = applicationTo100(dst, m.Headers)
	if encoded {
		return dst
	}
	return amqp100.AppendDataHead(dst, len(p.Body))
}

// isBody100 tells whether a body that is said to be encoded sections is.
func isBody100(body []byte) bool {
	var s amqp100.Sections
	return s.Scan(body) == nil && s.BodyAt == 0 && s.BodyCode != 0
}

func propertiesTo100(m *amqp091.Properties, encoded bool) amqp100.Properties {
	// Only what is there is set; an empty string that was sent stays one.
	x := amqp100.Properties{
		UserID: m.UserId, ReplyTo: m.ReplyTo, ContentType: m.ContentType,
		ContentEncoding: m.ContentEncoding, GroupID: m.AppId, Subject: m.Type,
		MessageID:     idTo100(m, m.MessageId, headerMessageID, headerMessageIDType),
		CorrelationID: idTo100(m, m.CorrelationId, headerCorrelationID, headerCorrelationIDType),
	}
	if encoded {
		x.Subject = nil
	}
	if m.Flags&amqp091.FlagTimestamp != 0 {
		x.CreationTime = amqp100.Some(int64(m.Timestamp) * 1000)
	}
	return x
}

// idTo100 is an id in the type that the header typeName gives, or else a string.
func idTo100(m *amqp091.Properties, text []byte, longName, typeName string) amqp100.Raw {
	if v, ok := m.Headers.Lookup(longName); ok && text == nil {
		text, _ = v.Bytes()
	}
	if text == nil {
		return nil
	}
	kind, _ := m.Headers.Lookup(typeName)
	name, _ := kind.Bytes()
	switch string(name) {
	case "ulong":
		if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
			return amqp100.AppendUlong(nil, n)
		}
	case "uuid":
		if id, ok := parseUUID(text); ok {
			return amqp100.AppendUUID(nil, id)
		}
	case "binary":
		return amqp100.AppendBinary(nil, text)
	}
	return amqp100.AppendString(nil, text)
}

// annotationsTo100 appends the message annotations: where the message was published to, as
// RabbitMQ tells it, and the headers that begin with "x-".
func annotationsTo100(b []byte, p *broker.Publish, headers amqp091.Table) []byte {
	b, at := amqp100.BeginMap(amqp100.AppendDescriptor(b, amqp100.CodeMessageAnnotations))
	b = amqp100.AppendString(amqp100.AppendSymbol(b, "x-exchange"), p.Exchange)
	b = amqp100.AppendString(amqp100.AppendSymbol(b, "x-routing-key"), p.Key)
	count := 4
	for {
		name, v, rest, ok := headers.Next()
		if !ok {
			return amqp100.EndCompound(b, at, count)
		}
		headers = rest
		if !isPrivate(name) || isOurs(name) {
			continue
		}
		before := len(b)
		if b, ok = valueTo100(amqp100.AppendSymbol(b, name), v, true, 1); ok {
			count += 2
		} else {
			b = b[:before]
		}
	}
}

// isOurs tells headers that only carry an id from one version to the other.
func isOurs(name []byte) bool {
	switch string(name) {
	case headerMessageID, headerMessageIDType, headerCorrelationID, headerCorrelationIDType, "x-exchange", "x-routing-key":
		return true
	}
	return false
}

// applicationTo100 appends the application properties, if there are any.
func applicationTo100(b []byte, headers amqp091.Table) []byte {
	from := len(b)
	b, at := amqp100.BeginMap(amqp100.AppendDescriptor(b, amqp100.CodeApplicationProperties))
	count := 0
	for {
		name, v, rest, ok := headers.Next()
		if !ok {
			break
		}
		headers = rest
		if isPrivate(name) {
			continue
		}
		before := len(b)
		if b, ok = valueTo100(amqp100.AppendString(b, name), v, false, 1); ok {
			count += 2
		} else {
			b = b[:before]
		}
	}
	if count == 0 {
		return b[:from]
	}
	return amqp100.EndCompound(b, at, count)
}
