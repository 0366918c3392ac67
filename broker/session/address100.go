package session

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// This file is what addresses mean, in two dialects side by side.
//
// qpidd's: the name of a queue or, where there is none, of an exchange; an exchange may be
// followed by a slash and a routing key or binding key. RabbitMQ 4's, version 2, percent-
// encoded: /queues/QUEUE, /exchanges/EXCHANGE/KEY, /exchanges/EXCHANGE.

// addressForm tells how much an address says.
type addressForm uint8

const (
	formName     addressForm = iota // a queue, an exchange, or an exchange and a key
	formQueue                       // a queue, certainly
	formExchange                    // an exchange, certainly
)

// address100 is an address taken apart. In formName name is all of it.
type address100 struct {
	form   addressForm
	name   []byte
	key    []byte
	hasKey bool
}

var (
	queuesPrefix    = []byte("/queues/")
	exchangesPrefix = []byte("/exchanges/")

	errAddress = errors.New("an address is a queue, an exchange, EXCHANGE/KEY, /queues/QUEUE or " +
		"/exchanges/EXCHANGE/KEY, the last two percent-encoded")
	errName = fmt.Errorf("a name has 1 to %d bytes", broker.MaxNameBytes)
)

// parseAddress takes an address apart. The parts point into s, or, where something had to
// be decoded, into new memory.
func parseAddress(s []byte) (a address100, err error) {
	switch {
	case bytes.HasPrefix(s, queuesPrefix):
		a.form = formQueue
		if a.name, err = unescape(s[len(queuesPrefix):]); err != nil {
			return a, err
		}
	case bytes.HasPrefix(s, exchangesPrefix):
		a.form = formExchange
		name, key, hasKey := bytes.Cut(s[len(exchangesPrefix):], slash)
		if a.name, err = unescape(name); err != nil {
			return a, err
		}
		if a.key, err = unescape(key); err != nil {
			return a, err
		}
		a.hasKey = hasKey
	default:
		a.name = s
	}
	if len(a.name) == 0 || len(a.name) > broker.MaxNameBytes || len(a.key) > broker.MaxNameBytes {
		return a, errName
	}
	return a, nil
}

var slash = []byte{'/'}

// splitAddress is what an address of formName means if it names no queue: an exchange, and
// either a key or that the message's subject is the key.
func splitAddress(name []byte) (exchange, key []byte, subject bool) {
	exchange, key, hasKey := bytes.Cut(name, slash)
	return exchange, key, !hasKey
}

// unescape undoes percent-encoding (RFC 3986, 2.1). A slash must have been encoded.
func unescape(s []byte) ([]byte, error) {
	if bytes.IndexByte(s, '/') >= 0 {
		return nil, errAddress
	}
	if bytes.IndexByte(s, '%') < 0 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			return nil, errAddress
		}
		high, ok1 := hexDigit(s[i+1])
		low, ok2 := hexDigit(s[i+2])
		if !ok1 || !ok2 {
			return nil, errAddress
		}
		out = append(out, high<<4|low)
		i += 2
	}
	return out, nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
