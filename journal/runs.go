package journal

import (
	"errors"
	"fmt"
)

// Durable records are gathered in a run, which is sealed and written as soon as nothing else
// is being flushed: a lone publisher does not wait for company, and while a flush is under
// way what comes gathers for the next.

// runs is what the log knows of its runs.
type runs struct {
	next    uint64 // number of the run that is open, or will be
	flushed uint64
	first   uint64 // of this life of the broker
	after   uint64 // the last one before it that counts
	flushTo uint64 // what the flush under way is for; 0: none is
	proof   uint64 // the last run that is there only for what it says of those before it
	open    *Extent
	start   int
	count   uint32
	kind    RunKind
	index   Index // of the last entry
	marks   []runMark
	mark    Index // of the last entry that is on the disk
	pending []*Op // waiting for their segment's file
	spare   []*Op
	failed  error
	time    int64
	writing int64 // bytes on their way to the disk
	mute    bool  // recovering: nothing is appended
}

// runMark tells up to which entry a run brings the disk.
type runMark struct {
	run   uint64
	index Index
}

// runBytes is how long a run grows while others are being flushed.
const runBytes = 256 << 10

// beginRun makes room for a durable record.
func (l *Log) beginRun(n, size int, kind RunKind) (Space, error) {
	r := &l.runs
	if r.mute {
		panic("journal: an entry is appended while the log is recovered")
	}
	if r.open != nil && r.kind != kind {
		l.seal()
	}
	if size > largeBytes {
		e, err := l.take(RunHeadBytes + size)
		if err != nil {
			return Space{}, err
		}
		l.toDisk(e)
		e.used, e.open = RunHeadBytes+size, 1
		return Space{extent: e, offset: RunHeadBytes, length: uint32(n), kind: kind}, nil
	}
	e, head := l.current[Durable], RunHeadBytes
	if r.open != nil {
		head = 0
	}
	if e == nil || e.used+head+size > len(e.bytes) {
		l.seal()
		next, err := l.take(ExtentBytes)
		if err != nil {
			return Space{}, err
		}
		l.toDisk(next)
		l.place(next)
		l.current[Durable] = next
		if e != nil {
			l.recycle(e)
		}
		e = next
	}
	if r.open == nil {
		r.open, r.start, r.count, r.kind = e, e.used, 0, kind
		e.used += RunHeadBytes
	}
	s := Space{extent: e, offset: uint32(e.used), length: uint32(n), kind: kind}
	e.used += size
	e.open++
	return s, nil
}

// toDisk makes an extent that was just taken a durable one.
func (l *Log) toDisk(e *Extent) {
	e.class = Durable
	l.stats.TransientBytes -= int64(e.size)
}

// committed takes a durable record into its run; a large one is a run of its own.
func (l *Log) committed(s *Space, i Index) {
	r := &l.runs
	if s.extent != l.current[Durable] {
		l.seal()
		l.place(s.extent)
		r.open, r.start, r.count, r.kind = s.extent, 0, 0, s.kind
	}
	if r.count++; s.kind == RunEntries {
		r.index = i
	}
	if s.extent != l.current[Durable] || s.extent.used-r.start >= runBytes {
		l.seal()
	}
}

// seal ends the open run and starts to write it.
func (l *Log) seal() {
	r := &l.runs
	e := r.open
	if e == nil {
		return
	}
	from, used := r.start, e.used
	to := blocks(used)
	clear(e.bytes[used:to])
	e.used = to
	h := RunHeader{Segment: e.segment.number, Run: r.next, Flushed: r.proven(), Bytes: uint32(used - from), Extent: e.id,
		Start: uint32(from), Size: uint32(e.size), Count: r.count, Kind: r.kind, Index: r.index, Time: r.time}
	h.put(e.bytes[from:])
	e.segment.last = r.next
	r.marks = append(r.marks, runMark{r.next, r.index})
	e.writing++
	r.writing += int64(to - from)
	l.start(&Op{Kind: OpWrite, File: e.segment.file.name, Offset: e.at + int64(from), Data: e.bytes[from:to]}, e, r.next)
	r.next++
	r.open = nil
	l.stats.WrittenBytes += int64(to - from)
}

// proven is the last run that is known to be on the disk, and to count.
func (r *runs) proven() uint64 {
	if r.flushed < r.first {
		return r.after
	}
	return r.flushed
}

// start hands an operation to the disk: in its turn, and not before its file is there.
func (l *Log) start(proto *Op, e *Extent, run uint64) {
	r := &l.runs
	op := l.spareOp()
	*op = *proto
	op.log, op.extent, op.run = l, e, run
	if e != nil && e.segment != nil {
		op.segment = e.segment
	}
	r.pending = append(r.pending, op)
	l.drain()
}

