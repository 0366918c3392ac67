package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// What a member multicasts is a stream of entries, cut into messages wherever it suits:
//
//	0 version u8 = 1  1 flags u8  2 zero u16  4 skip u32  8 bytes of the stream
//
// skip is how many of the bytes end an entry that an earlier message began, so that whoever
// missed that one knows where to start. An aside (flag 1) is one whole control entry that
// stands outside the stream.
const (
	messageHead    = 8
	messageVersion = 1
	flagAside      = 1
	// messageBytes is what is multicast at a time: it fills some fifty packets.
	messageBytes = 64 << 10
)

// stream is what this member knows of another's.
type stream struct {
	space   journal.Space // room of an entry whose end has not come
	size    int
	have    int
	started bool
	logged  bool                     // it is durable
	head    [broker.HeaderBytes]byte // of an entry of which not even that is here
	headLen int
}

// drop forgets an entry whose end will not come.
func (s *stream) drop(l *journal.Log) {
	if s.started {
		l.Abandon(s.space)
	}
	*s = stream{}
}

func (s *stream) partial() bool { return s.started || s.headLen > 0 }

// send multicasts as much of out as the group takes.
func (n *Node) send() {
	for len(n.asides) > 0 {
		a := n.asides[0]
		if n.group.Multicast([]byte{messageVersion, flagAside, 0, 0, 0, 0, 0, 0}, a) != nil {
			return
		}
		n.asides = n.asides[1:]
	}
	if n.state != Active {
		return
	}
	multicast := n.group.Multicast
	if !n.urgent {
		multicast = n.group.MulticastLazily
	}
	from := n.sent
	for from < len(n.out) {
		size := min(len(n.out)-from, messageBytes, n.group.Room()-messageHead)
		if size <= 0 || size < min(len(n.out)-from, messageBytes/4) {
			break
		}
		var head [messageHead]byte
		head[0] = messageVersion
		binary.LittleEndian.PutUint32(head[4:], uint32(min(n.cut, size)))
		if multicast(head[:], n.out[from:from+size]) != nil {
			break
		}
		n.advanceCut(n.out[from:], size)
		from += size
	}
	n.sent = from
	n.tidyOut()
}

// outBytes is the memory kept for entries on their way: more than that is given back when
// they have left.
const outBytes = 4 << 20

// tidyOut takes what was sent off the head of out: when that costs nothing, or when it is
// more than what has to be moved for it.
func (n *Node) tidyOut() {
	switch {
	case n.sent == len(n.out):
		n.out, n.sent, n.urgent = n.out[:0], 0, false
		if cap(n.out) > outBytes {
			n.out = nil
		}
	case n.sent > outBytes && n.sent > len(n.out)/2:
		n.out = n.out[:copy(n.out, n.out[n.sent:])]
		n.sent = 0
	}
}

// advanceCut keeps n.cut, the bytes left of an entry sent in part, when size bytes of out
// are sent.
func (n *Node) advanceCut(out []byte, size int) {
	at := n.cut
	for at < size {
		at += int(binary.LittleEndian.Uint32(out[at:]))
	}
	n.cut = at - size
}

// Message takes one message of the group at its place in the order.
func (n *Node) Message(now time.Duration, number uint64, from broker.MemberID, parts [][]byte) {
	n.now = now
	var r partReader
	r.parts = parts
	var head [messageHead]byte
	if !r.read(head[:]) || head[0] != messageVersion {
		n.event(Event{Kind: EventForeign, Member: from, Text: fmt.Sprintf("message of version %d in the group; all members must run compatible versions", head[0])})
		return
	}
	if head[1]&flagAside != 0 {
		entry := make([]byte, r.left())
		r.read(entry)
		n.aside(from, entry)
		return
	}
	switch {
	case n.behind() || n.state == Frozen:
		n.keep(number, from, parts)
	case n.state == Active || n.state == CatchingUp:
		n.stream(number, from, binary.LittleEndian.Uint32(head[4:]), &r)
	}
}

// stream applies the entries of a message.
func (n *Node) stream(number uint64, from broker.MemberID, skip uint32, r *partReader) {
	s := n.streams[from]
	if s == nil {
		s = &stream{}
		n.streams[from] = s
	}
	if skip > 0 && !s.partial() {
		r.skip(int(skip))
	} else if skip == 0 && s.partial() {
		s.drop(n.log)
	}
	for r.left() > 0 {
		if !s.started && !n.beginEntry(s, from, r) {
			return
		}
		at := s.space.Bytes()
		s.have += r.fill(at[s.have:])
		if s.have == s.size {
			space, logged := s.space, s.logged
			*s = stream{}
			n.apply(number, from, n.settleSpace(space, logged), logged)
		}
	}
}

// beginEntry reads an entry's size and makes room for it.
func (n *Node) beginEntry(s *stream, from broker.MemberID, r *partReader) bool {
	s.headLen += r.fill(s.head[s.headLen:])
	if s.headLen < len(s.head) {
		return false
	}
	s.size = int(binary.LittleEndian.Uint32(s.head[:]))
	if s.size < broker.HeaderBytes || s.size > broker.MaxEntryBytes {
		// Its stream makes no sense from here on: start again with its next message.
		n.event(Event{Kind: EventForeign, Member: from, Text: fmt.Sprintf("entry of %d bytes", s.size)})
		*s = stream{}
		r.skip(r.left())
		return false
	}
	// Durable entries stand in the log in their order, so one of which the end is still to come
	// gets its place there later, unless it is so large that it has an extent of its own.
	s.logged = n.log.Durable() && broker.Logged(s.head[:])
	class := journal.Transient
	if s.logged && inPlace(s.head[:]) && (r.left() >= s.size-len(s.head) || journal.Large(s.size)) {
		class = journal.Durable
	}
	space, err := n.log.Begin(s.size, class)
	if err != nil {
		panic("cluster: no memory for an entry that is ordered: " + err.Error())
	}
	s.space, s.started = space, true
	s.have = copy(space.Bytes(), s.head[:])
	return true
}

