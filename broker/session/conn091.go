package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/sasl"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// An AMQP 0-9-1 connection (2.2): the handshake in handshake091.go, then methods by channel,
// from channel091.go on, until one side closes. What needs the member becomes a request and
// is answered to the client when the member has, see pending091.go.
//
// Departures from RabbitMQ, which the clients in the field were written for: channels do not
// wait for their own requests, so what a client sends behind a failing publish or behind a
// declare that it did not wait for is still carried out.

// Limits and defaults of 0-9-1 connections.
const (
	frameBytes091   = 128 << 10
	messageBytes091 = 128 << 20
	channels091     = 2047
	heartbeat091    = 60 * time.Second

	// handshakeFrameBytes bounds frames before a size is negotiated: room for client
	// properties and for a SASL response.
	handshakeFrameBytes = 16 << 10

	// assemblyMessages is how many messages of the largest size a connection may have
	// half sent, over all of its channels.
	assemblyMessages = 2
)

// state091 is how far a connection is. Up to running091 the client is negotiating.
type state091 uint8

const (
	startSent    state091 = iota // start sent
	secureSent                   // a challenge sent
	provenSent                   // SASL's last word sent as a challenge, its answer is empty
	tuneSent                     // tune sent
	openDue                      // tune-ok received
	running091                   // open-ok sent
	closing091                   // close received; close-ok once the member has answered all
	closeSent091                 // close sent
	ended091
)

type conn091 struct {
	c     *Conn
	state state091
	err   error
	limit time.Duration // by when the handshake, or the closing, must be over

	user             string
	sasl             sasl.Server
	cancelNotify     bool // the client understands basic.cancel
	authFailureClose bool // the client understands connection.close for a wrong password
	notifyBlocked    bool // the client understands connection.blocked
	blocked          bool // it was told so

	frameMax      int
	channelMax    uint16
	heartbeat     time.Duration
	lastIn        time.Duration
	lastOut       time.Duration
	channels      []*channel091 // by number; [0] stays nil
	consumers     map[broker.ConsumerID]*consumer091
	lastConsumer  broker.ConsumerID
	pending       pending091
	touched       []*channel091 // with confirms or credit to be sent at the end of the batch
	assemblyBytes uint64

	// Scratch space, so that nothing is allocated for a message.
	pub   broker.Publish
	props amqp091.Properties
	bytes []byte
}

func newConn091(c *Conn, now time.Duration) protocol {
	k := &conn091{
		c:         c,
		limit:     c.start + c.negotiate(),
		frameMax:  handshakeFrameBytes,
		lastIn:    now,
		lastOut:   now,
		consumers: map[broker.ConsumerID]*consumer091{},
	}
	k.sendStart()
	return k
}

func (k *conn091) feed(now time.Duration, data []byte) (n, want int) {
	size := k.c.out.Size()
	k.lastIn = now
	for k.state != ended091 {
		f, frameBytes, more, err := amqp091.ReadFrame(data[n:], k.frameMax)
		if err != nil {
			// Where the next frame begins is not known, so this is the end: the client
			// is told, and not listened to any more.
			k.fail(now, asError(err))
			k.end(fmt.Errorf("%w: %w", ErrProtocol, err))
			break
		}
		if frameBytes == 0 {
			want = more
			break
		}
		n += frameBytes
		if e := k.frame(now, &f); e != nil {
			k.fail(now, e)
		}
	}
	if k.state == ended091 {
		n = len(data)
	}
	k.flush(now, size)
	return n, want
}

// frame dispatches by state and by channel.
func (k *conn091) frame(now time.Duration, f *amqp091.Frame) *amqp091.Error {
	if f.Type == amqp091.FrameHeartbeat {
		if f.Channel != 0 {
			return amqp091.Errorf(amqp091.FrameError, "heartbeat on channel %d", f.Channel)
		}
		return nil
	}
	switch {
	case k.state == closeSent091:
		k.awaitCloseOk(f)
		return nil
	case k.state == closing091:
		return nil
	case f.Channel != 0 && k.state == running091:
		if e := k.channelFrame(f); e != nil {
			return k.channelError(f.Channel, e)
		}
		return nil
	case f.Channel != 0:
		return amqp091.Errorf(amqp091.ChannelError, "frame on channel %d before the connection is open", f.Channel)
	case f.Type != amqp091.FrameMethod:
		return amqp091.Errorf(amqp091.CommandInvalid, "content on channel 0")
	}
	id, arguments, err := f.Method()
	if err != nil {
		return asError(err)
	}
	e := k.connectionMethod(now, id, arguments)
	if e != nil && e.Method == 0 {
		e.Method = id
	}
	return e
}

func (k *conn091) connectionMethod(now time.Duration, id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch {
	case id == amqp091.ConnectionCloseID:
		return k.closeReceived(now, arguments)
	case k.state < running091:
		return k.handshake(id, arguments)
	case id == amqp091.ConnectionUpdateSecretID:
		var m amqp091.ConnectionUpdateSecret
		if err := m.Decode(arguments); err != nil {
			return asError(err)
		}
		k.send(0, &amqp091.ConnectionUpdateSecretOk{})
		return nil
	}
	return unexpected(id)
}