func (l *Log) spareOp() *Op {
	r := &l.runs
	if k := len(r.spare); k > 0 {
		op := r.spare[k-1]
		r.spare = r.spare[:k-1]
		return op
	}
	return new(Op)
}

// drain starts what waits, up to the first operation whose file is not there.
func (l *Log) drain() {
	r := &l.runs
	n := 0
	for n < len(r.pending) && (r.pending[n].segment == nil || r.pending[n].segment.file.made) {
		l.cfg.Disk.Start(r.pending[n])
		n++
	}
	r.pending = append(r.pending[:0], r.pending[n:]...)
}

// Sync has what was appended written and flushed, as far as it is time for that: at once if
// somebody waits for it (urgent), and nothing else is being flushed. now is the time of day
// in milliseconds.
func (l *Log) Sync(now int64, urgent bool) {
	r := &l.runs
	r.time = now
	if !l.Durable() || r.flushTo != 0 || r.failed != nil {
		return
	}
	if urgent {
		l.seal()
	}
	last := r.next - 1
	if !urgent || last == r.flushed {
		return
	}
	r.flushTo = last
	l.start(&Op{Kind: OpFlush}, nil, last)
}

// Unproven tells whether the last run is on the disk and no later one says so: to a recovery it may as well
// have been under way when the power failed.
func (l *Log) Unproven() bool {
	r := &l.runs
	return l.Durable() && r.failed == nil && r.open == nil && r.flushTo == 0 && l.store.tight == nil &&
		r.flushed >= r.first && r.flushed == r.next-1 && r.flushed != r.proof
}

// Prove writes a run without records, which says that those before it are on the disk. From then on
// damage to them is told from the end of the log.
func (l *Log) Prove() error {
	r := &l.runs
	s, err := l.beginRun(0, 0, RunEntries)
	if err != nil {
		return err
	}
	s.extent.open--
	r.proof = r.next
	l.seal()
	return nil
}

// Unsynced tells whether anything was appended that no flush is under way for.
func (l *Log) Unsynced() bool {
	r := &l.runs
	return r.open != nil || r.next-1 > max(r.flushed, r.flushTo)
}

// Flushing tells whether a flush is under way.
func (l *Log) Flushing() bool { return l.runs.flushTo != 0 }

// Synced tells whether everything is on the disk, and no checkpoint under way.
func (l *Log) Synced() bool {
	return !l.Unsynced() && l.runs.flushTo == 0 && !l.store.check.open && len(l.runs.pending) == 0
}

// Writing is how many bytes are on their way to the disk.
func (l *Log) Writing() int64 { return l.runs.writing }

// Mark is the index of the last entry up to which all durable ones are on this disk.
func (l *Log) Mark() Index {
	if l.store.based {
		return 0
	}
	return l.runs.mark
}

// Failed is why nothing can be written any more: a write or a flush failed, and what is on
// the disk is not known. It is final.
func (l *Log) Failed() error { return l.runs.failed }

// Finish takes back an operation that has been done, or has failed.
func (op *Op) Finish() {
	l := op.log
	if errors.Is(op.Err, ErrBroken) {
		l.fail(op)
	}
	switch op.Kind {
	case OpCreate:
		l.created(op)
	case OpWrite:
		l.written(op)
	case OpFlush:
		l.flushed(op)
	case OpRead:
		l.fetched(op)
	case OpAppend, OpCommit:
		if op.extent != nil {
			l.spilled(op)
		} else {
			l.checkpointed(op)
		}
	}
	*op = Op{}
	l.runs.spare = append(l.runs.spare, op)
}

func (l *Log) fail(op *Op) {
	if l.runs.failed == nil {
		l.runs.failed = fmt.Errorf("journal: %w", op.Err)
	}
}

func (l *Log) written(op *Op) {
	if op.Err != nil {
		l.fail(op)
	}
	if op.extent != nil {
		op.extent.writing--
		l.runs.writing -= int64(len(op.Data))
	}
	if op.head != nil {
		l.mem.Free(op.head)
	}
}

func (l *Log) flushed(op *Op) {
	r := &l.runs
	r.flushTo = 0
	if op.Err != nil {
		l.fail(op)
		return
	}
	if r.failed != nil {
		return
	}
	r.flushed = op.run
	n := 0
	for n < len(r.marks) && r.marks[n].run <= r.flushed {
		r.mark = r.marks[n].index
		n++
	}
	r.marks = append(r.marks[:0], r.marks[n:]...)
	l.note()
	l.commitCheckpoint()
	if l.store.dying {
		l.reuse()
	}
}

// unwritten tells whether a write from e's memory has not been started yet.
func (l *Log) unwritten(e *Extent) bool { return e == l.runs.open }
