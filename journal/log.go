package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
)

// View numbers the membership an entry was ordered in; Index its place in the order.
type (
	View  uint64
	Index uint64
)

// Ref names an entry's bytes: everything after the log does.
type Ref struct{ Extent, Offset, Length uint32 }

// Class tells which extents an entry goes to, so that transient ones never cost a write.
type Class uint8

// Classes of entries.
const (
	Transient Class = iota
	Durable
	classes
)

// Sizes of the format.
const (
	ExtentBytes = 1 << 20
	HeaderBytes = 24
	// alignment keeps headers readable as whole words.
	alignment = 8
	// largeBytes is from where an entry gets an extent of its own: an eighth of a shared
	// one, so that at most that much is left unused at an extent's end.
	largeBytes = ExtentBytes / 8
	// spareExtents is how many empty extents are kept for reuse: the churn of a broker
	// whose consumers keep up, with room for a burst.
	spareExtents = 32
)

// Memory is where extents come from.
type Memory interface {
	Alloc(bytes int) ([]byte, error)
	Free(b []byte)
}

// Config sizes a log.
type Config struct {
	// LimitBytes is the most that extents may take in all; 0 is no limit. Begin fails
	// beyond it and nothing is half written.
	LimitBytes int64
}

// ErrFull is returned when the log may not grow.
var ErrFull = errors.New("journal: memory limit reached: consume messages, or raise --memory-limit")

// Extent is an aligned run of the log.
type Extent struct {
	id     uint32
	bytes  []byte
	used   int
	live   int64        // references to its records
	weight int64        // bytes of the records they name
	open   int          // begun and not committed
	pins   atomic.Int64 // readers on other goroutines: the only word that is shared
	inUse  bool
	shared bool // of the common size, so it can be reused
}

// Unpin lets go of what Log.Pin held. It may be called from any goroutine.
func (e *Extent) Unpin() {
	if e.pins.Add(-1) < 0 {
		panic("journal: extent unpinned more often than pinned")
	}
}

// Log is the log. One goroutine owns it.
type Log struct {
	cfg     Config
	mem     Memory
	extents []*Extent // by id
	free    []uint32  // ids without memory
	spare   []*Extent // empty, with memory
	zombies []*Extent // dead, but still pinned
	current [classes]*Extent
	stats   Stats
}

// Stats are the log's figures.
type Stats struct {
	Records, Appended int64 // ever
	Live, LiveBytes   int64 // references now, and the bytes they name
	MemoryBytes       int64 // extents now, spare ones included
	UsedBytes         int64 // extents in use now
	Extents           int   // in use now
}

// New returns an empty log.
func New(cfg Config, mem Memory) *Log { return &Log{cfg: cfg, mem: mem} }

// Stats returns the log's figures.
func (l *Log) Stats() Stats { return l.stats }

// Space is room for one entry, begun and not yet committed.
type Space struct {
	extent *Extent
	offset uint32
	length uint32
}

// Bytes is where the entry goes.
func (s *Space) Bytes() []byte {
	from := s.offset + HeaderBytes
	return s.extent.bytes[from : from+s.length : from+s.length]
}

// Begin makes room for an entry of n bytes. Several may be open at once.
func (l *Log) Begin(n int, c Class) (Space, error) {
	size := (HeaderBytes + n + alignment - 1) &^ (alignment - 1)
	if size > largeBytes {
		return l.beginLarge(n, size)
	}
	e := l.current[c]
	if e == nil || e.used+size > len(e.bytes) {
		next, err := l.take(ExtentBytes)
		if err != nil {
			return Space{}, err
		}
		l.current[c] = next
		if e != nil {
			l.recycle(e)
		}
		e = next
	}
	s := Space{extent: e, offset: uint32(e.used), length: uint32(n)}
	e.used += size
	e.open++
	return s, nil
}

func (l *Log) beginLarge(n, size int) (Space, error) {
	e, err := l.take(size)
	if err != nil {
		return Space{}, err
	}
	e.used, e.open = size, 1
	return Space{extent: e, length: uint32(n)}, nil
}

// Commit ends what Begin began and returns the entry's name. Nobody holds it yet: the
// bytes stay until the next Begin, longer if Retain says so.
func (l *Log) Commit(s Space, v View, i Index) Ref {
	h := s.extent.bytes[s.offset : s.offset+HeaderBytes]
	binary.LittleEndian.PutUint32(h, s.length)
	binary.LittleEndian.PutUint64(h[8:], uint64(v))
	binary.LittleEndian.PutUint64(h[16:], uint64(i))
	binary.LittleEndian.PutUint32(h[4:], checksum(h, s.Bytes()))
	s.extent.open--
	l.stats.Records++
	l.stats.Appended += int64(s.length)
	return Ref{Extent: s.extent.id, Offset: s.offset, Length: s.length}
}

