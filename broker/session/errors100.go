package session

import (
	"strconv"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// errNoQuorum is a condition of our own: the standard has no word for a broker that can do
// nothing at the moment, while the same request would go well at another one.
const errNoQuorum = "qpid-cluster:no-quorum"

// condition100 is the error condition of AMQP 1.0 for how a request ended.
func condition100(c broker.Code) string {
	switch c {
	case broker.NotFound:
		return amqp100.ErrNotFound
	case broker.AccessRefused:
		return amqp100.ErrUnauthorizedAccess
	case broker.ResourceLocked, broker.InUse:
		return amqp100.ErrResourceLocked
	case broker.PreconditionFailed:
		return amqp100.ErrPreconditionFailed
	case broker.Refused, broker.NoMemory:
		return amqp100.ErrResourceLimitExceeded
	case broker.NotAllowed:
		return amqp100.ErrNotAllowed
	case broker.Unavailable:
		return errNoQuorum
	}
	return amqp100.ErrInternal
}

// failure100 is why something is refused: a condition of the standard, and words.
type failure100 struct{ condition, text string }

func (f *failure100) encode() *amqp100.Error {
	return &amqp100.Error{Condition: f.condition, Description: f.text}
}

// splitHostPort takes host:port apart, also with an IPv6 address in brackets.
func splitHostPort(s string) (host string, port int32, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	host = strings.TrimSuffix(strings.TrimPrefix(s[:i], "["), "]")
	return host, int32(n), err == nil && host != ""
}
