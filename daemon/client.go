package daemon

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/broker/session"
)

// Limits of a client's connection.
const (
	readBytes = 64 << 10 // buffer of a reader; it grows to a frame's size if it must
	// A client may have so many requests, and so many bytes of them, under way; its socket
	// is not read beyond that.
	maxUnderWay      = 8192
	maxUnderWayBytes = 8 << 20
	// Nor is it read while so much that it asked for waits to be written to it.
	maxUnwritten = 16 << 20
	// A client is told that it is held when it has been for so long: mostly it takes no time.
	blockedAfter = 100 * time.Millisecond
	// lingerTime is how long the last words of a closed connection may take.
	lingerTime = 2 * time.Second
)

// client is a client's connection: a goroutine that reads, one that writes, and between them
// the session, under mu.
type client struct {
	id   broker.ConnID
	e    *engine
	sock net.Conn
	log  *slog.Logger

	mu    sync.Mutex
	sess  *session.Conn
	timer *time.Timer
	due   time.Duration

	qmu       sync.Mutex
	queue     []broker.Answer // from the engine, not yet shown to the session
	completed uint64
	ended     bool
	held      bool        // for disks that have to catch up: what publishes is to wait
	moved     sync.Cond   // completed has grown, or the connection has ended
	deaf      atomic.Bool // the reader waits for the members, not for the client

	signal chan struct{} // there is something for the writer
	closed chan struct{}
	once   sync.Once
	after  func(*client) // told once, when it has ended

	spare     []broker.Answer // the writer's
	out       session.Output
	vectors   [][]byte
	submitted uint64 // the reader's
	underWay  []batch
	bytes     int64
	published bool // what was read last
	unwritten int  // bytes in the session's output, as the reader last saw it
}

// batch is how far the requests of one read go, and how big they were.
type batch struct {
	number uint64
	bytes  int64
}

func newClient(e *engine, id broker.ConnID, sock net.Conn, cfg *session.Config, log *slog.Logger, after func(*client)) *client {
	c := &client{id: id, e: e, sock: sock, log: log, after: after,
		sess:   session.NewConn(cfg, id, e.now()),
		signal: make(chan struct{}, 1), closed: make(chan struct{})}
	c.moved.L = &c.qmu
	return c
}

// serve runs the connection until it ends.
func (c *client) serve() {
	c.e.tell(message{kind: msgConnect, client: c})
	c.mu.Lock()
	c.schedule(c.e.now())
	c.mu.Unlock()
	go c.write()
	c.end(c.read())
}

// read feeds the session what the client sends.
func (c *client) read() error {
	buf := make([]byte, readBytes)
	have := 0
	for {
		n, err := c.sock.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		used, want := c.feed(buf[:have])
		have = copy(buf, buf[used:have])
		if want > len(buf) {
			buf = append(make([]byte, 0, want), buf[:have]...)[:want]
		} else if have == 0 && len(buf) > readBytes && want <= readBytes {
			buf = make([]byte, readBytes)
		}
		if have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		if !c.pace() {
			return net.ErrClosed
		}
	}
}

func (c *client) feed(data []byte) (used, want int) {
	c.mu.Lock()
	now := c.e.now()
	used, want = c.sess.Feed(now, data)
	c.schedule(now)
	r := c.takeRequests()
	size := c.sess.Output().Size()
	done, _ := c.sess.Done()
	c.setUnwritten(size)
	c.mu.Unlock()
	c.published = publishes(r)
	c.submit(r)
	if size > 0 || done {
		c.kick()
	}
	return used, want
}

// publishes tells whether a message is among what is asked for.
func publishes(r *broker.Requests) bool {
	if r == nil {
		return false
	}
	for i := range r.List {
		if q := &r.List[i]; q.Kind == broker.ReqSubmit && broker.Kind(r.Data(q)[4]) == broker.KindPublish {
			return true
		}
	}
	return false
}

// hold has the reader wait where it publishes, or go on.
func (c *client) hold(held bool) {
	c.qmu.Lock()
	c.held = held
	c.moved.Signal()
	c.qmu.Unlock()
}

// setUnwritten notes the size of the session's output, with mu held.
func (c *client) setUnwritten(size int) {
	c.qmu.Lock()
	c.unwritten = size
	c.moved.Signal()
	c.qmu.Unlock()
}

// takeRequests takes what the session asks for, with mu held.
func (c *client) takeRequests() *broker.Requests {
	s := c.sess.Requests()
	if len(s.List) == 0 {
		return nil
	}
	r := requestsPool.Get().(*broker.Requests)
	*r, *s = *s, *r
	return r
}

// submit passes requests on. The writer's are counted like the reader's: qmu is held for it.
func (c *client) submit(r *broker.Requests) {
	if r == nil {
		return
	}
	n := uint64(0)
	for i := range r.List {
		if k := r.List[i].Kind; k == broker.ReqSubmit || k == broker.ReqQuery {
			n++
		}
	}
	if n > 0 {
		c.qmu.Lock()
		c.submitted += n
		c.underWay = append(c.underWay, batch{c.submitted, int64(len(r.Bytes))})
		c.bytes += int64(len(r.Bytes))
		c.qmu.Unlock()
	}
	c.e.tell(message{kind: msgRequests, client: c, requests: r})
}

