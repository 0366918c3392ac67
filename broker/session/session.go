package session

import (
	"errors"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Config is what all sessions of a broker share. It is read only once sessions exist.
type Config struct {
	Product   string // as told to clients
	Version   string
	Container string // AMQP 1.0 container id: the same on every member

	// Users answers for passwords; nil means --auth=no: ANONYMOUS, and PLAIN with any.
	Users Users

	FrameBytes   uint32        // largest frame offered; 0 is 128 KiB
	MessageBytes uint64        // largest message taken; 0 is 128 MiB
	Channels     uint16        // most channels or sessions of a connection; 0 is 2047
	Heartbeat    time.Duration // offered to 0-9-1 clients; 0 is 60 s
	Negotiate    time.Duration // a client not open by then is dropped; 0 is 10 s

	// Random fills b; names of temporary queues and SASL nonces come from it.
	Random func(b []byte)
	// Hosts lists the cluster's members as host:port, to be told to clients. May be nil.
	Hosts func() []string
	// Properties are more name and value pairs to tell clients when they connect. May be nil.
	Properties func() [][2]string
}

// Users looks up who may connect.
type Users interface {
	// Verify tells whether this is the user's password, in time that does not depend on
	// whether the user exists.
	Verify(user, password string) bool
	// Scram returns the stored SCRAM-SHA-256 keys of a user. For an unknown one ok is
	// false and the rest a made-up salt and the usual count, stable for that name.
	Scram(user string) (salt, storedKey, serverKey []byte, iterations int, ok bool)
}

// ErrProtocol is wrapped by what a client did wrong before it could be told in its protocol.
var ErrProtocol = errors.New("protocol error")

// protocol is one version's side of a connection. Its methods are those of Conn.
type protocol interface {
	// feed consumes whole frames of data and returns how many bytes that was; want is how
	// many bytes at least must be there for it to get further (0 if any).
	feed(now time.Duration, data []byte) (n, want int)
	answer(now time.Duration, list []broker.Answer)
	tick(now time.Duration) (next time.Duration)
	// excuse has the client's silence begin anew.
	excuse(now time.Duration)
	// block tells the client that it is not listened to, or again.
	block(now time.Duration, blocked bool, why string)
	shut(now time.Duration, text string)
	done() (bool, error)
	// end lets go of all that is held; nothing is said any more.
	end(err error)
}

// Conn is a client's connection: bytes and answers in, requests and bytes out.
//
// The caller owns the goroutine (or the lock) and does, in any order,
//
//	n := c.Feed(now, unread)          // after a read; keep what was not consumed
//	c.Answer(now, answers)            // when the member has answered
//	next := c.Tick(now)               // at the time last returned, or after the others
//
// and after each of them takes c.Requests to the member and c.Output to the socket. When
// Done says so and the output is written, the socket is closed, the session dropped and the
// member told that the connection has ended.
type Conn struct {
	cfg   *Config
	id    broker.ConnID
	proto protocol
	start time.Duration
	req   broker.Requests
	out   Output
	ended bool
	err   error
	// denied is why the client was not let in, if it was not known to be who it said.
	denied error
}

// NewConn returns the session of a socket accepted at now.
func NewConn(cfg *Config, id broker.ConnID, now time.Duration) *Conn {
	return &Conn{cfg: cfg, id: id, start: now}
}

// Feed consumes what it can of data and returns how much that was, and how many bytes the
// caller's buffer must be able to hold for the next frame (0: what it has is enough).
func (c *Conn) Feed(now time.Duration, data []byte) (n, want int) {
	if c.ended {
		return len(data), 0
	}
	if c.proto == nil {
		if n = c.sniff(now, data); n == 0 {
			return 0, 0
		}
	}
	if c.proto == nil {
		return n, 0
	}
	m, want := c.proto.feed(now, data[n:])
	return n + m, want
}

// Answer takes what the member said, in order. The list is the caller's again afterwards.
func (c *Conn) Answer(now time.Duration, list []broker.Answer) {
	if c.proto != nil && !c.ended {
		c.proto.answer(now, list)
		return
	}
	broker.Unpin(list)
}

// Tick does what is due and returns when it wants to be called next; 0 is never.
func (c *Conn) Tick(now time.Duration) time.Duration {
	if c.proto != nil {
		return c.proto.tick(now)
	}
	limit := c.start + c.negotiate()
	if now >= limit && !c.ended {
		c.end(errors.New("no protocol header in time"))
	}
	return limit
}

// Excuse tells that the client's socket is not read at the moment, so that its silence up to now is
// not its own: heartbeats may be waiting there.
func (c *Conn) Excuse(now time.Duration) {
	if c.proto != nil {
		c.proto.excuse(now)
	}
}

// Block has the client told that what it publishes is not taken for a while, and why, or that it is again.
func (c *Conn) Block(now time.Duration, blocked bool, why string) {
	if c.proto != nil {
		c.proto.block(now, blocked, why)
	}
}

func (c *Conn) negotiate() time.Duration {
	if c.cfg.Negotiate == 0 {
		return 10 * time.Second
	}
	return c.cfg.Negotiate
}

// Shut closes the connection from this side: with the protocol's own error for it
// (CONNECTION_FORCED, amqp:connection:forced) and text.
func (c *Conn) Shut(now time.Duration, text string) {
	if c.proto == nil {
		c.end(errors.New(text))
		return
	}
	c.proto.shut(now, text)
}

// Done tells whether the socket is to be closed once Output is written, and why: nil is an
// orderly end.
func (c *Conn) Done() (bool, error) {
	if c.proto != nil && !c.ended {
		return c.proto.done()
	}
	return c.ended, c.err
}

// Denied tells why the client was not let in, if its credentials were wrong: whoever minds the broker
// will want to know.
func (c *Conn) Denied() error { return c.denied }

// Drop lets go of all that the session holds: its socket is gone, and the member is told so.
func (c *Conn) Drop() {
	if c.proto != nil {
		c.proto.end(nil)
	}
	c.ended = true
	c.req.Reset()
	c.out.Reset()
}

// Requests are what the session wants of its member; the caller resets them.
func (c *Conn) Requests() *broker.Requests { return &c.req }

// Output is what the session wants written; the caller takes it with Output.Swap.
func (c *Conn) Output() *Output { return &c.out }

func (c *Conn) end(err error) { c.ended, c.err = true, err }
