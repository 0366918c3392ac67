package cluster

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// Back-pressure towards consumers: a connection with so much not yet written is handed
// nothing more until half of it is.
const (
	blockBytes    = 4 << 20
	deliveryBytes = 128 // what a delivery costs besides its record
)

// conn is a client's connection to this member.
type conn struct {
	port     *broker.Port
	answers  []broker.Answer
	spare    []broker.Answer
	outBytes int64
	dirty    bool

	submitted uint64   // numbers given
	entered   uint64   // the last of them that is an entry's
	gets      []get    // that wait for it to come back
	delivered uint64   // the last of them that came back in the order
	reached   uint64   // all up to here are done, but for what refused holds back
	completed uint64   // all up to here are done
	refused   []uint64 // of which the journals are still to be told
	told      uint64
	queries   []query
	passed    int      // queries whose number is not above delivered
	onDisk    int      // how often it is in disks.waiting
	open      []uint64 // numbers of requests that wait for another entry to answer them
	results   []result
}

// get is a ReqGet: it finds what the client has published before it.
type get struct {
	after   uint64
	request broker.Request
	queue   string
}

type query struct {
	number uint64
	name   string
}

type result struct {
	number uint64
	res    *broker.Result
	record []byte
	pin    broker.Pin
}

// inquiry is a request that another entry answers: see broker.Result.Awaits.
type inquiry struct {
	conn   broker.ConnID
	number uint64
	res    *broker.Result
}

// awaited is a numbered request that waits for the group message it came in to be safe.
type awaited struct {
	message uint64
	conn    broker.ConnID
	number  uint64
	index   broker.Index // of a durable entry, which has to be on disks; else 0
	refused bool         // it is what journals are told of a refusal
}

// Connect makes a client's connection known.
func (n *Node) Connect(id broker.ConnID) {
	n.conns[id] = &conn{port: n.broker.Connect(id)}
}

// Disconnect ends a client's connection: what it held is released, what was its own goes.
func (n *Node) Disconnect(now time.Duration, id broker.ConnID) {
	n.now = now
	c := n.conns[id]
	if c == nil {
		return
	}
	delete(n.conns, id)
	broker.Unpin(c.answers)
	for _, r := range c.results {
		if r.pin != nil {
			r.pin.Unpin()
		}
	}
	if i := slices.Index(n.dirty, c); i >= 0 {
		n.dirty = slices.Delete(n.dirty, i, i+1)
	}
	n.broker.Disconnect(id)
}

// Written tells that a connection has written deliveries of so many bytes: the sum over them
// of their records, and DeliveryBytes each.
func (n *Node) Written(id broker.ConnID, records, deliveries int64) {
	c := n.conns[id]
	if c == nil {
		return
	}
	c.outBytes -= records + deliveries*deliveryBytes
	if c.port.Blocked && c.outBytes < blockBytes/2 {
		n.broker.Unblock(c.port)
	}
}

// Requests takes what a session asks for.
func (n *Node) Requests(now time.Duration, id broker.ConnID, r *broker.Requests) {
	n.now = now
	c := n.conns[id]
	if c == nil {
		return
	}
	for i := range r.List {
		q := &r.List[i]
		switch q.Kind {
		case broker.ReqSubmit:
			if n.settled && r.Data(q)[4] != byte(broker.KindPublish) {
				n.collect() // what became of messages goes first: a queue may be empty for it
			}
			n.submit(c, r.Data(q))
		case broker.ReqQuery:
			c.submitted++
			c.queries = append(c.queries, query{c.submitted, string(r.Data(q))})
			n.answerQueries(c)
		case broker.ReqCredit:
			n.broker.Credit(c.port, q)
		case broker.ReqGet:
			c.gets = append(c.gets, get{c.entered, *q, string(r.Data(q))})
			n.takeGets(c)
		case broker.ReqSettle:
			n.broker.SettleHold(c.port, now, q)
			n.settled = true
		}
	}
}

// takeGets begins the gets before which nothing is on its way any more.
func (n *Node) takeGets(c *conn) {
	begun := 0
	for ; begun < len(c.gets) && c.gets[begun].after <= c.delivered; begun++ {
		g := &c.gets[begun]
		if res := n.broker.Get(c.port, n.now, &g.request, g.queue); res != nil {
			c.answer(n, broker.Answer{Kind: broker.AnsEmpty, Consumer: g.request.Consumer, Result: res})
		}
	}
	c.gets = slices.Delete(c.gets, 0, begun)
}

func (n *Node) submit(c *conn, entry []byte) {
	c.submitted++
	c.entered = c.submitted
	if entry[4] == byte(broker.KindPublish) {
		if why := n.noRoom(entry); why != "" {
			// It keeps its number in the order by going there as an entry that does nothing.
			c.result(c.submitted, &broker.Result{Code: broker.NoMemory, Text: why}, nil, nil)
			entry = nothing
		}
	}
	n.urgent = true
	from := len(n.out)
	n.out = append(n.out, entry...)
	binary.LittleEndian.PutUint32(n.out[from+8:], uint32(c.port.Conn))
}

// nothing is an entry without effect: the release of no messages.
var nothing = []byte{broker.HeaderBytes, 0, 0, 0, byte(broker.KindRelease), 0, 0, 0, 0, 0, 0, 0}