// Abandon gives up what Begin began.
func (l *Log) Abandon(s Space) {
	s.extent.open--
	l.recycle(s.extent)
}

// Settled tells the log that nobody will retain ref: what is dead of it can be reused.
func (l *Log) Settled(ref Ref) { l.recycle(l.extents[ref.Extent]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(head, entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[8:HeaderBytes], castagnoli), castagnoli, entry)
}

// Sum is the checksum that Commit wrote for ref.
func (l *Log) Sum(ref Ref) uint32 {
	return binary.LittleEndian.Uint32(l.extents[ref.Extent].bytes[ref.Offset+4:])
}

// Verify reads ref's record as it stands and compares it with its header.
func (l *Log) Verify(ref Ref) error {
	h := l.extents[ref.Extent].bytes[ref.Offset:]
	if n := binary.LittleEndian.Uint32(h); n != ref.Length {
		return fmt.Errorf("journal: extent %d offset %d: length %d where %d was written", ref.Extent, ref.Offset, n, ref.Length)
	}
	if binary.LittleEndian.Uint32(h[4:]) != checksum(h[:HeaderBytes], l.Bytes(ref)) {
		return fmt.Errorf("journal: extent %d offset %d: checksum does not match", ref.Extent, ref.Offset)
	}
	return nil
}

// Bytes is the entry behind ref, while it is retained or pinned.
func (l *Log) Bytes(ref Ref) []byte {
	from := ref.Offset + HeaderBytes
	return l.extents[ref.Extent].bytes[from : from+ref.Length : from+ref.Length]
}

// Retain adds n references to ref.
func (l *Log) Retain(ref Ref, n int) {
	e := l.extents[ref.Extent]
	e.live += int64(n)
	e.weight += int64(n) * int64(ref.Length)
	l.stats.Live += int64(n)
	l.stats.LiveBytes += int64(n) * int64(ref.Length)
}

// Drop removes one reference to ref.
func (l *Log) Drop(ref Ref) {
	e := l.extents[ref.Extent]
	e.live--
	e.weight -= int64(ref.Length)
	l.stats.Live--
	l.stats.LiveBytes -= int64(ref.Length)
	if e.live < 0 {
		panic("journal: record dropped more often than retained")
	}
	l.recycle(e)
}

// Pin keeps ref's bytes in place for a reader until the extent is unpinned.
func (l *Log) Pin(ref Ref) *Extent {
	e := l.extents[ref.Extent]
	e.pins.Add(1)
	return e
}

// recycle reuses e if nobody needs it any more.
func (l *Log) recycle(e *Extent) {
	if e.live != 0 || e.open != 0 || !e.inUse {
		return
	}
	if e == l.current[Transient] || e == l.current[Durable] {
		return
	}
	e.inUse = false
	l.stats.Extents--
	l.stats.UsedBytes -= int64(len(e.bytes))
	if e.pins.Load() != 0 {
		l.zombies = append(l.zombies, e)
		return
	}
	l.retire(e)
}

func (l *Log) retire(e *Extent) {
	if e.shared && len(l.spare) < spareExtents {
		l.spare = append(l.spare, e)
		return
	}
	l.stats.MemoryBytes -= int64(len(e.bytes))
	l.mem.Free(e.bytes)
	l.extents[e.id] = nil
	l.free = append(l.free, e.id)
}

// reap retires dead extents whose readers have gone.
func (l *Log) reap() {
	kept := l.zombies[:0]
	for _, e := range l.zombies {
		if e.pins.Load() != 0 {
			kept = append(kept, e)
			continue
		}
		l.retire(e)
	}
	l.zombies = kept
}

