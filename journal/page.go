package journal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// What is on the disk may leave memory, and comes back by extents. The owner asks for what it
// will need (Fetch) and goes on when it has come; Bytes reads at once what was not asked for.

// Resident tells whether ref's bytes are in memory.
func (l *Log) Resident(ref Ref) bool { return l.extents[ref.Extent].bytes != nil }

// Fetch asks for ref's bytes; Arrived will tell.
func (l *Log) Fetch(ref Ref) {
	e := l.extents[ref.Extent]
	if e.bytes != nil || e.loading {
		return
	}
	b, err := l.mem.Alloc(e.size)
	if err != nil {
		panic(fmt.Sprintf("journal: no memory to read an extent of %d bytes back: %v", e.size, err))
	}
	e.loading = true
	op := l.spareOp()
	*op = Op{Kind: OpRead, File: e.segment.file.name, Offset: e.at, Data: b[:blocks(e.used)], log: l, extent: e}
	l.cfg.Disk.Start(op)
}

func (l *Log) fetched(op *Op) {
	e := op.extent
	e.loading = false
	b := op.Data[:e.size]
	if op.Err == nil {
		op.Err = e.check(b, op.File)
	}
	if op.Err != nil {
		l.fail(op)
	}
	if op.Err != nil || e.bytes != nil || !e.inUse {
		l.mem.Free(b)
	} else {
		l.resident(e, b)
		e.fresh = true
	}
	l.store.arrived = true
}

func (l *Log) resident(e *Extent, b []byte) {
	e.bytes = b
	l.stats.MemoryBytes += int64(e.size)
	if e.class == Transient {
		l.stats.TransientBytes += int64(e.size)
	}
}

// Arrived tells whether anything that was asked for has come since it was last called.
func (l *Log) Arrived() bool {
	came := l.store.arrived
	l.store.arrived = false
	return came
}

// LostError is what Bytes panics with if a message cannot be read back: what the order says cannot
// be done here, and a member that went on would differ from the others. The log has failed.
type LostError struct{ Cause error }

func (e *LostError) Error() string {
	return "journal: a message cannot be read back: " + e.Cause.Error()
}

func (e *LostError) Unwrap() error { return e.Cause }

// load reads an extent back at once.
func (l *Log) load(e *Extent) {
	b, err := l.mem.Alloc(e.size)
	if err != nil {
		panic(fmt.Sprintf("journal: no memory to read an extent of %d bytes back: %v", e.size, err))
	}
	name := e.segment.file.name
	if _, err = l.cfg.Files.ReadAt(name, b[:blocks(e.used)], e.at); err == nil {
		err = e.check(b, name)
	}
	if err != nil {
		l.mem.Free(b)
		l.runs.failed = cmp.Or(l.runs.failed, fmt.Errorf("journal: %w", err))
		panic(&LostError{err})
	}
	l.resident(e, b)
}

// check compares what was read back with its checksums.
func (e *Extent) check(b []byte, name string) error {
	if e.class == Transient {
		if sum(b[:e.used]) != e.sum {
			return &CorruptError{name, e.at, "what was put here for want of memory has changed"}
		}
		return nil
	}
	for at := 0; at < e.used; {
		h, ok := ParseRunHeader(b[at:])
		if !ok || h.Extent != e.id || int(h.Start) != at {
			return &CorruptError{name, e.at + int64(at), "the run that was written here cannot be read"}
		}
		if off, cause := h.Records(b[at:], func(Record) bool { return true }); cause != "" {
			return &CorruptError{name, e.at + int64(at+off), cause}
		}
		at += blocks(int(h.Bytes))
	}
	return nil
}

