package session

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// testMember is a member of a cluster of one, just enough of it: entries are applied as
// they are submitted, and complete at once. It serves real sockets.
type testMember struct {
	t      *testing.T
	cfg    *Config
	start  time.Time
	mu     sync.Mutex
	broker *broker.Broker
	log    testLog
	index  broker.Index
	conns  map[broker.ConnID]*testConn
	nextID broker.ConnID
	closed sync.WaitGroup
}

type testConn struct {
	m       *testMember
	id      broker.ConnID
	port    *broker.Port
	session *Conn
	socket  net.Conn
	numbers uint64
	done    uint64
	asked   map[broker.Index]broker.Answer // that another entry answers
	answers []broker.Answer
}

// testLog keeps every record for ever.
type testLog struct {
	records [][]byte
	pins    int
}

func (l *testLog) Bytes(r broker.Ref) []byte { return l.records[r.Offset] }
func (l *testLog) Retain(broker.Ref, int)    {}

// Sparse: nothing is carried forward here.
func (l *testLog) Sparse(broker.Ref) bool { return false }

func (l *testLog) Carry(r broker.Ref) (broker.Ref, error) { return r, nil }

func (l *testLog) Drop(broker.Ref) {}
func (l *testLog) Unpin()          { l.pins-- }

func (l *testLog) Pin(broker.Ref) broker.Pin {
	l.pins++
	return l
}

func (l *testLog) Append(_ broker.Index, _ bool, parts ...[]byte) (broker.Ref, error) {
	var record []byte
	for _, p := range parts {
		record = append(record, p...)
	}
	l.records = append(l.records, record)
	return broker.Ref{Offset: uint32(len(l.records) - 1), Length: uint32(len(record))}, nil
}

const self = broker.MemberID(1)

func newTestMember(t *testing.T, cfg *Config) *testMember {
	m := &testMember{t: t, cfg: cfg, start: time.Now(), conns: map[broker.ConnID]*testConn{}}
	m.broker = broker.New(broker.Config{Self: self, Log: &m.log, Headers: HeaderValue})
	m.index = 1
	m.broker.Members(&broker.Entry{Index: m.index}, []broker.MemberID{self})
	return m
}

func (m *testMember) now() time.Duration { return time.Since(m.start) }

// listen accepts clients on the loopback interface until the test ends, when no pin may
// be left.
func (m *testMember) listen() (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.closed.Add(1)
	go func() {
		defer m.closed.Done()
		for {
			socket, err := l.Accept()
			if err != nil {
				return
			}
			m.closed.Add(1)
			go m.serve(socket)
		}
	}()
	m.t.Cleanup(func() {
		_ = l.Close()
		m.mu.Lock()
		for _, c := range m.conns {
			_ = c.socket.Close()
		}
		m.mu.Unlock()
		m.closed.Wait()
		if m.log.pins != 0 {
			m.t.Errorf("%d pins are left", m.log.pins)
		}
	})
	return l.Addr().String()
}

func (m *testMember) serve(socket net.Conn) {
	defer m.closed.Done()
	defer func() { _ = socket.Close() }()
	m.mu.Lock()
	m.nextID++
	c := &testConn{m: m, id: m.nextID, socket: socket, port: m.broker.Connect(m.nextID),
		asked: map[broker.Index]broker.Answer{}}
	c.session = NewConn(m.cfg, c.id, m.now())
	m.conns[c.id] = c
	m.mu.Unlock()

	buffer := make([]byte, 64<<10)
	held := 0
	for {
		n, err := socket.Read(buffer[held:])
		m.mu.Lock()
		held += n
		used, want := c.session.Feed(m.now(), buffer[:held])
		held = copy(buffer, buffer[used:held])
		if want > len(buffer) {
			buffer = append(buffer, make([]byte, want-len(buffer))...)
		}
		m.run()
		done, cause := c.session.Done()
		if err != nil || done {
			m.disconnect(c, errors.Join(err, cause))
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
	}
}

func (m *testMember) disconnect(c *testConn, err error) {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		m.t.Logf("connection %d: %v", c.id, err)
	}
	delete(m.conns, c.id)
	if c.session.proto != nil {
		c.session.proto.(interface{ end(error) }).end(nil)
	}
	c.session.out.Reset()
	m.broker.Disconnect(c.id)
	m.run()
}

// run goes round until nobody has anything to say.
func (m *testMember) run() {
	for busy := true; busy; {
		busy = false
		for _, c := range m.conns {
			busy = c.requests() || busy
		}
		for m.broker.Run(m.now()) {
		}
		m.broker.Collect(m)
		for _, c := range m.conns {
			if len(c.answers) == 0 {
				continue
			}
			busy = true
			list := c.answers
			c.answers = nil
			c.session.Answer(m.now(), list)
		}
	}
	for _, c := range m.conns {
		c.write()
	}
}

