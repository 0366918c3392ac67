package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// engine is the one goroutine that owns the pure parts: the ring, the log, the broker. It
// has a thread of its own, which waits for the ring's sockets and for what other goroutines
// put into the inbox, and does in turn what has come.
type engine struct {
	node  *cluster.Node
	ring  *ring          // nil: stand-alone
	alone *cluster.Alone // nil: in a cluster
	log   *slog.Logger
	start time.Time

	mu     sync.Mutex
	inbox  []message
	taken  []message
	asleep atomic.Bool
	wakeFD int
	pollFD int

	clients map[broker.ConnID]*client
	hooks   hooks
	// When the scheduler took this goroutine up, as far as it is known.
	scheduled time.Duration

	next   time.Duration // when the pure parts want to be ticked; 0 is never
	stop   bool
	held   bool   // clients that publish are to wait
	parted bool   // clients have been told that this broker shuts down
	lost   bool   // what is to be applied cannot be read back
	number uint64 // of messages, when alone
	failed error
}

// hooks are what the engine tells the rest of the daemon.
type hooks struct {
	event func(cluster.Event)
	mesh  func(to broker.MemberID, data []byte)
	ended func(err error)
}

// message is something for the engine, from another goroutine.
type message struct {
	kind       messageKind
	client     *client
	requests   *broker.Requests
	records    int64
	deliveries int64
	from       broker.MemberID
	data       []byte
	do         func(now time.Duration)
	op         *journal.Op
}

type messageKind uint8

const (
	msgRequests messageKind = iota
	msgWritten
	msgConnect
	msgDisconnect
	msgMesh
	msgDo
	msgDisk
)

func newEngine(log *slog.Logger) (*engine, error) {
	e := &engine{log: log, start: time.Now(), clients: map[broker.ConnID]*client{}}
	var err error
	if e.wakeFD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if e.pollFD, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// Edge-triggered: each write wakes the engine once, and nobody has to read the counter.
	return e, e.watchFor(e.wakeFD, unix.EPOLLIN|unix.EPOLLET)
}

func (e *engine) watch(fd int) error { return e.watchFor(fd, unix.EPOLLIN) }

