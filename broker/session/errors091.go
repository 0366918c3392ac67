package session

import (
	"errors"
	"fmt"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// asError gives a codec's error its type back; anything else is a fault of our own.
func asError(err error) *amqp091.Error {
	var e *amqp091.Error
	if errors.As(err, &e) {
		return e
	}
	return amqp091.Errorf(amqp091.InternalError, "%v", err)
}

// replyCodes are the standard's words for what a member refuses.
var replyCodes = map[broker.Code]amqp091.ReplyCode{
	broker.NotFound:           amqp091.NotFound,
	broker.AccessRefused:      amqp091.AccessRefused,
	broker.ResourceLocked:     amqp091.ResourceLocked,
	broker.PreconditionFailed: amqp091.PreconditionFailed,
	broker.NoRoute:            amqp091.NoRoute,
	broker.Refused:            amqp091.PreconditionFailed,
	broker.NotAllowed:         amqp091.NotAllowed,
	// Reconnecting is what helps, and what clients do when a connection is forced.
	broker.Unavailable: amqp091.ConnectionForced,
	broker.NoMemory:    amqp091.ResourceError,
	broker.InUse:       amqp091.AccessRefused,
}

// failure is the error that a call's result amounts to, nil if it went well.
func (c *call091) failure() *amqp091.Error {
	r := &c.result
	if r.Code == broker.OK {
		return nil
	}
	if r.Code == broker.NotFound {
		switch c.method {
		case amqp091.QueueDeleteID, amqp091.ExchangeDeleteID, amqp091.QueueUnbindID, amqp091.ExchangeUnbindID:
			return nil // what shall not be is not: RabbitMQ's idempotent deletes
		}
		if c.reserved {
			return reservedName(c.subject, c.name)
		}
	}
	text := inVhost(r.Text)
	if text == "" {
		text = c.defaultText()
	}
	code, ok := replyCodes[r.Code]
	if !ok {
		code = amqp091.InternalError
	}
	return amqp091.Errorf(code, "%s", text)
}

// inVhost completes the name of an object in a text as clients know it. The broker's texts
// serve protocols without virtual hosts too.
func inVhost(text string) string {
	for _, kind := range [...]string{"queue '", "exchange '"} {
		_, after, ok := strings.Cut(text, kind)
		if !ok {
			continue
		}
		if i := strings.IndexByte(after, '\''); i >= 0 {
			at := len(text) - len(after) + i + 1
			return text[:at] + " in vhost '" + virtualHost + "'" + text[at:]
		}
	}
	return text
}

func (c *call091) defaultText() string {
	object := fmt.Sprintf("%s '%s' in vhost '%s'", c.subject, c.name, virtualHost)
	switch c.result.Code {
	case broker.NotFound:
		return "no " + object
	case broker.ResourceLocked:
		return "cannot obtain exclusive access to locked " + object +
			". It could be originally declared on another connection or the exclusive property value" +
			" does not match that of the original declaration."
	case broker.AccessRefused:
		return "access to " + object + " refused"
	case broker.Unavailable:
		return "no quorum: try another member of the cluster"
	}
	return object
}

func reservedName(kind, name string) *amqp091.Error {
	return amqp091.Errorf(amqp091.AccessRefused, "%s name '%s' contains reserved prefix 'amq.*'", kind, name)
}