// Evict lets extents leave memory until what is left is below the limit: those that were
// filled last first, since queues are emptied from their other end.
func (l *Log) Evict() {
	if l.cfg.MemoryBytes == 0 || l.stats.MemoryBytes <= l.cfg.MemoryBytes {
		return
	}
	for len(l.spare) > 0 && l.stats.MemoryBytes > l.cfg.MemoryBytes {
		e := l.spare[len(l.spare)-1]
		l.spare = l.spare[:len(l.spare)-1]
		l.unload(e)
		l.extents[e.id] = nil
		l.free = append(l.free, e.id)
	}
	if l.stats.MemoryBytes <= l.cfg.MemoryBytes {
		return
	}
	for _, e := range l.evictable() {
		if l.stats.MemoryBytes <= l.cfg.MemoryBytes-l.cfg.MemoryBytes/evictShare {
			return
		}
		l.unload(e)
	}
	if l.Durable() && l.runs.failed == nil {
		l.spillSome(l.stats.MemoryBytes - l.cfg.MemoryBytes + l.cfg.MemoryBytes/evictShare)
	}
}

// Behind tells whether there is more in memory than there should be, and the disk is about to change
// that: who waits a moment finds room. On a full disk nobody knows when that moment comes.
func (l *Log) Behind() bool {
	return l.store.tight == nil && l.cfg.MemoryBytes != 0 && l.stats.MemoryBytes > l.cfg.MemoryBytes && (l.runs.writing > 0 || l.store.spills.under > 0)
}

// evictShare is which part of the limit is made free at a time, so that not every extent that
// is filled has all others looked at.
const evictShare = 8

// evictable lists the extents that can leave, those first that are likely to be needed last.
func (l *Log) evictable() (list []*Extent) {
	for _, e := range l.extents {
		if e == nil || e.bytes == nil || !e.inUse || e.segment == nil || e.open != 0 || e.writing != 0 || e == l.current[Durable] || e.pins.Load() != 0 {
			continue
		}
		if e.fresh { // who asked for it has its turn first
			e.fresh = false
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Extent) int {
		return cmp.Or(cmp.Compare(b.segment.number, a.segment.number), cmp.Compare(b.at, a.at))
	})
	return list
}

// Damaged lists extents that cannot be read back as they were written, and why. It reads all that are in use
// and on the disk.
func (l *Log) Damaged() (map[uint32]error, error) {
	damaged := map[uint32]error{}
	var b []byte
	for _, e := range l.extents {
		if e == nil || !e.inUse || e.bytes != nil || e.segment == nil {
			continue
		}
		if n := blocks(e.used); len(b) < n {
			b = make([]byte, max(n, ExtentBytes))
		}
		name := e.segment.file.name
		if _, err := l.cfg.Files.ReadAt(name, b[:blocks(e.used)], e.at); err != nil {
			return nil, fmt.Errorf("journal: %w", err)
		}
		if err := e.check(b, name); err != nil {
			damaged[e.id] = err
		}
	}
	return damaged, nil
}

// Salvage copies a durable record to where it can be read, whatever else of its extent cannot; saved is false if
// it is damaged itself. The owner retains the copy and drops what it replaces.
func (l *Log) Salvage(ref Ref) (to Ref, saved bool, err error) {
	e := l.extents[ref.Extent]
	b := make([]byte, HeaderBytes+ref.Length)
	if _, err := l.cfg.Files.ReadAt(e.segment.file.name, b, e.at+int64(ref.Offset)); err != nil {
		return Ref{}, false, fmt.Errorf("journal: %w", err)
	}
	head, entry := b[:HeaderBytes], b[HeaderBytes:]
	if binary.LittleEndian.Uint32(head) != ref.Length || binary.LittleEndian.Uint32(head[4:]) != checksum(head, entry) {
		return Ref{}, false, nil
	}
	to, err = l.Copy(recordOf(head, entry))
	return to, err == nil, err
}

// Where is the place of a record on the disk.
type Where struct {
	File   string
	Offset int64
}

// Place tells where a durable record is on the disk.
func (l *Log) Place(ref Ref) Where {
	e := l.extents[ref.Extent]
	return Where{e.segment.file.name, e.at + int64(ref.Offset)}
}
