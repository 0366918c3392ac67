package journal

import (
	"fmt"
	"time"
)

// Segments are files of one size, made ahead of their use, and used again when nothing in
// them is alive and the newest checkpoint needs none of their runs. What cannot be made is
// tried again; meanwhile nothing new is promised (Tight).

// store is the log's directory.
type store struct {
	cluster  UUID
	segments []*segment // in use, by number
	current  *segment
	next     int64  // where in current the next extent goes
	number   uint64 // of the last segment
	noted    uint64 // the last one of which a file says that it was there
	files    uint32 // number of the last file
	ready    []*file
	making   int
	retryAt  time.Duration
	after    uint64 // what the next segment follows, where it is not the run before it
	jump     bool   // after counts
	based    bool   // nothing counts until a checkpoint is on the disk
	tight    error
	check    checkpoint
	arrived  bool // something that was asked for
	spills   spills
	now      time.Duration
	unmade   int  // files that segments are to be written to, and that could not be made yet
	dead     int  // segments in which nothing is alive, and that cannot be used again yet
	dying    bool // for some of those it takes but a flush
}

// file is one file that holds segments.
type file struct {
	name   string
	bytes  int64
	made   bool // it is there
	making bool
	used   bool // by a segment
}

// segment is one use of a file.
type segment struct {
	number uint64
	file   *file
	first  uint64 // run
	last   uint64
	alive  int    // extents in it that are in use
	spill  *spill // this is one
	dead   uint64 // run with what ended the last of them: until it is on the disk, they may come back
}

const (
	// readyFiles are made ahead: what is ordered while a disk fills up goes there.
	readyFiles = 2
	// keptFiles at most are kept for their next use.
	keptFiles = 8
	// retryEvery is how often a full disk is tried again.
	retryEvery = time.Second
)

// Prepare makes the files that the log will need soon. It is called before anything is
// appended, and when a file was used; now is used to try again later what failed.
func (l *Log) Prepare(now time.Duration) {
	s := &l.store
	s.now = now
	if !l.Durable() || s.tight != nil && now < s.retryAt {
		return
	}
	if s.unmade > 0 {
		for _, g := range s.segments {
			if !g.file.made && !g.file.making {
				s.unmade--
				l.make(g.file, now)
			}
		}
	}
	for len(s.ready)+s.making < readyFiles {
		l.make(l.newFile(l.cfg.SegmentBytes), now)
	}
}

func (l *Log) newFile(bytes int64) *file {
	l.store.files++
	return &file{name: SegmentName(l.store.files), bytes: bytes}
}

func (l *Log) make(f *file, now time.Duration) {
	f.making = true
	l.store.making++
	l.store.retryAt = now + retryEvery
	op := l.spareOp()
	*op = Op{Kind: OpCreate, File: f.name, Size: f.bytes, log: l, file: f}
	l.cfg.Disk.Start(op)
}

func (l *Log) created(op *Op) {
	s, f := &l.store, op.file
	s.making--
	f.making = false
	if op.Err != nil {
		s.tight = op.Err
		if f.used {
			s.unmade++
		}
		return
	}
	s.tight = nil
	f.made = true
	l.stats.DiskBytes += f.bytes
	if f.used {
		l.drain()
		return
	}
	s.ready = append(s.ready, f)
}

// Tight is why no new segment could be made: nothing durable should be promised until it is
// nil again. What is ordered already still has room.
func (l *Log) Tight() error { return l.store.tight }

// NextPrepare is when Prepare is wanted; 0 is never.
func (l *Log) NextPrepare() time.Duration {
	s := &l.store
	if l.Durable() && (len(s.ready)+s.making < readyFiles || s.tight != nil) {
		return max(s.retryAt, 1)
	}
	return 0
}

// place gives e its place on the disk.
func (l *Log) place(e *Extent) {
	s := &l.store
	if s.current == nil || s.next+int64(e.size) > s.current.file.bytes {
		l.openSegment(int64(e.size))
	}
	e.segment, e.at = s.current, s.next
	s.current.alive++
	s.next += int64(e.size)
}