// take returns an empty extent of at least n bytes.
func (l *Log) take(n int) (*Extent, error) {
	if len(l.zombies) > 0 {
		l.reap()
	}
	if n == ExtentBytes && len(l.spare) > 0 {
		e := l.spare[len(l.spare)-1]
		l.spare = l.spare[:len(l.spare)-1]
		e.used, e.weight, e.inUse = 0, 0, true
		l.stats.Extents++
		l.stats.UsedBytes += ExtentBytes
		return e, nil
	}
	const page = 4096
	n = (n + page - 1) &^ (page - 1)
	if l.cfg.LimitBytes > 0 && l.stats.MemoryBytes+int64(n) > l.cfg.LimitBytes {
		return nil, ErrFull
	}
	b, err := l.mem.Alloc(n)
	if err != nil {
		return nil, fmt.Errorf("journal: no memory for an extent of %d bytes: %w", n, err)
	}
	e := &Extent{bytes: b, inUse: true, shared: n == ExtentBytes}
	if k := len(l.free); k > 0 {
		e.id = l.free[k-1]
		l.free = l.free[:k-1]
		l.extents[e.id] = e
	} else {
		e.id = uint32(len(l.extents))
		l.extents = append(l.extents, e)
	}
	l.stats.MemoryBytes += int64(n)
	l.stats.UsedBytes += int64(n)
	l.stats.Extents++
	return e, nil
}

// carryBytes is how much of the log may be dead, beyond as much as is alive, before what is
// alive in sparse extents is worth carrying forward: so much is appended, at least, between
// two times that the owner goes through what it holds.
const carryBytes = 64 << 20

// Fragmented tells whether long-lived records hold so many extents that the owner should
// carry them forward.
func (l *Log) Fragmented() bool {
	return l.stats.UsedBytes > 2*l.stats.LiveBytes+carryBytes
}

// Sparse tells whether less than half of ref's extent is alive.
func (l *Log) Sparse(ref Ref) bool {
	e := l.extents[ref.Extent]
	return e.shared && e.open == 0 && 2*e.weight < int64(e.used) && e != l.current[Transient] && e != l.current[Durable]
}

// Carry copies ref's record forward. The owner retains the copy and drops what it replaces.
func (l *Log) Carry(ref Ref, c Class) (Ref, error) {
	s, err := l.Begin(int(ref.Length), c)
	if err != nil {
		return Ref{}, err
	}
	old := l.extents[ref.Extent].bytes[ref.Offset : ref.Offset+HeaderBytes]
	copy(s.Bytes(), l.Bytes(ref))
	view, index := binary.LittleEndian.Uint64(old[8:]), binary.LittleEndian.Uint64(old[16:])
	return l.Commit(s, View(view), Index(index)), nil
}

// Heap is a Memory of Go's own, for tests and simulations.
type Heap struct{}

// Alloc makes n bytes.
func (Heap) Alloc(n int) ([]byte, error) { return make([]byte, n), nil }

// Free leaves b to the collector.
func (Heap) Free([]byte) {}

// Image is what an extent holds at one moment: its bytes never change again.
type Image struct {
	ID     uint32
	Bytes  []byte
	Extent *Extent // to be unpinned when the bytes have been read
}

// Export lists the extents with anything referred to, each pinned. What is appended later
// is not part of it.
func (l *Log) Export() []Image {
	var images []Image
	for _, e := range l.extents {
		if e == nil || !e.inUse || e.live == 0 {
			continue
		}
		e.pins.Add(1)
		images = append(images, Image{ID: e.id, Bytes: e.bytes[:e.used], Extent: e})
	}
	return images
}

// Import makes room for another log's extent of n bytes: fill the bytes, then call Imported.
// Until something in it is retained it is dead.
func (l *Log) Import(n int) (id uint32, bytes []byte, err error) {
	e, err := l.take(max(n, ExtentBytes))
	if err != nil {
		return 0, nil, err
	}
	e.used, e.open = n, 1
	return e.id, e.bytes[:n:n], nil
}

// Imported ends what Import began.
func (l *Log) Imported(id uint32) {
	e := l.extents[id]
	e.open = 0
	l.recycle(e)
}

// Close gives all memory back. No reader may be left.
func (l *Log) Close() {
	for _, e := range l.extents {
		if e != nil {
			l.mem.Free(e.bytes)
		}
	}
	*l = Log{cfg: l.cfg, mem: l.mem}
}

// Holds tells whether ref lies within what is used of an extent.
func (l *Log) Holds(ref Ref) bool {
	if uint64(ref.Extent) >= uint64(len(l.extents)) || l.extents[ref.Extent] == nil {
		return false
	}
	return uint64(ref.Offset)+HeaderBytes+uint64(ref.Length) <= uint64(l.extents[ref.Extent].used)
}

// Pinned tells whether any reader is left.
func (l *Log) Pinned() bool {
	for _, e := range l.extents {
		if e != nil && e.pins.Load() != 0 {
			return true
		}
	}
	return false
}