// closeReceived answers a close once everything asked for before it is done, so that a
// client which publishes and closes has published.
func (k *conn091) closeReceived(now time.Duration, arguments []byte) *amqp091.Error {
	var m amqp091.ConnectionClose
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	k.state = closing091
	k.limit = now + k.c.negotiate()
	k.releaseHeld()
	k.closeIfDone()
	return nil
}

func (k *conn091) closeIfDone() {
	if k.state == closing091 && k.pending.count == 0 {
		k.send(0, &amqp091.ConnectionCloseOk{})
		k.end(nil)
	}
}

func (k *conn091) awaitCloseOk(f *amqp091.Frame) {
	if f.Channel != 0 || f.Type != amqp091.FrameMethod {
		return
	}
	switch id, _, _ := f.Method(); id {
	case amqp091.ConnectionCloseID:
		k.send(0, &amqp091.ConnectionCloseOk{}) // both sides closed at once (2.2.4)
	case amqp091.ConnectionCloseOkID:
		k.end(k.err)
	}
}

// fail closes the connection with an error. Who is not yet known is told so too: a client
// that cannot make sense of it loses nothing.
func (k *conn091) fail(now time.Duration, e *amqp091.Error) {
	if k.state >= closing091 {
		return
	}
	k.close(now, e)
	k.err = fmt.Errorf("%w: %s", ErrProtocol, e.Text)
}

func (k *conn091) close(now time.Duration, e *amqp091.Error) {
	k.releaseHeld()
	k.send(0, &amqp091.ConnectionClose{
		ReplyCode: uint16(e.Code),
		ReplyText: []byte(e.Text),
		ClassId:   e.Method.Class(),
		MethodId:  e.Method.Number(),
	})
	k.state = closeSent091
	k.limit = now + k.c.negotiate()
	k.err = errors.New(e.Text)
}

func (k *conn091) end(err error) {
	k.releaseHeld()
	k.state, k.err = ended091, err
}

func (k *conn091) shut(now time.Duration, text string) {
	size := k.c.out.Size()
	switch {
	case k.state <= provenSent:
		k.end(errors.New(text))
	case k.state < closing091:
		k.close(now, amqp091.Errorf(amqp091.ConnectionForced, "%s", text))
	}
	k.flush(now, size)
}

func (k *conn091) done() (bool, error) { return k.state == ended091, k.err }

// tick sends heartbeats and drops who is silent or slow (4.2.7).
func (k *conn091) tick(now time.Duration) (next time.Duration) {
	if k.state == ended091 {
		return 0
	}
	if k.state != running091 {
		if now < k.limit {
			return k.limit
		}
		if k.err == nil {
			k.err = errors.New("handshake or closing took too long")
		}
		k.end(k.err)
		return 0
	}
	if k.heartbeat == 0 {
		return 0
	}
	size := k.c.out.Size()
	dead := k.lastIn + 2*k.heartbeat
	if now >= dead {
		k.end(fmt.Errorf("missed heartbeats from client, timeout: %v", k.heartbeat))
		return 0
	}
	if now >= k.lastOut+k.heartbeat/2 {
		k.c.out.SetBuffer(amqp091.AppendHeartbeat(k.c.out.Buffer()))
	}
	k.flush(now, size)
	return min(dead, k.lastOut+k.heartbeat/2)
}

func (k *conn091) excuse(now time.Duration) { k.lastIn = now }

func (k *conn091) block(now time.Duration, blocked bool, why string) {
	if k.state != running091 || !k.notifyBlocked || blocked == k.blocked {
		return
	}
	k.blocked = blocked
	size := k.c.out.Size()
	if blocked {
		k.send(0, &amqp091.ConnectionBlocked{Reason: []byte(why)})
	} else {
		k.send(0, &amqp091.ConnectionUnblocked{})
	}
	k.flush(now, size)
}

// flush ends a batch: what was put off to be said once is said, and whether anything was
// said counts for the heartbeat. size is the output's before the batch.
func (k *conn091) flush(now time.Duration, size int) {
	for i, ch := range k.touched {
		ch.touched = false
		ch.flush()
		k.touched[i] = nil
	}
	k.touched = k.touched[:0]
	if k.c.out.Size() != size {
		k.lastOut = now
	}
}

// send writes a method. The hot ones (deliver, ack) are appended directly, as a method in an
// interface is allocated.
func (k *conn091) send(channel uint16, m amqp091.Method) {
	k.c.out.SetBuffer(m.Append(k.c.out.Buffer(), channel))
}

func (k *conn091) messageBytes() uint64 {
	if k.c.cfg.MessageBytes == 0 {
		return messageBytes091
	}
	return k.c.cfg.MessageBytes
}