func (e *engine) watchFor(fd int, events uint32) error {
	err := unix.EpollCtl(e.pollFD, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (e *engine) now() time.Duration { return time.Since(e.start) + 1 }

// tell puts a message into the inbox. It may be called from any goroutine.
func (e *engine) tell(m message) {
	e.mu.Lock()
	e.inbox = append(e.inbox, m)
	e.mu.Unlock()
	if e.asleep.Swap(false) {
		one := [8]byte{1}
		// It fails only when the counter is full, and then the engine is awake.
		_, _ = unix.Write(e.wakeFD, one[:])
	}
}

// call runs do on the engine and waits for it.
func (e *engine) call(do func(now time.Duration)) {
	done := make(chan struct{})
	e.tell(message{kind: msgDo, do: func(now time.Duration) {
		do(now)
		close(done)
	}})
	<-done
}

// run is the engine's loop. It returns when it is told to stop.
func (e *engine) run() {
	runtime.LockOSThread()
	defer unix.Close(e.pollFD)
	defer unix.Close(e.wakeFD)
	more := true // the first view is there already
	for !e.stop && !e.lost {
		more = e.turn(more)
	}
	for !e.stop {
		e.next = 0
		e.wait(false)
		e.takeInbox(e.now())
	}
}

// turn is one turn of the loop.
func (e *engine) turn(more bool) bool {
	defer e.mourn()
	e.wait(more)
	now := e.now()
	if e.ring != nil {
		if err := e.ring.receive(now); err != nil {
			e.fail(err)
		}
	}
	e.takeInbox(now)
	if e.next != 0 && now >= e.next {
		e.node.Tick(now)
	}
	return e.settle(now)
}

// mourn ends this member if what it has to apply cannot be read back from its disk. From then on it
// only does what it takes to end.
func (e *engine) mourn() {
	switch r := recover().(type) {
	case nil:
	case *journal.LostError:
		e.lost = true
		e.taken = e.taken[:0]
		e.fail(fmt.Errorf("%w; this member leaves: see to the disk, run `qpid-cluster journal verify` on the store, then start it again", r))
	default:
		panic(r)
	}
}

func (e *engine) fail(err error) {
	if e.failed == nil {
		e.failed = err
		e.hooks.ended(err)
	}
}

// wait sleeps until something is to be done.
func (e *engine) wait(more bool) {
	timeout := -1
	if more {
		timeout = 0
	} else if e.next != 0 {
		// Up to the next millisecond, or it would spin through the last one.
		timeout = int((e.next - e.now() + time.Millisecond - 1) / time.Millisecond)
		timeout = max(timeout, 0)
	}
	if timeout != 0 {
		e.asleep.Store(true)
		e.mu.Lock()
		waiting := len(e.inbox) > 0
		e.mu.Unlock()
		if waiting {
			timeout = 0
		}
	}
	if timeout != 0 {
		e.reschedule()
	}
	var events [8]unix.EpollEvent
	_, err := unix.EpollWait(e.pollFD, events[:], timeout)
	e.asleep.Store(false)
	if err != nil && !errors.Is(err, unix.EINTR) {
		panic("daemon: epoll: " + err.Error())
	}
}

// rescheduleEvery is less than the 10 ms after which Go's scheduler preempts a goroutine.
const rescheduleEvery = 8 * time.Millisecond

// reschedule has the scheduler take this goroutine up anew before it sleeps, now and then. One that has not
// been taken up for 10 ms it takes for one that computes all the time, which epoll_wait does not change: it
// takes the processor away from it whenever it sleeps, wakes a thread for that to look for work, and has its
// monitor look for the next time each 20 µs, and not each 10 ms. A member that was woken for 1000 messages a
// second made 3.3 context switches for each, and makes 1.5.
func (e *engine) reschedule() {
	if now := e.now(); now-e.scheduled >= rescheduleEvery {
		e.scheduled = now
		runtime.Gosched()
	}
}

// takeInbox does what other goroutines ask for.
func (e *engine) takeInbox(now time.Duration) {
	e.mu.Lock()
	e.inbox, e.taken = e.taken[:0], e.inbox
	e.mu.Unlock()
	for i := range e.taken {
		m := &e.taken[i]
		if e.lost && m.kind != msgDo && m.kind != msgDisk {
			continue
		}
		switch m.kind {
		case msgRequests:
			e.node.Requests(now, m.client.id, m.requests)
			recycle(m.requests)
		case msgWritten:
			e.node.Written(m.client.id, m.records, m.deliveries)
		case msgConnect:
			e.clients[m.client.id] = m.client
			m.client.hold(e.held)
			e.node.Connect(m.client.id)
			if e.parted { // it was let in just before that
				m.client.shut(shuttingDown)
			}
		case msgDisconnect:
			delete(e.clients, m.client.id)
			e.node.Disconnect(now, m.client.id)
		case msgMesh:
			e.node.Mesh(now, m.from, m.data)
		case msgDo:
			m.do(now)
		case msgDisk:
			m.op.Finish()
		}
	}
	clear(e.taken)
}

const shuttingDown = "this broker is shutting down"

// part disconnects the clients, and those of which the engine has yet to hear.
func (e *engine) part() {
	e.parted = true
	for _, c := range e.clients {
		c.shut(shuttingDown)
	}
}

// maxPooled is the size up to which the memory of requests is used again: a large message's
// is left to the collector.
const maxPooled = 1 << 20

func recycle(r *broker.Requests) {
	if cap(r.Bytes) <= maxPooled {
		r.Reset()
		requestsPool.Put(r)
	}
}

var requestsPool = sync.Pool{New: func() any { return new(broker.Requests) }}

// settle lets what came in take effect and hands out what came of it.
func (e *engine) settle(now time.Duration) (more bool) {
	if e.ring != nil {
		e.ring.news = false
	}
	more = e.node.Flush(now)
	if e.alone != nil {
		more = e.orderAlone(now) || more
	} else {
		e.ring.flush(now)
	}
	r := e.node.Ready()
	for i := range r.Answers {
		a := &r.Answers[i]
		if c := e.clients[a.Conn]; c != nil {
			c.push(a.List, a.Completed)
		}
	}
	for _, ev := range r.Events {
		e.hooks.event(ev)
	}
	// Behind the events: who has come in this very turn is known to the mesh by them.
	for i := range r.Mesh {
		e.hooks.mesh(r.Mesh[i].To, r.Mesh[i].Data)
	}
	if held := e.node.Held(); held != e.held {
		e.held = held
		for _, c := range e.clients {
			c.hold(held)
		}
	}
	if r.Drop != "" {
		for _, c := range e.clients {
			c.shut(r.Drop)
		}
	}
	e.node.Done()
	e.next = e.node.Next()
	if e.ring != nil {
		e.next = cluster.Soonest(e.next, e.ring.tick(now))
		more = more || e.ring.pending()
	}
	return more
}

// orderAlone delivers what a stand-alone broker has multicast to itself.
func (e *engine) orderAlone(now time.Duration) (any bool) {
	for {
		b := e.alone.Next()
		if b == nil {
			break
		}
		any = true
		e.number++
		e.node.Message(now, e.number, e.node.Self(), [][]byte{b})
		e.alone.Used(b)
	}
	if any {
		e.node.Flush(now)
		e.node.Safe(e.number)
	}
	return any
}