// requests takes what a session asks for.
func (c *testConn) requests() bool {
	r := c.session.Requests()
	for i := range r.List {
		q := &r.List[i]
		switch q.Kind {
		case broker.ReqSubmit:
			c.numbers++
			c.m.apply(r.Data(q), c)
		case broker.ReqQuery:
			c.numbers++
			c.answers = append(c.answers, broker.Answer{Kind: broker.AnsResult, Number: c.numbers, Result: c.m.broker.Query(string(r.Data(q)))})
		case broker.ReqCredit:
			c.m.broker.Credit(c.port, q)
		case broker.ReqGet:
			if res := c.m.broker.Get(c.port, c.m.now(), q, string(r.Data(q))); res != nil {
				c.answers = append(c.answers, broker.Answer{Kind: broker.AnsEmpty, Consumer: q.Consumer, Result: res})
			}
		case broker.ReqSettle:
			c.m.broker.SettleHold(c.port, c.m.now(), q)
		}
	}
	if c.numbers > c.done && len(c.asked) == 0 {
		c.done = c.numbers
		c.answers = append(c.answers, broker.Answer{Kind: broker.AnsCompleted, Number: c.done})
	}
	any := len(r.List) > 0
	r.Reset()
	return any
}

func (m *testMember) apply(entry []byte, c *testConn) {
	ref, _ := m.log.Append(0, false, entry)
	m.index++
	e := broker.Entry{Index: m.index, From: self, Now: m.now(), Record: m.log.Bytes(ref), Ref: ref}
	if c != nil {
		e.Number = c.numbers
	}
	res, err := m.broker.Apply(&e)
	if err != nil {
		m.t.Error(err)
	}
	if res != nil && res.Answers != 0 {
		m.answered(res)
		return
	}
	if res == nil || c == nil {
		return
	}
	a := broker.Answer{Kind: broker.AnsResult, Number: c.numbers, Result: res}
	if res.Awaits {
		c.asked[m.index] = a
		return
	}
	if res.Code == broker.NoRoute {
		a.Record, a.Pin = e.Record, m.log.Pin(ref)
	}
	c.answers = append(c.answers, a)
}

// answered ends the request that an entry answers.
func (m *testMember) answered(res *broker.Result) {
	for _, c := range m.conns {
		if a, ok := c.asked[res.Answers]; ok {
			a.Result.Messages = res.Messages
			delete(c.asked, res.Answers)
			c.answers = append(c.answers, a)
		}
	}
}

func (m *testMember) Deliveries(list []broker.Delivery) {
	for i := range list {
		if c := m.conns[list[i].Conn]; c != nil {
			c.answers = append(c.answers, list[i].Answer)
		} else {
			list[i].Answer.Unpin()
		}
	}
}

func (m *testMember) Refusals(list []broker.Refusal) {
	for _, r := range list {
		c := m.conns[r.Conn]
		c.answers = append([]broker.Answer{{Kind: broker.AnsResult, Number: r.Number, Result: &broker.Result{Code: broker.Refused, Text: "full"}}}, c.answers...)
	}
}

func (m *testMember) Propose(entries []byte) {
	for len(entries) > 0 {
		h, err := broker.ParseHeader(entries)
		if err != nil {
			m.t.Fatal(err)
		}
		m.apply(entries[:h.Size], nil)
		entries = entries[h.Size:]
	}
}

func (m *testMember) Mesh(list []broker.MeshOut) { m.t.Errorf("mesh: %d messages", len(list)) }

func (c *testConn) write() {
	out := c.session.Output()
	if out.Size() == 0 {
		return
	}
	v := net.Buffers(out.Vectors(nil))
	_, _ = v.WriteTo(c.socket)
	out.Reset()
}

// declare makes a queue, as somebody else would.
func (m *testMember) declare(d *broker.QueueDeclare, binds ...*broker.Bind) {
	var r broker.Requests
	r.QueueDeclare(d)
	for _, b := range binds {
		r.Bind(b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range r.List {
		m.apply(r.Data(&r.List[i]), nil)
	}
}

func (m *testMember) depth(queue string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.broker.Depth(queue)
	if !ok {
		return -1
	}
	return n
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatal("not so in 10 s: " + what)
		}
		timer := time.NewTimer(time.Millisecond)
		<-timer.C
	}
}

func (l *testLog) Resident(broker.Ref) bool { return true }
func (l *testLog) Fetch(broker.Ref)         { panic("all records are in memory") }
