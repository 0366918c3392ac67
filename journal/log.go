package journal

import (
	"encoding/binary"
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

// Config is what a Log is made with.
type Config struct {
	Memory Memory
	// Disk and Files are where durable entries go, and come back from. Without them nothing
	// is written.
	Disk  Disk
	Files Files
	Store UUID
	// SegmentBytes is how long segments are; 0 is the common size.
	SegmentBytes int64
	// CheckpointBytes is how much is written, at least, from one checkpoint to the next; 0 is the
	// usual.
	CheckpointBytes int64
	// MemoryBytes is from where extents that are on the disk leave memory; 0 is never.
	MemoryBytes int64
}

// Extent is an aligned run of the log.
type Extent struct {
	id     uint32
	bytes  []byte // nil while it is on the disk only
	size   int
	used   int
	live   int64        // references to its records
	weight int64        // bytes of the records they name
	open   int          // begun and not committed
	kept   int          // images of it
	pins   atomic.Int64 // readers on other goroutines: the only word that is shared
	inUse  bool
	shared bool // of the common size, so it can be reused

	class   Class
	segment *segment // where it is on the disk, if anywhere
	at      int64    // and at which offset of the file
	writing int      // writes from its memory that are under way
	loading bool
	taken   uint64 // when, in the order of all
	sum     uint32 // of what was spilled
	fresh   bool   // it was read back, and may not have been looked at yet
}

// Unpin lets go of what Log.Pin held. It may be called from any goroutine.
func (e *Extent) Unpin() {
	if e.pins.Add(-1) < 0 {
		panic("journal: extent unpinned more often than pinned")
	}
}

// Log is the log. One goroutine owns it.
type Log struct {
	mem     Memory
	extents []*Extent // by id
	free    []uint32  // ids without memory
	spare   []*Extent // empty, with memory
	zombies []*Extent // dead, but still pinned
	current [classes]*Extent
	taken   uint64 // extents, ever
	stats   Stats
	cfg     Config
	runs    runs
	store   store
}

// Stats are the log's figures.
type Stats struct {
	Records, Appended int64 // ever
	Live, LiveBytes   int64 // references now, and the bytes they name
	MemoryBytes       int64 // extents now, spare ones included
	UsedBytes         int64 // extents in use now, in memory or not
	TransientBytes    int64 // of those, extents that are in memory only
	Extents           int   // in use now
	DiskBytes         int64 // of segments, ready ones included
	WrittenBytes      int64 // ever, to segments
}

// New returns an empty log.
func New(cfg Config) *Log {
	l := &Log{mem: cfg.Memory, cfg: cfg}
	l.runs.next = 1
	if cfg.SegmentBytes == 0 {
		l.cfg.SegmentBytes = SegmentBytes
	}
	if cfg.CheckpointBytes == 0 {
		l.cfg.CheckpointBytes = checkpointAfter
	}
	return l
}

// Durable tells whether durable entries are written anywhere.
func (l *Log) Durable() bool { return l.cfg.Disk != nil }

// Stats returns the log's figures.
func (l *Log) Stats() Stats { return l.stats }

// Space is room for one entry, begun and not yet committed.
type Space struct {
	extent *Extent
	offset uint32
	length uint32
	kind   RunKind
}

// Bytes is where the entry goes.
func (s *Space) Bytes() []byte {
	from := s.offset + HeaderBytes
	return s.extent.bytes[from : from+s.length : from+s.length]
}

// Durable tells whether the entry is on its way to the disk.
func (s *Space) Durable() bool { return s.extent.class == Durable }

// Begin makes room for an entry of n bytes. Several transient ones may be open at once; a
// durable one is committed before the next is begun, unless it is large.
func (l *Log) Begin(n int, c Class) (Space, error) {
	size := recordBytes(n)
	if c == Durable && l.Durable() {
		return l.beginRun(n, size, RunEntries)
	}
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
	if s.extent.class == Durable {
		l.committed(&s, i)
	}
	return Ref{Extent: s.extent.id, Offset: s.offset, Length: s.length}
}

// Abandon gives up what Begin began.
func (l *Log) Abandon(s Space) {
	s.extent.open--
	l.recycle(s.extent)
}

// Large tells whether an entry of n bytes has an extent of its own: then it may be begun as
// durable before all of it is there.
func Large(n int) bool { return recordBytes(n) > largeBytes }

// Settled tells the log that nobody will retain ref: what is dead of it can be reused.
func (l *Log) Settled(ref Ref) { l.recycle(l.extents[ref.Extent]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func checksum(head, entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[8:HeaderBytes], castagnoli), castagnoli, entry)
}

// Sum is the checksum that Commit wrote for ref.
func (l *Log) Sum(ref Ref) uint32 {
	return binary.LittleEndian.Uint32(l.extents[ref.Extent].bytes[ref.Offset+4:])
}

// Bytes is the entry behind ref, while it is retained or pinned. If it has left memory, it is
// read back while the caller waits: see Fetch.
func (l *Log) Bytes(ref Ref) []byte {
	e := l.extents[ref.Extent]
	if e.bytes == nil {
		l.load(e)
	}
	from := ref.Offset + HeaderBytes
	return e.bytes[from : from+ref.Length : from+ref.Length]
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
	if e.live != 0 || e.open != 0 || e.kept != 0 || !e.inUse {
		return
	}
	if e == l.current[Transient] || e == l.current[Durable] {
		return
	}
	e.inUse = false
	l.stats.Extents--
	l.stats.UsedBytes -= int64(e.size)
	if e.class == Transient && e.bytes != nil {
		l.stats.TransientBytes -= int64(e.size)
	}
	if e.pins.Load() != 0 || e.writing != 0 || e.loading || l.unwritten(e) {
		l.zombies = append(l.zombies, e)
		return
	}
	l.retire(e)
}

func (l *Log) retire(e *Extent) {
	if e.segment != nil {
		l.vacate(e)
	}
	if e.bytes != nil && e.shared && len(l.spare) < spareExtents {
		l.spare = append(l.spare, e)
		return
	}
	if e.bytes != nil {
		l.unload(e)
	}
	l.extents[e.id] = nil
	l.free = append(l.free, e.id)
}

// unload gives e's memory back.
func (l *Log) unload(e *Extent) {
	l.stats.MemoryBytes -= int64(e.size)
	if e.inUse && e.class == Transient {
		l.stats.TransientBytes -= int64(e.size)
	}
	l.mem.Free(e.bytes)
	e.bytes = nil
}

// reap retires dead extents that nobody reads or writes any more.
func (l *Log) reap() {
	kept := l.zombies[:0]
	for _, e := range l.zombies {
		if e.pins.Load() != 0 || e.writing != 0 || e.loading || l.unwritten(e) {
			kept = append(kept, e)
			continue
		}
		l.retire(e)
	}
	l.zombies = kept
}

// take returns an empty extent of at least n bytes.
func (l *Log) take(n int) (*Extent, error) {
	l.taken++
	if len(l.zombies) > 0 {
		l.reap()
	}
	if n == ExtentBytes && len(l.spare) > 0 {
		e := l.spare[len(l.spare)-1]
		l.spare = l.spare[:len(l.spare)-1]
		e.used, e.weight, e.inUse, e.class, e.taken = 0, 0, true, Transient, l.taken
		l.stats.Extents++
		l.stats.UsedBytes += ExtentBytes
		l.stats.TransientBytes += ExtentBytes
		return e, nil
	}
	n = blocks(n)
	b, err := l.mem.Alloc(n)
	if err != nil {
		return nil, fmt.Errorf("journal: no memory for an extent of %d bytes: %w", n, err)
	}
	e := &Extent{bytes: b, size: n, inUse: true, shared: n == ExtentBytes, taken: l.taken}
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
	l.stats.TransientBytes += int64(n)
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
func (l *Log) Carry(ref Ref) (Ref, error) {
	e := l.extents[ref.Extent]
	entry := l.Bytes(ref)
	if e.class == Durable {
		return l.Copy(recordOf(e.bytes[ref.Offset:], entry))
	}
	s, err := l.Begin(int(ref.Length), Transient)
	if err != nil {
		return Ref{}, err
	}
	r := recordOf(e.bytes[ref.Offset:], entry)
	copy(s.Bytes(), entry)
	return l.Commit(s, r.View, r.Index), nil
}

// Copy appends a durable record that has its place in the order already.
func (l *Log) Copy(r Record) (Ref, error) {
	s, err := l.beginRun(len(r.Entry), recordBytes(len(r.Entry)), RunCarried)
	if err != nil {
		return Ref{}, err
	}
	copy(s.Bytes(), r.Entry)
	return l.Commit(s, r.View, r.Index), nil
}

// Record is the record behind ref.
func (l *Log) Record(ref Ref) Record {
	entry := l.Bytes(ref)
	return recordOf(l.extents[ref.Extent].bytes[ref.Offset:], entry)
}

func recordOf(head, entry []byte) Record {
	return Record{View: View(binary.LittleEndian.Uint64(head[8:])), Index: Index(binary.LittleEndian.Uint64(head[16:])), Entry: entry}
}

// Heap is a Memory of Go's own, for tests and simulations.
type Heap struct{}

// Alloc makes n bytes.
func (Heap) Alloc(n int) ([]byte, error) { return make([]byte, n), nil }

// Free leaves b to the collector.
func (Heap) Free([]byte) {}

// Image is what an extent holds at one moment: its bytes never change again. They may leave memory,
// and are read back.
type Image struct {
	ID     uint32
	Size   int
	extent *Extent
}

// Export lists the extents with anything referred to, each kept until Unkeep. What is appended later
// is not part of it.
func (l *Log) Export() (images []Image) {
	for _, e := range l.extents {
		if e != nil && e.inUse && e.live != 0 {
			e.kept++
			images = append(images, Image{e.id, e.used, e})
		}
	}
	return images
}

// Unkeep ends the use of an image.
func (l *Log) Unkeep(i Image) {
	i.extent.kept--
	l.recycle(i.extent)
}

// Image is the bytes of an image; nil if they have left memory: then they are asked for, and Arrived
// will tell.
func (l *Log) Image(i Image) []byte {
	if i.extent.bytes == nil {
		l.Fetch(Ref{Extent: i.ID})
		return nil
	}
	return i.extent.bytes[:i.Size]
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
		if e != nil && e.bytes != nil {
			l.mem.Free(e.bytes)
		}
	}
	*l = Log{mem: l.mem, cfg: l.cfg}
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
