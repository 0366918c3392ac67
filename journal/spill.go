package journal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is not durable leaves memory, too, if there is too much of it: to files that are of no use to
// anybody but this log, are never flushed, and go with it.

// SpillPrefix begins the names of such files.
const SpillPrefix = "spill-"

// spill is a file with transient extents, each in as many pieces of ExtentBytes as it takes.
type spill struct {
	segment
	next int64   // its end
	free []int64 // pieces before that
}

// spills is what the log knows of them.
type spills struct {
	current *spill
	number  uint64
	under   int64 // bytes on their way
	retryAt time.Duration
	stale   []string // of an earlier life
}

// spillTurn is how much is on its way at a time: what is on its way is still in memory.
const spillTurn = 16 << 20

// spillSome lets transient extents leave memory, those last that are likely to be needed first, until
// so many bytes have, or are about to.
func (l *Log) spillSome(bytes int64) {
	s := &l.store.spills
	if bytes = min(bytes, spillTurn) - s.under; bytes <= 0 || l.store.now < s.retryAt {
		return
	}
	var list []*Extent
	for _, e := range l.extents {
		if e == nil || e.bytes == nil || !e.inUse || e.class != Transient || e.segment != nil || e.open != 0 || e == l.current[Transient] || e.live == 0 {
			continue
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Extent) int { return cmp.Compare(b.taken, a.taken) })
	for _, e := range list {
		if bytes <= 0 {
			return
		}
		bytes -= int64(e.size)
		l.spillExtent(e)
	}
}

func (l *Log) spillExtent(e *Extent) {
	s := &l.store.spills
	if s.current == nil {
		for _, name := range s.stale {
			l.removeFile(name)
		}
		s.stale = nil
		s.number++
		s.current = &spill{segment: segment{file: &file{name: fmt.Sprintf("%s%08x", SpillPrefix, s.number), made: true}}}
		s.current.segment.spill = s.current
	}
	e.segment, e.at = &s.current.segment, s.current.place(e.size)
	e.sum = sum(e.bytes[:e.used])
	e.writing++
	s.under += int64(e.size)
	op := l.spareOp()
	*op = Op{Kind: OpAppend, File: e.segment.file.name, Offset: e.at, Data: e.bytes[:blocks(e.used)], log: l, extent: e}
	l.cfg.Disk.Start(op)
}

// place finds room for an extent.
func (f *spill) place(size int) (at int64) {
	f.alive++
	if n := len(f.free); n > 0 && size <= ExtentBytes {
		at, f.free = f.free[n-1], f.free[:n-1]
		return at
	}
	at = f.next
	f.next += int64((size + ExtentBytes - 1) / ExtentBytes * ExtentBytes)
	return at
}

// spilled ends the writing of an extent: it may leave memory.
func (l *Log) spilled(op *Op) {
	s, e := &l.store.spills, op.extent
	e.writing--
	s.under -= int64(e.size)
	if op.Err != nil {
		// The file takes no more. What is in it already can be read.
		if s.current != nil && e.segment == &s.current.segment {
			s.current = nil
		}
		s.retryAt = l.store.now + retryEvery
		l.unspill(e)
		return
	}
	if e.inUse && e.pins.Load() == 0 && e.open == 0 {
		l.unload(e)
	}
}

// unspill gives e's place up.
func (l *Log) unspill(e *Extent) {
	f := e.segment.spill
	e.segment = nil
	for at := e.at; at < e.at+int64(e.size); at += ExtentBytes {
		if at > 0 { // writing there again would begin the file anew
			f.free = append(f.free, at)
		}
	}
	if f.alive--; f.alive > 0 {
		return
	}
	if l.store.spills.current == f {
		l.store.spills.current = nil
	}
	l.removeFile(f.file.name)
}

func (l *Log) removeFile(name string) {
	op := l.spareOp()
	*op = Op{Kind: OpRemove, File: name, log: l}
	l.cfg.Disk.Start(op)
}

// stale takes note of a file that an earlier life has left.
func (s *spills) left(name string) {
	if strings.HasPrefix(name, SpillPrefix) {
		s.stale = append(s.stale, name)
		var n uint64
		if _, err := fmt.Sscanf(name[len(SpillPrefix):], "%x", &n); err == nil {
			s.number = max(s.number, n)
		}
	}
}
