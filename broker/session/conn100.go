package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Limits of an AMQP 1.0 connection. What a client may make a session hold is their sum:
// partial messages (twice cfg.MessageBytes), links (each an attach frame at most, and the
// deliveries that its credit allows), and what is unsettled.
const (
	defaultFrameBytes   = 128 << 10
	defaultMessageBytes = 128 << 20
	defaultChannels     = 2047
	defaultHeartbeat    = 60 * time.Second
	maxSASLFrameBytes   = 8 << 10
	maxLinks100         = 4096 // of a connection
	closeTimeout        = 5 * time.Second
)

// state100 is where a connection stands (2.4.6, 5.3.2).
type state100 uint8

const (
	stateSASL    state100 = iota // the client's sasl-init or sasl-response is next
	stateHeader                  // SASL is over, the AMQP header is next
	stateOpen                    // open is next
	stateRunning                 // opened both ways
	stateClosing                 // close was sent, the client's is next
	stateEnded
)

// conn100 is a connection that speaks AMQP 1.0.
type conn100 struct {
	c     *Conn
	state state100
	err   error
	now   time.Duration
	limit time.Duration // by when the state must be left: open, or close, is due

	sasl      sasl100
	container string // the client's

	frameBytes uint32        // the largest frame that may be sent
	heard      time.Duration // when the client last sent something
	wrote      time.Duration // when a frame was last made for it
	idle       time.Duration // the client must be heard this often; 0 is any
	beat       time.Duration // and wants to hear us this often; 0 is never

	sessions  []*session100 // by channel
	consumers []*link100    // by consumer slot, see receiver100.go
	links     int
	partial   uint64 // bytes of messages of which a part has arrived
	pending   pending100

	// What is decoded per frame or message, here because it would escape otherwise.
	transfer    amqp100.Transfer
	flow        amqp100.Flow
	disposition amqp100.Disposition
	sections    amqp100.Sections
	header      amqp100.Header
	properties  amqp100.Properties
	publish     broker.Publish
	scratch     []byte
	tag         [4]byte
}

// newConn100 answers the protocol header that the caller has read. With sasl that was the
// SASL one, and the AMQP one comes when the client is known.
func newConn100(c *Conn, now time.Duration, sasl bool) protocol {
	p := &conn100{
		c: c, now: now, limit: c.start + c.negotiate(), heard: now, wrote: now,
		frameBytes: amqp100.MinMaxFrameBytes,
	}
	p.pending.first = 1
	if !sasl {
		p.state = stateOpen
		c.out.Append(header100)
		return p
	}
	c.out.Append(header100SASL)
	p.offerMechanisms()
	return p
}

func (p *conn100) maxFrameBytes() uint32 {
	if p.c.cfg.FrameBytes == 0 {
		return defaultFrameBytes
	}
	return max(p.c.cfg.FrameBytes, amqp100.MinMaxFrameBytes)
}

func (p *conn100) maxMessageBytes() uint64 {
	if p.c.cfg.MessageBytes == 0 {
		return defaultMessageBytes
	}
	// An entry holds the message, two names and its own header besides.
	return min(p.c.cfg.MessageBytes, broker.MaxEntryBytes-1024)
}

func (p *conn100) channelMax() uint16 {
	if p.c.cfg.Channels == 0 {
		return defaultChannels
	}
	return p.c.cfg.Channels
}

func (p *conn100) feed(now time.Duration, data []byte) (n, want int) {
	p.now = now
	if len(data) > 0 {
		p.heard = now
	}
	for p.state != stateEnded {
		size, whole := p.feedOne(data[n:])
		if !whole && p.state != stateEnded {
			p.flush()
			return n, size
		}
		n += size
	}
	return len(data), 0
}

// feedOne consumes one frame, or the AMQP header where that is due. size is what it took,
// or what must be there for it to be taken.
func (p *conn100) feedOne(data []byte) (size int, whole bool) {
	if p.state == stateHeader {
		return p.feedHeader(data)
	}
	limit := p.maxFrameBytes()
	if p.state == stateSASL {
		limit = maxSASLFrameBytes
	}
	frame, size, whole, err := amqp100.ParseFrame(data, limit)
	if err != nil {
		p.malformed(err)
		return 0, false
	}
	if !whole {
		return size, false
	}
	switch {
	case p.state == stateSASL && frame.Type == amqp100.FrameSASL:
		p.onSASL(frame.Body)
	case p.state != stateSASL && frame.Type == amqp100.FrameAMQP:
		p.onFrame(&frame)
	default:
		p.malformed(&amqp100.FrameError{Text: "an AMQP frame where a SASL frame is due, or the other way round"})
	}
	return size, true
}

