package broker

import "time"

// Ref names a record in the log, as the log does.
type Ref struct{ Extent, Offset, Length uint32 }

// Log is where the records that queues hold are kept.
type Log interface {
	Bytes(Ref) []byte
	Retain(Ref, int)
	Drop(Ref)
	Pin(Ref) Pin // safe to call from several shards at once
	// Append adds a record made here, as dead lettering does, from its parts.
	Append(index Index, durable bool, parts ...[]byte) (Ref, error)
	// Sparse tells whether a record is one of few that keep much dead memory from reuse;
	// Carry copies such a one forward.
	Sparse(Ref) bool
	Carry(Ref) (Ref, error)
	// Resident tells whether a record is in memory; Fetch asks for one that is not, and
	// Broker.Arrived follows when it has come.
	Resident(Ref) bool
	Fetch(Ref)
}

// MemberID names a member of the cluster: its node id in the upper half, its process id
// in the lower, so that the order of ids is the order of node ids.
type MemberID uint64

// Origin names a connection in the cluster.
type Origin struct {
	Member MemberID
	Conn   ConnID
}

// slotState is what a message in a queue is doing.
type slotState uint8

const (
	slotReady  slotState = iota
	slotHeld             // by holder
	slotGone             // dequeued; the slot waits for those before it
	slotComing           // its record is still to come, in a restoration
)

// slot is a message in a queue. It has no pointers, so queues cost the collector nothing.
type slot struct {
	index      Index
	deadline   time.Duration // local time at which it expires; 0 never
	ref        Ref
	holder     holder // who has it, as far as this member knows
	deliveries uint16 // failed ones
	state      slotState
	leaving    leaving
	logged     bool // on the disk: so is what becomes of it
	apart      [3]byte
}

// maxApart is the most that a slot can tell: properties of over 16 MiB are body where they are more.
const maxApart = 1<<24 - 1

// setApart notes how much of the record is not body, and does not count for a limit of bytes.
func (s *slot) setApart(n uint32) {
	n = min(n, maxApart)
	s.apart = [3]byte{byte(n), byte(n >> 8), byte(n >> 16)}
}

func (s *slot) getApart() uint32 {
	return uint32(s.apart[0]) | uint32(s.apart[1])<<8 | uint32(s.apart[2])<<16
}

// counts is how many bytes of a limit the message takes.
func (s *slot) counts() int64 { return int64(s.ref.Length) - int64(s.getApart()) }

// leaving tells whether this member has proposed the end of its consumer's hold already.
type leaving uint8

const (
	staying   leaving = iota
	goingAway         // from the queue
	goingBack         // to its place: its consumer gets nothing else for it meanwhile
)

// Queue is a queue. Its wiring belongs to the Broker, its messages to its shard.
type Queue struct {
	id      QueueID
	name    string
	options QueueOptions
	owner   Origin // of an exclusive queue
	shard   *shard
	seen    uint64 // by the router
	lastUse Index  // of the last entry that used it, for x-expires

	consumers   []consumer // of all members, in order of subscription
	hadConsumer bool

	// Messages are numbered by position, which only grows; chunks[0] holds base.
	chunks     []chunk
	base       uint64 // position of the first slot of chunks[0]
	head, tail uint64
	reached    uint64 // behind the last message that anybody was given
	count      int    // messages that are not gone
	bytes      int64  // that they count for a limit
	deleted    bool
	draining   bool // deleted, but its messages go to the alternate exchange first
	timed      bool // has or had a message with a deadline

	suspect Index // messages up to here may have been delivered by a member that died
	dispatch
}

// consumer is what every member knows of a consumer.
type consumer struct {
	origin    Origin
	id        ConsumerID
	exclusive bool
	browse    bool
}

func (q *Queue) at(pos uint64) *slot {
	n := pos - q.base
	return &q.chunks[n/chunkSlots].slots[n%chunkSlots]
}

// own is at for who changes what snapshots hold: whether the message is there, where its record is,
// and how often it was delivered. What at has returned before for the same chunk may be old then.
func (q *Queue) own(pos uint64) *slot {
	n := pos - q.base
	k := &q.chunks[n/chunkSlots]
	if k.users != nil {
		q.shard.chunks.own(k)
	}
	return &k.slots[n%chunkSlots]
}

// push adds a message at the tail.
func (q *Queue) push(s slot) {
	if q.tail-q.base == uint64(len(q.chunks))*chunkSlots {
		q.chunks = append(q.chunks, q.shard.chunks.get())
	}
	q.tail++
	*q.at(q.tail - 1) = s
	q.count++
	q.bytes += s.counts()
}

// find returns the position of the message with the given index. Positions are in the order
// of indices; most are sought near the head, so it gallops from there.
func (q *Queue) find(i Index) (uint64, bool) {
	lo, step := q.head, uint64(1)
	for lo+step < q.tail && q.at(lo+step).index <= i {
		lo += step
		step *= 2
	}
	hi := min(lo+step, q.tail)
	for lo < hi {
		mid := lo + (hi-lo)/2
		if q.at(mid).index < i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < q.tail && q.at(lo).index == i && q.at(lo).state != slotGone {
		return lo, true
	}
	return 0, false
}

// remove takes the message at pos out and gives its memory back once nothing is before it.
func (q *Queue) remove(pos uint64) Ref {
	s := q.own(pos)
	ref := s.ref
	s.state = slotGone
	q.count--
	q.bytes -= s.counts()
	for q.head < q.tail && q.at(q.head).state == slotGone {
		q.head++
	}
	for len(q.chunks) > 0 && q.head-q.base >= chunkSlots {
		q.shard.chunks.put(q.chunks[0])
		q.chunks = append(q.chunks[:0], q.chunks[1:]...)
		q.base += chunkSlots
	}
	if q.cursor < q.head {
		q.cursor = q.head
	}
	return ref
}

// each calls do for every message that is there, in order, until it returns false.
func (q *Queue) each(do func(pos uint64, s *slot) bool) {
	for pos := q.head; pos < q.tail; pos++ {
		if s := q.at(pos); s.state != slotGone && !do(pos, s) {
			return
		}
	}
}

// eachHeld is each for those that somebody may hold.
func (q *Queue) eachHeld(do func(s *slot)) {
	for pos := q.head; pos < min(q.reached, q.tail); pos++ {
		if s := q.at(pos); s.state == slotHeld {
			do(s)
		}
	}
}

// keeps tells whether durable messages of q outlive its members.
func (q *Queue) keeps() bool { return q.options.Durable && !q.options.Exclusive }

func (q *Queue) consumerCount() uint32 { return uint32(len(q.consumers)) }

// full tells whether one more message that counts n bytes is refused. Every member must answer alike,
// so messages that consumers hold are counted too.
func (q *Queue) full(n int64) bool {
	o := &q.options
	if o.Overflow != OverflowReject {
		return false
	}
	return o.MaxLength != nil && uint64(q.count) >= *o.MaxLength ||
		o.MaxLengthBytes != nil && uint64(q.bytes)+uint64(n) > *o.MaxLengthBytes
}

// over tells whether the head is to be dropped. What consumers hold does not count, nor what was
// dropped already and is about to leave.
func (q *Queue) over() bool {
	o := &q.options
	if o.Overflow != OverflowDropHead {
		return false
	}
	return o.MaxLength != nil && uint64(q.ready) > *o.MaxLength ||
		o.MaxLengthBytes != nil && q.readyBytes > 0 && uint64(q.readyBytes) > *o.MaxLengthBytes
}
