package pack

import (
	"encoding/binary"
	"errors"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// MaxMessageBytes is the longest message, with all headers. Peers assert on more.
const MaxMessageBytes = 1 << 20

// ErrFull says that the queue has no room now; ErrTooLong that it never will.
var (
	ErrFull    = errors.New("ring: send queue is full")
	ErrTooLong = errors.New("ring: message longer than 1 MiB")
)

const (
	lenBytes     = 4
	initialBytes = 64 << 10
	// maxMessages in one packet keeps the list of lengths well within its 16-bit count.
	maxMessages = 4096
)

// Queue holds the messages of one stream until the token comes. It is a ring of bytes: each
// message is its length and its bytes. The memory grows up to the limit and is kept.
type Queue struct {
	buf   []byte
	head  int // where the oldest message's length stands
	used  int
	limit int
	count int

	sent  int   // bytes of the oldest message that are in packets already
	frag  uint8 // the last fragment id used for it
	abort bool  // the receivers hold a part that must be thrown away
}

// NewQueue makes a queue of at most limit bytes.
func NewQueue(limit int) *Queue {
	return &Queue{buf: make([]byte, min(initialBytes, limit)), limit: limit}
}

// Room is the size of a message, with its headers, for which there is room now. It may be
// more than a message can have.
func (q *Queue) Room() int { return max(0, q.limit-q.used-lenBytes) }

// Used is the number of bytes queued.
func (q *Queue) Used() int { return q.used }

// Empty reports whether Pack would have nothing to do.
func (q *Queue) Empty() bool { return q.count == 0 && !q.abort }

// Push copies one message, given as its header and further parts, into the queue.
func (q *Queue) Push(header []byte, parts ...[]byte) error {
	n := len(header)
	for _, p := range parts {
		n += len(p)
	}
	if n > MaxMessageBytes {
		return ErrTooLong
	}
	if n > q.Room() {
		return ErrFull
	}
	if q.used+lenBytes+n > len(q.buf) {
		q.grow(q.used + lenBytes + n)
	}
	var length [lenBytes]byte
	binary.LittleEndian.PutUint32(length[:], uint32(n))
	q.put(length[:])
	q.put(header)
	for _, p := range parts {
		q.put(p)
	}
	q.count++
	return nil
}

// wrap brings a place that may be up to one lap ahead back into the ring.
func (q *Queue) wrap(at int) int {
	if at >= len(q.buf) {
		at -= len(q.buf)
	}
	return at
}

func (q *Queue) put(b []byte) {
	at := q.wrap(q.head + q.used)
	n := copy(q.buf[at:], b)
	copy(q.buf, b[n:])
	q.used += len(b)
}

func (q *Queue) get(dst []byte, at int) {
	n := copy(dst, q.buf[q.wrap(at):])
	if n < len(dst) {
		copy(dst[n:], q.buf)
	}
}

func (q *Queue) length(at int) int {
	if at+lenBytes <= len(q.buf) {
		return int(binary.LittleEndian.Uint32(q.buf[at:]))
	}
	var b [lenBytes]byte
	q.get(b[:], at)
	return int(binary.LittleEndian.Uint32(b[:]))
}

func (q *Queue) grow(need int) {
	size := len(q.buf)
	for size < need {
		size *= 2
	}
	bigger := make([]byte, min(size, q.limit))
	q.get(bigger[:q.used], q.head)
	q.buf, q.head = bigger, 0
}

// Packets estimates how many packets of payload bytes the queue fills. It is what members
// tell each other as their backlog.
func (q *Queue) Packets(payload int) int {
	if q.Empty() {
		return 0
	}
	per := payload - wire.PackingBytes - wire.PackingLenBytes
	return (q.used - q.sent + per - 1) / per
}

// Pack fills dst, which sets the size of the packet, with the next messages and returns the
// length of the payload; 0 if there is nothing to send.
func (q *Queue) Pack(dst []byte) int {
	if q.abort {
		return q.packAbort(dst)
	}
	if q.count == 0 {
		return 0
	}
	count, data, cut := q.fit(len(dst))
	continuation := uint8(0)
	if q.sent > 0 {
		continuation = q.frag
	}
	at := wire.PackingBytes + wire.PackingLenBytes*count
	whole := count
	if cut > 0 {
		whole--
	}
	for i := range whole {
		n := q.length(q.head) - q.sent
		wire.PutPackingLen(dst, i, n)
		q.get(dst[at:at+n], q.head+lenBytes+q.sent)
		at += n
		q.drop()
	}
	fragmented := uint8(0)
	if cut > 0 {
		wire.PutPackingLen(dst, whole, cut)
		q.get(dst[at:at+cut], q.head+lenBytes+q.sent)
		at += cut
		q.sent += cut
		q.frag = nextFragment(q.frag)
		fragmented = q.frag
	}
	if at != wire.PackingBytes+wire.PackingLenBytes*count+data {
		panic("pack: packet does not have the length that was planned")
	}
	wire.PutPacking(dst, fragmented, continuation, count)
	return at
}

// fit plans a packet of size bytes: how many messages take part, with how many bytes in all,
// and how many of them are the beginning of a message that does not fit whole.
func (q *Queue) fit(size int) (count, data, cut int) {
	room := size - wire.PackingBytes
	at, sent := q.head, q.sent
	for count < min(q.count, maxMessages) && room > wire.PackingLenBytes {
		room -= wire.PackingLenBytes
		n := q.length(at) - sent
		count++
		if n > room {
			return count, data + room, room
		}
		data += n
		room -= n
		at = q.wrap(at + lenBytes + sent + n)
		sent = 0
	}
	return count, data, 0
}

// drop removes the oldest message.
func (q *Queue) drop() {
	n := lenBytes + q.length(q.head)
	q.head = q.wrap(q.head + n)
	q.used -= n
	q.count--
	q.sent, q.frag = 0, 0
	if q.count == 0 {
		q.head = 0 // short copies: the next messages do not wrap
	}
}

// Restart is called when the ring has changed. Members that came anew do not have the
// beginning of a message that is partly sent, so it is sent again as a whole, after a packet
// that makes the others forget their part.
func (q *Queue) Restart() {
	if q.sent > 0 {
		q.abort = true
		q.sent = 0
	}
}

// Clear empties the queue; a part that receivers hold is called back as in Restart.
func (q *Queue) Clear() {
	q.Restart()
	q.head, q.used, q.count = 0, 0, 0
	if !q.abort {
		q.frag = 0
	}
}

// packAbort writes a packet with one empty message whose continuation fits nobody: not those
// that hold the part (they expect frag), nor newcomers (they expect 0). As it ends in no
// fragment, all of them drop what they hold and are in step.
func (q *Queue) packAbort(dst []byte) int {
	wire.PutPacking(dst, 0, nextFragment(q.frag), 1)
	wire.PutPackingLen(dst, 0, 0)
	q.abort, q.frag = false, 0
	return wire.PackingBytes + wire.PackingLenBytes
}

// nextFragment counts 1..255 and then from 1 again.
func nextFragment(f uint8) uint8 {
	if f == 255 {
		return 1
	}
	return f + 1
}