func (p *conn100) feedHeader(data []byte) (size int, whole bool) {
	if len(data) < headerBytes {
		return headerBytes, false
	}
	if string(data[:headerBytes]) != string(header100) {
		p.end(fmt.Errorf("%w: no AMQP 1.0 header after SASL", ErrProtocol))
		p.c.out.Append(header100)
		return headerBytes, false
	}
	p.c.out.Append(header100)
	p.state = stateOpen
	return headerBytes, true
}

// onFrame takes an AMQP frame: connection performatives here, the others by their session.
func (p *conn100) onFrame(frame *amqp100.Frame) {
	if len(frame.Body) == 0 {
		return // only shows that the client lives (2.4.5)
	}
	code, value, payload, err := amqp100.SplitDescribed(frame.Body)
	if err != nil {
		p.malformed(err)
		return
	}
	switch {
	case p.state == stateClosing:
		if code == amqp100.CodeClose {
			p.end(p.err)
		}
	case code == amqp100.CodeClose:
		p.onClose()
	case p.state == stateOpen && code == amqp100.CodeOpen:
		p.onOpen(value)
	case p.state == stateOpen:
		p.fail(amqp100.ErrIllegalState, "the first frame must be open, this one was "+code.String())
	case code == amqp100.CodeOpen:
		p.fail(amqp100.ErrIllegalState, "a second open")
	case code == amqp100.CodeBegin:
		err = p.onBegin(frame.Channel, value)
	default:
		err = p.onSessionFrame(frame.Channel, code, value, payload)
	}
	if err != nil {
		p.malformed(err)
	}
}

func (p *conn100) onSessionFrame(channel uint16, code amqp100.Code, value, payload []byte) error {
	s := p.session(channel)
	if s == nil {
		p.fail(amqp100.ErrFraming, fmt.Sprintf("%v on channel %d, which has no session", code, channel))
		return nil
	}
	return s.onFrame(code, value, payload)
}

func (p *conn100) session(channel uint16) *session100 {
	if int(channel) >= len(p.sessions) {
		return nil
	}
	return p.sessions[channel]
}

func (p *conn100) onOpen(value []byte) {
	var open amqp100.Open
	if err := open.Decode(value); err != nil {
		p.malformed(err)
		return
	}
	p.container = open.ContainerID
	if open.MaxFrameSize < amqp100.MinMaxFrameBytes {
		p.fail(amqp100.ErrInvalidField,
			fmt.Sprintf("max-frame-size %d is under %d", open.MaxFrameSize, amqp100.MinMaxFrameBytes))
		return
	}
	p.frameBytes = min(open.MaxFrameSize, p.maxFrameBytes())
	p.beat = time.Duration(open.IdleTimeOut) * time.Millisecond / 2
	p.idle = 2 * p.idleTimeOut()
	p.sendOpen()
	p.state = stateRunning
}

// idleTimeOut is what the client is told, half of what it gets (2.4.5).
func (p *conn100) idleTimeOut() time.Duration {
	if p.c.cfg.Heartbeat == 0 {
		return defaultHeartbeat
	}
	return p.c.cfg.Heartbeat
}

func (p *conn100) sendOpen() {
	cfg := p.c.cfg
	open := amqp100.Open{
		ContainerID:         cfg.Container,
		MaxFrameSize:        p.maxFrameBytes(),
		ChannelMax:          p.channelMax() - 1,
		IdleTimeOut:         uint32(p.idleTimeOut() / time.Millisecond),
		OfferedCapabilities: []string{"ANONYMOUS-RELAY"},
		Properties:          openProperties(cfg),
	}
	b, at := p.beginFrame(0)
	p.endFrame(open.Append(b), at)
}

// openProperties names the product, and the other members as the clients that fail over
// by themselves (Qpid JMS, Artemis) look for them.
func openProperties(cfg *Config) amqp100.Raw {
	b, at := amqp100.BeginMap(nil)
	b = amqp100.AppendString(amqp100.AppendSymbol(b, "product"), cfg.Product)
	b = amqp100.AppendString(amqp100.AppendSymbol(b, "version"), cfg.Version)
	count := 4
	if cfg.Hosts != nil {
		if hosts := cfg.Hosts(); len(hosts) > 0 {
			b = appendHosts(amqp100.AppendSymbol(b, "failover-server-list"), hosts)
			count += 2
		}
	}
	if cfg.Properties != nil {
		for _, nv := range cfg.Properties() {
			b = amqp100.AppendString(amqp100.AppendSymbol(b, nv[0]), nv[1])
			count += 2
		}
	}
	return amqp100.EndCompound(b, at, count)
}