// noRoom is why a publish is refused; "" if it is not.
func (n *Node) noRoom(entry []byte) string {
	if n.noMemory(int64(len(n.out) - n.sent + len(entry))) {
		return "memory limit reached: consume messages, or raise --memory-limit"
	}
	if why := n.crammed(); why != "" || !broker.Logged(entry) {
		return why
	}
	return n.diskFull()
}

// noMemory tells whether messages take as much memory as they may, with so many bytes that are on their
// way.
func (n *Node) noMemory(coming int64) bool {
	s := n.log.Stats()
	used := s.UsedBytes
	if n.log.Durable() {
		// What is on the disk makes room. What is on its way there may take as much again: a disk
		// that is slower than its publishers has them refused, too, in the end.
		used = max(s.TransientBytes, s.MemoryBytes-n.cfg.MemoryBytes)
	}
	return n.cfg.MemoryBytes > 0 && used+coming > n.cfg.MemoryBytes
}

func (c *conn) answer(n *Node, a broker.Answer) {
	c.answers = append(c.answers, a)
	c.touch(n)
}

func (c *conn) touch(n *Node) {
	if !c.dirty {
		c.dirty = true
		n.dirty = append(n.dirty, c)
	}
}

// result keeps how a request ended until it is complete.
func (c *conn) result(number uint64, res *broker.Result, record []byte, pin broker.Pin) {
	i := len(c.results)
	for i > 0 && c.results[i-1].number > number {
		i--
	}
	if i > 0 && c.results[i-1].number == number {
		return // refused by one queue already
	}
	c.results = slices.Insert(c.results, i, result{number, res, record, pin})
}

// deliveredNext is the number of the entry of c that came back in the order just now.
func (c *conn) deliveredNext() uint64 {
	c.delivered++
	for c.passed < len(c.queries) && c.queries[c.passed].number == c.delivered {
		c.passed++
		c.delivered++
	}
	return c.delivered
}

// inquire keeps a request until it is answered; nothing that c asked for later is done before.
func (n *Node) inquire(c *conn, number uint64, res *broker.Result) {
	n.inquiries[n.index] = inquiry{c.port.Conn, number, res}
	c.open = append(c.open, number)
}

// answered takes the answer to an inquiry, in an entry of a group message. It is done when that is.
func (n *Node) answered(message uint64, res *broker.Result, waits bool) {
	q, ok := n.inquiries[res.Answers]
	if !ok {
		return // another member's, or answered before
	}
	delete(n.inquiries, res.Answers)
	c := n.conns[q.conn]
	if c == nil {
		return
	}
	if i := slices.Index(c.open, q.number); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
	}
	q.res.Messages = res.Messages
	c.result(q.number, q.res, nil, nil)
	n.await(message, q.conn, c.delivered, waits)
}

// Safe tells that all group messages up to number are held by every member of the view.
func (n *Node) Safe(number uint64) {
	if n.state != Active {
		return
	}
	done := 0
	for done < len(n.awaiting) && n.awaiting[done].message <= number {
		a := &n.awaiting[done]
		done++
		c := n.conns[a.conn]
		switch {
		case c == nil:
		case a.index > n.disk.sure || c.onDisk > 0:
			n.awaitDisk(c, a)
		default:
			n.settleRequest(c, a.number, a.refused)
		}
	}
	if done > 0 {
		n.awaiting = append(n.awaiting[:0], n.awaiting[done:]...)
	}
}

// settleRequest takes note that a request is done, or that the journals know of a refusal.
func (n *Node) settleRequest(c *conn, number uint64, refused bool) {
	if refused && len(c.refused) > 0 {
		c.refused = append(c.refused[:0], c.refused[1:]...)
	}
	n.complete(c, max(number, c.reached))
}

// complete has c told that its requests up to number are done, as far as none before is open, or refused and
// not yet known to the journals.
func (n *Node) complete(c *conn, number uint64) {
	if len(c.open) > 0 { // what is behind it is not reached before its answer is safe
		number = min(number, c.open[0]-1)
	}
	c.reached = max(c.reached, number)
	if len(c.refused) > 0 {
		number = min(number, slices.Min(c.refused)-1)
	}
	c.completed = max(c.completed, number)
	n.answerQueries(c)
	sent := 0
	for sent < len(c.results) && c.results[sent].number <= c.completed {
		r := &c.results[sent]
		c.answers = append(c.answers, broker.Answer{Kind: broker.AnsResult, Number: r.number,
			Result: r.res, Record: r.record, Pin: r.pin})
		sent++
	}
	if sent > 0 {
		c.results = slices.Delete(c.results, 0, sent)
	}
	c.touch(n)
}

func (n *Node) answerQueries(c *conn) {
	answered := 0
	for answered < len(c.queries) && c.queries[answered].number <= c.completed+1 {
		q := c.queries[answered]
		c.result(q.number, n.broker.Query(q.name), nil, nil)
		c.completed = max(c.completed, q.number)
		answered++
	}
	if answered == 0 {
		return
	}
	c.queries = slices.Delete(c.queries, 0, answered)
	if c.passed -= answered; c.passed < 0 {
		c.passed = 0
		c.delivered = max(c.delivered, c.completed)
	}
	n.complete(c, c.completed)
}