// openSegment begins a segment with room for an extent of so many bytes. The one before it
// gets no more runs: recovery goes by that.
func (l *Log) openSegment(bytes int64) {
	s := &l.store
	old := s.current
	l.leave()
	f := l.fileFor(BlockBytes + bytes)
	f.used = true
	s.number++
	g := &segment{number: s.number, file: f, first: l.runs.next, last: l.runs.next}
	s.segments = append(s.segments, g)
	s.current, s.next = g, BlockBytes
	after := l.runs.next - 1
	if s.jump {
		after, s.jump = s.after, false
	}
	head, err := l.mem.Alloc(BlockBytes)
	if err != nil {
		panic("journal: no memory for a block: " + err.Error())
	}
	h := SegmentHeader{Cluster: s.cluster, Store: l.cfg.Store, Number: g.number, Bytes: uint64(f.bytes), Run: g.first, After: after}
	h.Append(head[:0])
	op := l.spareOp()
	*op = Op{Kind: OpWrite, File: f.name, Data: head, log: l, segment: g, head: head}
	l.runs.pending = append(l.runs.pending, op)
	l.drain()
	if old != nil {
		l.reuse()
	}
}

// fileFor takes a file that is ready; if there is none, writes to it wait until it is made.
func (l *Log) fileFor(bytes int64) *file {
	s := &l.store
	if bytes <= l.cfg.SegmentBytes {
		if len(s.ready) > 0 {
			f := s.ready[0]
			s.ready = append(s.ready[:0], s.ready[1:]...)
			return f
		}
		bytes = l.cfg.SegmentBytes
	}
	f := l.newFile(bytes)
	if s.tight == nil {
		l.make(f, s.retryAt)
	} else {
		s.unmade++
	}
	return f
}

// vacate gives e's place on the disk up.
func (l *Log) vacate(e *Extent) {
	g := e.segment
	if g.spill != nil {
		l.unspill(e)
		return
	}
	e.segment = nil
	if g.alive--; g.alive > 0 {
		return
	}
	if g.dead = l.runs.next; l.runs.open == nil {
		g.dead--
	}
	l.reuse()
}

// reuse makes files ready again in whose segments nothing is needed.
func (l *Log) reuse() {
	s := &l.store
	if s.based {
		return // until then the older state is what there is
	}
	kept := s.segments[:0]
	s.dead, s.dying = 0, false
	for _, g := range s.segments {
		if g == s.current || g.alive > 0 || g.last > s.check.run || g.dead > l.runs.flushed || !g.file.made {
			kept = append(kept, g)
			if g != s.current && g.alive == 0 {
				s.dead++
				s.dying = s.dying || g.last <= s.check.run
			}
			continue
		}
		g.file.used = false
		if g.file.bytes == l.cfg.SegmentBytes && len(s.ready) < keptFiles {
			s.ready = append(s.ready, g.file)
			continue
		}
		l.stats.DiskBytes -= g.file.bytes
		l.removeFile(g.file.name)
	}
	clear(s.segments[len(kept):])
	s.segments = kept
}

// The file that says which segment is the newest of those that have been flushed: that it is gone
// could not be told from the others.
const (
	NewestName     = "newest"
	notedTemporary = "newest-unfinished"
)

// note has the newest segment noted, once something of it has been flushed.
func (l *Log) note() {
	s := &l.store
	if s.current == nil || s.noted >= s.current.number || l.runs.flushed < s.current.first {
		return
	}
	s.noted = s.current.number
	for _, proto := range []Op{
		{Kind: OpAppend, File: notedTemporary, Data: fmt.Appendf(nil, "%d\n", s.noted)},
		{Kind: OpCommit, File: notedTemporary, To: NewestName},
	} {
		op := l.spareOp()
		*op = proto
		op.log, op.note = l, true
		l.cfg.Disk.Start(op)
	}
}

// SetCluster names the cluster in what is written from now on.
func (l *Log) SetCluster(id UUID) { l.store.cluster = id }

// Rebase tells that the state is about to be another member's at index i: what is appended
// from now on counts only with a checkpoint of it.
func (l *Log) Rebase(i Index) {
	if !l.Durable() {
		return
	}
	s := &l.store
	l.seal()
	l.leave()
	s.after, s.jump, s.based = Based, true, true
	l.runs.marks, l.runs.mark, l.runs.index = l.runs.marks[:0], 0, i
	s.check.abandon()
}

// leave has the next extent go to a new segment.
func (l *Log) leave() {
	e := l.current[Durable]
	l.current[Durable] = nil
	l.store.current = nil
	if e != nil {
		l.recycle(e)
	}
}