func appendHosts(b []byte, hosts []string) []byte {
	b, list := amqp100.BeginList(b)
	count := 0
	for _, h := range hosts {
		host, port, ok := splitHostPort(h)
		if !ok {
			continue
		}
		count++
		var at int
		b, at = amqp100.BeginMap(b)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, "hostname"), host)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, "network-host"), host)
		b = amqp100.AppendInt(amqp100.AppendSymbol(b, "port"), port)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, "scheme"), "amqp")
		b = amqp100.EndCompound(b, at, 8)
	}
	return amqp100.EndCompound(b, list, count)
}

// onClose answers the client's close and is done.
func (p *conn100) onClose() {
	if p.state == stateOpen {
		p.sendOpen()
	}
	p.sendClose(nil)
	p.end(nil)
}

func (p *conn100) sendClose(e *amqp100.Error) {
	b, at := p.beginFrame(0)
	p.endFrame((&amqp100.Close{Error: e}).Append(b), at)
}

// fail closes the connection for what the client did, and waits for its close.
func (p *conn100) fail(condition, text string) {
	p.close(condition, text, fmt.Errorf("%w: %s: %s", ErrProtocol, condition, text))
}

func (p *conn100) close(condition, text string, err error) {
	if p.state == stateClosing || p.state == stateEnded {
		return
	}
	if p.state < stateOpen {
		p.end(err)
		return
	}
	if p.state == stateOpen {
		p.sendOpen()
	}
	p.flush()
	p.sendClose(&amqp100.Error{Condition: condition, Description: text})
	p.letGo()
	p.state, p.err, p.limit = stateClosing, err, p.now+closeTimeout
}

// malformed is fail for bytes that make no sense, after which none will.
func (p *conn100) malformed(err error) {
	condition := amqp100.ErrFraming
	var d *amqp100.DecodeError
	if errors.As(err, &d) {
		condition = amqp100.ErrDecode
	}
	p.fail(condition, err.Error())
	p.end(fmt.Errorf("%w: %w", ErrProtocol, err))
}

func (p *conn100) end(err error) {
	p.letGo()
	p.state, p.err = stateEnded, err
}

// letGo forgets all links. What they held goes back when the member hears that the
// connection has ended; only the pins are ours to return.
func (p *conn100) letGo() {
	for _, l := range p.consumers {
		if l != nil {
			l.out.drop()
		}
	}
	p.sessions, p.consumers = nil, nil
}

func (p *conn100) shut(now time.Duration, text string) {
	p.now = now
	p.close(amqp100.ErrConnectionForced, text, errors.New(text))
}

func (p *conn100) done() (bool, error) { return p.state == stateEnded, p.err }

func (p *conn100) tick(now time.Duration) (next time.Duration) {
	p.now = now
	switch p.state {
	case stateEnded:
		return 0
	case stateRunning:
		return p.tickRunning()
	}
	if now < p.limit {
		return p.limit
	}
	err := p.err
	if p.state != stateClosing {
		err = fmt.Errorf("%w: not open within %v", ErrProtocol, p.c.negotiate())
	}
	p.end(err)
	return 0
}

func (p *conn100) excuse(now time.Duration) { p.heard = now }

// block: AMQP 1.0 has no word for it.
func (p *conn100) block(time.Duration, bool, string) {}

// tickRunning keeps both idle timeouts (2.4.5).
func (p *conn100) tickRunning() (next time.Duration) {
	drop := p.heard + p.idle
	if p.now >= drop {
		p.close(amqp100.ErrResourceLimitExceeded, fmt.Sprintf("nothing heard for %v", p.idle),
			fmt.Errorf("%w: nothing heard for %v", ErrProtocol, p.idle))
		return p.limit
	}
	if p.beat == 0 {
		return drop
	}
	if p.now >= p.wrote+p.beat {
		b, at := p.beginFrame(0)
		p.endFrame(b, at)
	}
	return min(drop, p.wrote+p.beat)
}

// beginFrame begins a frame on a channel, in the output's own buffer; endFrame ends it.
func (p *conn100) beginFrame(channel uint16) (b []byte, at int) {
	p.wrote = p.now
	return amqp100.BeginFrame(p.c.out.Buffer(), amqp100.FrameAMQP, channel)
}

// endFrame completes a frame. One that the client said it cannot take is not sent: its
// names or addresses, which the answer must repeat, do not fit the frames it allows.
func (p *conn100) endFrame(b []byte, at int) {
	if p.state >= stateClosing { // after close nothing may follow (2.4.3)
		p.c.out.SetBuffer(b[:at])
		return
	}
	if uint64(len(b)-at) > uint64(p.frameBytes) && p.state == stateRunning {
		p.c.out.SetBuffer(b[:at])
		p.fail(amqp100.ErrFrameSizeTooSmall,
			fmt.Sprintf("an answer of %d bytes, and max-frame-size is %d", len(b)-at, p.frameBytes))
		return
	}
	p.c.out.SetBuffer(amqp100.EndFrame(b, at))
}