// settleSpace moves a durable entry that is whole now to its place among the others.
func (n *Node) settleSpace(space journal.Space, logged bool) journal.Space {
	if !logged || space.Durable() || !inPlace(space.Bytes()) {
		return space
	}
	entry := space.Bytes()
	to, err := n.log.Begin(len(entry), journal.Durable)
	if err != nil {
		panic("cluster: no memory for an entry that is ordered: " + err.Error())
	}
	copy(to.Bytes(), entry)
	n.log.Abandon(space)
	return to
}

// apply gives one entry its index and its meaning.
func (n *Node) apply(number uint64, from broker.MemberID, space journal.Space, logged bool) {
	n.index++
	ref := n.log.Commit(space, n.tag(), journal.Index(n.index))
	n.mix(n.log.Sum(ref))
	entry := n.log.Bytes(ref)
	own := broker.ConnID(0)
	if from == n.cfg.Self {
		own = broker.ConnID(binary.LittleEndian.Uint32(entry[8:]))
	}
	e := broker.Entry{Index: n.index, From: from, Now: n.now, Record: entry, Ref: broker.Ref(ref)}
	c := n.conns[own]
	switch {
	case c == nil || entry[4] == byte(broker.KindConnClosed):
		c = nil
	case entry[4] == byte(broker.KindDequeue):
		n.awaitRefused(number, own)
		c = nil
	default:
		e.Number = c.deliveredNext()
		n.await(number, own, e.Number, n.waits(entry))
	}
	res, err := n.broker.Apply(&e)
	if err != nil {
		n.event(Event{Kind: EventForeign, Member: from, Text: err.Error()})
	}
	if logged {
		n.logEntry(entry, from, res != nil && res.Code == broker.OK)
	}
	switch {
	case res == nil:
	case res.Answers != 0:
		n.answered(number, res, n.waits(entry))
	case c != nil && res.Awaits:
		n.inquire(c, e.Number, res)
	case c != nil:
		n.outcome(c, e.Number, res, ref)
	}
	if c != nil && len(c.gets) > 0 {
		n.takeGets(c)
	}
	n.log.Settled(ref)
}

// outcome keeps what became of one of c's entries. An unroutable message goes back whole.
func (n *Node) outcome(c *conn, number uint64, res *broker.Result, ref journal.Ref) {
	if res.Code == broker.NoRoute {
		pin := n.log.Pin(ref)
		c.result(number, res, n.log.Bytes(ref), pin)
		return
	}
	c.result(number, res, nil, nil)
}

// await has a connection told when message is safe that its request number is done.
func (n *Node) await(message uint64, id broker.ConnID, number uint64, waits bool) {
	index := broker.Index(0)
	if waits {
		index = n.index
	}
	if k := len(n.awaiting); k > 0 && n.awaiting[k-1].message == message && n.awaiting[k-1].conn == id && !n.awaiting[k-1].refused {
		n.awaiting[k-1].number = number
		n.awaiting[k-1].index = max(n.awaiting[k-1].index, index)
		return
	}
	n.awaiting = append(n.awaiting, awaited{message: message, conn: id, number: number, index: index})
}

// awaitRefused has a connection told when message is safe, and on disks, that the journals know of the
// first of its refusals that they do not know of yet.
func (n *Node) awaitRefused(message uint64, id broker.ConnID) {
	index := broker.Index(0)
	if n.disk.needed {
		index = n.index
	}
	n.awaiting = append(n.awaiting, awaited{message: message, conn: id, index: index, refused: true})
}

// mix adds one entry's checksum to the chain.
func (n *Node) mix(sum uint32) {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], n.chain)
	binary.LittleEndian.PutUint32(b[8:], sum)
	n.chain = n.chain<<32 | uint64(crc32.Checksum(b[:], castagnoli))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// partReader reads the parts of a message one after the other.
type partReader struct {
	parts [][]byte
	at    int // in parts[0]
}

func (r *partReader) left() (n int) {
	for _, p := range r.parts {
		n += len(p)
	}
	return n - r.at
}

// fill copies what is there to b, as far as it goes.
func (r *partReader) fill(b []byte) (n int) {
	for n < len(b) && len(r.parts) > 0 {
		k := copy(b[n:], r.parts[0][r.at:])
		n += k
		r.move(k)
	}
	return n
}

func (r *partReader) read(b []byte) bool { return r.fill(b) == len(b) }

func (r *partReader) skip(n int) {
	for n > 0 && len(r.parts) > 0 {
		k := min(n, len(r.parts[0])-r.at)
		n -= k
		r.move(k)
	}
}

func (r *partReader) move(k int) {
	r.at += k
	for len(r.parts) > 0 && r.at >= len(r.parts[0]) {
		r.at -= len(r.parts[0])
		r.parts = r.parts[1:]
	}
}