// pace holds the reader back while too much is under way. While that is not the client's doing, nobody
// is to take it for silent.
func (c *client) pace() bool {
	waited := false
	var tell *time.Timer
	c.qmu.Lock()
	for !c.ended && (c.busy() || c.unwritten > maxUnwritten) {
		c.deaf.Store(c.busy())
		waited = waited || c.busy()
		if c.held && c.published && tell == nil {
			tell = time.AfterFunc(blockedAfter, c.tellHeld)
		}
		c.moved.Wait()
	}
	ended := c.ended
	c.qmu.Unlock()
	if waited {
		c.mu.Lock()
		c.sess.Excuse(c.e.now())
		c.deaf.Store(false)
		c.sess.Block(c.e.now(), false, "")
		c.mu.Unlock()
	}
	if tell != nil && !tell.Stop() {
		c.kick()
	}
	return !ended
}

// tellHeld tells the client that it is held, if that is not over already.
func (c *client) tellHeld() {
	c.mu.Lock()
	c.sess.Block(c.e.now(), c.deaf.Load(), "publishers wait for a member's disk to catch up")
	c.mu.Unlock()
	c.kick()
}

// busy tells whether the members are to do something before this client asks for more, with qmu held.
func (c *client) busy() bool {
	return c.submitted-c.completed > maxUnderWay || c.bytes > maxUnderWayBytes || c.held && c.published
}

// push takes answers from the engine.
func (c *client) push(list []broker.Answer, completed uint64) {
	c.qmu.Lock()
	if c.ended {
		c.qmu.Unlock()
		broker.Unpin(list)
		return
	}
	c.queue = append(c.queue, list...)
	if completed > c.completed {
		c.completed = completed
		done := 0
		for done < len(c.underWay) && c.underWay[done].number <= completed {
			c.bytes -= c.underWay[done].bytes
			done++
		}
		c.underWay = append(c.underWay[:0], c.underWay[done:]...)
		c.moved.Signal()
	}
	c.qmu.Unlock()
	c.kick()
}

func (c *client) kick() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// write shows the session what the engine answered, and writes what it has to say.
func (c *client) write() {
	for {
		select {
		case <-c.signal:
		case <-c.closed:
			c.discard()
			return
		}
		done, err := c.turn()
		if err == nil && done {
			err = errDone
		}
		if err != nil {
			c.end(err)
			c.discard()
			return
		}
	}
}

var errDone = errors.New("closed in order")

// turn is one round of the writer.
func (c *client) turn() (done bool, err error) {
	c.qmu.Lock()
	list := c.queue
	c.queue = c.spare[:0]
	c.qmu.Unlock()
	var records, deliveries int64
	for i := range list {
		if list[i].Kind == broker.AnsDeliver {
			records += int64(len(list[i].Record))
			deliveries++
		}
	}
	c.mu.Lock()
	now := c.e.now()
	if len(list) > 0 {
		c.sess.Answer(now, list)
		c.schedule(now)
	}
	c.out.Swap(c.sess.Output())
	c.setUnwritten(0)
	r := c.takeRequests()
	done, why := c.sess.Done()
	c.mu.Unlock()
	clear(list)
	c.spare = list[:0]
	c.submit(r)
	if c.out.Size() > 0 {
		if done {
			// It fails only on a socket that is closed, and then so does the write.
			_ = c.sock.SetWriteDeadline(time.Now().Add(lingerTime))
		}
		err = c.flush()
	}
	c.out.Reset()
	if deliveries > 0 {
		c.e.tell(message{kind: msgWritten, client: c, records: records, deliveries: deliveries})
	}
	if err == nil && done && why != nil {
		err = why
	}
	return done, err
}

func (c *client) flush() error {
	c.vectors = c.out.Vectors(c.vectors[:0])
	if len(c.vectors) == 1 {
		_, err := c.sock.Write(c.vectors[0])
		return err
	}
	v := net.Buffers(c.vectors)
	_, err := v.WriteTo(c.sock)
	return err
}

// schedule has the session ticked when it wants to be, with mu held.
func (c *client) schedule(now time.Duration) {
	if c.deaf.Load() {
		c.sess.Excuse(now)
	}
	next := c.sess.Tick(now)
	if next == c.due {
		return
	}
	c.due = next
	if next == 0 {
		return
	}
	d := max(next-now, time.Millisecond)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
		return
	}
	c.timer.Reset(d)
}

func (c *client) tick() {
	c.mu.Lock()
	c.due = 0
	c.schedule(c.e.now())
	done, _ := c.sess.Done()
	c.mu.Unlock()
	c.kick()
	if done {
		// A writer stuck in a socket that nobody reads would never come to close it.
		time.AfterFunc(lingerTime, func() { c.sock.Close() })
	}
}

// shut ends the connection from this side, with a word to the client.
func (c *client) shut(text string) {
	go func() {
		c.mu.Lock()
		c.sess.Shut(c.e.now(), text)
		c.schedule(c.e.now())
		c.mu.Unlock()
		c.kick()
		time.AfterFunc(lingerTime, func() { c.end(net.ErrClosed) })
	}()
}

// end closes the connection, once.
func (c *client) end(err error) {
	c.once.Do(func() {
		if err != nil && !errors.Is(err, errDone) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			c.log.Info("connection ended: "+err.Error(), "client", c.sock.RemoteAddr())
		}
		c.sock.Close()
		c.qmu.Lock()
		c.ended = true
		c.moved.Signal()
		c.qmu.Unlock()
		c.mu.Lock()
		if c.timer != nil {
			c.timer.Stop()
		}
		c.mu.Unlock()
		close(c.closed)
		c.e.tell(message{kind: msgDisconnect, client: c})
		c.after(c)
	})
}

// discard lets go of what will not be written.
func (c *client) discard() {
	c.out.Reset()
	c.mu.Lock()
	c.sess.Drop()
	c.mu.Unlock()
	c.qmu.Lock()
	list := c.queue
	c.queue = nil
	c.ended = true
	c.qmu.Unlock()
	broker.Unpin(list)
}
