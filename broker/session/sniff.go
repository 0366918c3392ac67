package session

import (
	"bytes"
	"fmt"
	"time"
)

// Protocol headers, as their standards give them.
var (
	header091     = []byte{'A', 'M', 'Q', 'P', 0, 0, 9, 1}
	header100     = []byte{'A', 'M', 'Q', 'P', 0, 1, 0, 0}
	header100SASL = []byte{'A', 'M', 'Q', 'P', 3, 1, 0, 0}
)

const headerBytes = 8

// sniff lets the protocol header decide who speaks. It returns how much it consumed.
func (c *Conn) sniff(now time.Duration, data []byte) int {
	if len(data) < headerBytes {
		if !bytes.HasPrefix(header091, data[:min(4, len(data))]) {
			c.refuse(data)
			return len(data)
		}
		return 0
	}
	switch head := data[:headerBytes]; {
	case bytes.Equal(head, header091):
		c.proto = newConn091(c, now)
	case bytes.Equal(head, header100SASL), bytes.Equal(head, header100) && c.cfg.Users == nil:
		c.proto = newConn100(c, now, head[4] == 3)
	default:
		c.refuse(head)
		return len(data)
	}
	return headerBytes
}

// refuse answers an unknown header with one that is known, as 2.2 of AMQP 1.0 part 2 and
// 4.2.2 of 0-9-1 both ask, and ends the connection. A bare AMQP 1.0 header where
// authentication is due is answered with the SASL one (5.3.2).
func (c *Conn) refuse(head []byte) {
	answer := header100SASL
	if len(head) >= headerBytes && bytes.HasPrefix(head, header091[:4]) && head[4] <= 1 && head[5] == 0 {
		answer = header091
	}
	if len(head) >= headerBytes && bytes.Equal(head[:headerBytes], header100) {
		answer = header100SASL
	}
	c.out.Append(answer)
	c.end(fmt.Errorf("%w: header %q is none of AMQP 0-9-1, 1.0 and 1.0 with SASL", ErrProtocol, head[:min(headerBytes, len(head))]))
}
