package journal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Owner is whoever makes a state of the log's records, while that is recovered.
type Owner interface {
	// Restore takes over what the owner put into the newest checkpoint; nil is nothing.
	Restore(state []byte, milliseconds int64) error
	// Replay takes the next entry, which was written at about that time of day.
	Replay(r Record, ref Ref, milliseconds int64) error
	// Moved tells that the record of an entry from before is at ref from now on.
	Moved(r Record, ref Ref)
	// Settle has references dropped that the owner has no use for any more.
	Settle()
}

// Recovered is what recovery found.
type Recovered struct {
	Cluster UUID
	Runs    int   // behind the checkpoint
	Bytes   int64 // of them
	Cut     int   // runs that had not been flushed, and not all of which is there
	CutAt   error // what was wrong with the first of them; nil if there is none
}

// run is a run found in a segment.
type run struct {
	RunHeader
	segment *found
	offset  int64
}

// found is a segment file found.
type found struct {
	SegmentHeader
	file *file
	last uint64 // run
}

// recovery is one in progress.
type recovery struct {
	l       *Log
	owner   Owner
	check   *checkpointFile
	found   []*found // by number
	byNum   map[uint64]*found
	runs    []run      // by number
	bare    []FileInfo // files without a header, or with one that is damaged
	noted   uint64     // the newest segment, as was noted when it had been flushed
	flushed uint64
	highest uint64
	result  Recovered
	buffer  []byte
}

// Recover reads what an earlier life has left: the newest checkpoint, and the runs behind it,
// up to the first that is not wholly there and had not been flushed. Nothing on the disk is
// changed. It is the first thing that a log does.
func (l *Log) Recover(o Owner) (Recovered, error) {
	r := &recovery{l: l, owner: o, byNum: map[uint64]*found{}}
	l.runs.mute = true
	defer func() { l.runs.mute = false }()
	if err := r.read(); err != nil {
		return r.result, err
	}
	r.order()
	if err := r.begin(); err != nil {
		return r.result, err
	}
	if err := r.replay(); err != nil {
		return r.result, err
	}
	return r.result, r.finish()
}

// read finds the checkpoint and the segments.
func (r *recovery) read() error {
	list, err := r.l.cfg.Files.List()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	s := &r.l.store
	var newest FileInfo
	for _, f := range list {
		if n, ok := checkpointSerial(f.Name); ok && n >= s.check.serial {
			if newest.Name != "" {
				s.check.older = append(s.check.older, newest.Name)
			}
			s.check.serial, newest = n, f
		}
		s.spills.left(f.Name)
		if f.Name == NewestName {
			if err := r.readNoted(f); err != nil {
				return err
			}
		}
		if n, ok := SegmentFile(f.Name); ok {
			s.files = max(s.files, n)
			if err := r.segment(f); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(r.found, func(a, b *found) int { return cmp.Compare(a.Number, b.Number) })
	if newest.Name != "" {
		if r.check, err = readCheckpoint(r.l.cfg.Files, newest); err != nil {
			return err
		}
		s.check.name, s.check.run, s.check.bytes = newest.Name, r.check.run, newest.Size
		r.result.Cluster = r.check.cluster
		r.highest = r.check.run
	}
	if err := r.missing(); err != nil {
		return err
	}
	for i, f := range r.found {
		if f.Store != r.l.cfg.Store {
			return fmt.Errorf("%s is of store %s, this one is %s: it was copied from another broker's directory; put it back there", f.file.name, f.Store, r.l.cfg.Store)
		}
		if f.Cluster != (UUID{}) {
			r.result.Cluster = f.Cluster
		}
		f.last = f.Run
		if i+1 < len(r.found) {
			f.last = max(f.Run, r.found[i+1].Run-1)
		}
		if f.last <= s.check.run && i+1 < len(r.found) {
			continue // the checkpoint knows all of it
		}
		if err := r.scan(f); err != nil {
			return err
		}
	}
	return nil
}

// missing looks for segments that were in use and are not there, or have lost their header.
func (r *recovery) missing() error {
	for _, f := range r.bare {
		was, err := r.firstRun(f)
		if err != nil {
			return err
		}
		// What a header was never flushed for is void since the next life. One that was flushed, was
		// noted.
		if was.Segment != 0 && was.Segment <= r.noted && r.byNum[was.Segment] == nil && !r.over(was) {
			return &CorruptError{f.Name, 0, fmt.Sprintf("the header of segment %d is damaged", was.Segment)}
		}
		r.highest = max(r.highest, was.Run)
		if f.Size == r.l.cfg.SegmentBytes {
			r.l.store.ready = append(r.l.store.ready, &file{name: f.Name, bytes: f.Size, made: true})
			r.l.stats.DiskBytes += f.Size
		}
	}
	if r.noted > r.l.store.number {
		return &CorruptError{NewestName, 0, fmt.Sprintf("segment %d was the newest, and is missing from the directory", r.noted)}
	}
	r.l.store.noted = r.noted
	return nil
}

// firstRun is the first run in a file; all zeros if there is none.
func (r *recovery) firstRun(f FileInfo) (h RunHeader, err error) {
	b := make([]byte, BlockBytes)
	if f.Size < 2*BlockBytes {
		return h, nil
	}
	if _, err := r.l.cfg.Files.ReadAt(f.Name, b, BlockBytes); err != nil {
		return h, fmt.Errorf("journal: %w", err)
	}
	if x, ok := ParseRunHeader(b); ok {
		h = x
	}
	return h, nil
}

// over tells whether a run does not count any more: the checkpoint has it, or a later life has
// begun without it.
func (r *recovery) over(x RunHeader) bool {
	return x.Run <= r.l.store.check.run || slices.ContainsFunc(r.found, func(f *found) bool {
		return f.Number > x.Segment && (f.After == Based || f.After < x.Run && x.Run < f.Run)
	})
}

// readNoted reads which segment was the newest.
func (r *recovery) readNoted(f FileInfo) error {
	b := make([]byte, min(f.Size, BlockBytes))
	if _, err := r.l.cfg.Files.ReadAt(f.Name, b, 0); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := fmt.Sscanf(string(b), "%d\n", &r.noted); err != nil {
		return &CorruptError{f.Name, 0, fmt.Sprintf("%q is no segment's number", b)}
	}
	return nil
}

// segment reads one file's header.
func (r *recovery) segment(f FileInfo) error {
	b := make([]byte, BlockBytes)
	n, err := r.l.cfg.Files.ReadAt(f.Name, b, 0)
	if err != nil && n < segmentHeadBytes && f.Size >= BlockBytes {
		return fmt.Errorf("journal: %w", err)
	}
	h, ok, err := ParseSegmentHeader(f.Name, b[:n])
	if err != nil {
		return err
	}
	file := &file{name: f.Name, bytes: f.Size, made: true}
	s := &r.l.store
	if !ok {
		r.bare = append(r.bare, f)
		return nil
	}
	if uint64(f.Size) < h.Bytes {
		// It was wholly written before it got its name. What was at its end, nobody can tell from what is left.
		return &CorruptError{f.Name, f.Size, fmt.Sprintf("the file is cut short: %d bytes were made", h.Bytes)}
	}
	r.l.stats.DiskBytes += f.Size
	file.used = true
	x := &found{SegmentHeader: h, file: file}
	r.found = append(r.found, x)
	if other := r.byNum[h.Number]; other != nil {
		return &CorruptError{f.Name, 48, fmt.Sprintf("segment %d is also in %s", h.Number, other.file.name)}
	}
	r.byNum[h.Number] = x
	s.number = max(s.number, h.Number)
	return nil
}

// scanBytes is how much is read at a time to find runs: those of a lone publisher are a block each,
// those of a busy broker longer than this.
const scanBytes = 128 << 10

// scan finds the runs of a segment. Where none begins, it looks on block by block.
func (r *recovery) scan(f *found) error {
	from, window := int64(0), []byte(nil) // what was read of the file
	for at := int64(BlockBytes); at+BlockBytes <= f.file.bytes; {
		if at < from || at+BlockBytes > from+int64(len(window)) {
			from, window = at, r.scratch(int(min(scanBytes, f.file.bytes-at)))
			if _, err := r.l.cfg.Files.ReadAt(f.file.name, window, at); err != nil {
				return fmt.Errorf("journal: %w", err)
			}
		}
		h, ok := ParseRunHeader(window[at-from:])
		if !ok || h.Segment != f.Number {
			at += BlockBytes
			continue
		}
		r.runs = append(r.runs, run{RunHeader: h, segment: f, offset: at})
		r.flushed = max(r.flushed, h.Flushed)
		r.highest = max(r.highest, h.Run)
		f.last = max(f.last, h.Run)
		at += int64(blocks(int(h.Bytes)))
	}
	return nil
}

// order sorts the runs, and leaves out those that do not count.
func (r *recovery) order() {
	from, known := uint64(0), r.check != nil
	if known {
		from = r.check.run
	}
	for i, f := range r.found {
		if f.After == Based && f.Run > from+1 {
			// Its checkpoint was never finished: neither it nor what follows counts.
			r.runs = slices.DeleteFunc(r.runs, func(x run) bool { return x.segment.Number >= f.Number })
			r.found = r.found[:i:i]
			break
		}
		if f.After != Based && f.After+1 < f.Run {
			r.runs = slices.DeleteFunc(r.runs, func(x run) bool {
				return x.segment.Number < f.Number && x.Run > f.After
			})
		}
	}
	r.flushed = 0
	for i := range r.runs {
		r.flushed = max(r.flushed, r.runs[i].Flushed)
	}
	r.runs = slices.DeleteFunc(r.runs, func(x run) bool { return x.Run <= from })
	slices.SortFunc(r.runs, func(a, b run) int { return cmp.Compare(a.Run, b.Run) })
}

// begin takes over the checkpoint.
func (r *recovery) begin() error {
	l := r.l
	for _, f := range r.found {
		l.store.segments = append(l.store.segments, &segment{number: f.Number, file: f.file, first: f.Run, last: f.last})
	}
	if r.check == nil {
		return r.owner.Restore(nil, 0)
	}
	for b := r.check.extents; len(b) > 0; b = b[extentEntryBytes:] {
		id, size, used := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		number, at := binary.LittleEndian.Uint64(b[12:]), int64(binary.LittleEndian.Uint64(b[20:]))
		if id > maxExtents || used > size {
			return &CorruptError{r.check.name, checkpointHeadBytes, fmt.Sprintf("extent %d of %d bytes, %d of them used", id, size, used)}
		}
		l.adopt(id, int(size), int(used), number, at)
	}
	l.runs.index = r.check.index
	if err := r.owner.Restore(r.check.state, r.check.time); err != nil {
		return &CorruptError{r.check.name, checkpointHeadBytes, err.Error()}
	}
	return nil
}

// unseenSegments is how many segments a life may have begun of which nothing but runs is left,
// anywhere in a file: their numbers must not come again, or those runs would count.
const unseenSegments = 1000

// maxExtents bounds the numbers of extents: 16 TiB of them.
const maxExtents = 16 << 20

// adopt makes an extent known that is on the disk.
func (l *Log) adopt(id uint32, size, used int, number uint64, at int64) *Extent {
	for uint32(len(l.extents)) <= id {
		l.extents = append(l.extents, nil)
	}
	e := &Extent{id: id, size: size, used: used, inUse: true, shared: size == ExtentBytes, class: Durable, at: at}
	l.extents[id] = e
	l.stats.Extents++
	l.stats.UsedBytes += int64(size)
	if i, ok := slices.BinarySearchFunc(l.store.segments, number, func(g *segment, n uint64) int { return cmp.Compare(g.number, n) }); ok {
		e.segment = l.store.segments[i]
	} else {
		// Used again since: the runs behind the checkpoint drop what was in it.
		e.segment = &segment{number: number, file: &file{}}
	}
	e.segment.alive++
	return e
}

// replay goes through the runs behind the checkpoint.
func (r *recovery) replay() error {
	last := uint64(0)
	if r.check != nil {
		last = r.check.run
	}
	for i := 0; i < len(r.runs); i++ {
		x := &r.runs[i]
		follows := x.Run == last+1 || x.Run == x.segment.Run && x.segment.After == last
		if !follows {
			return r.gap(last, i, &CorruptError{x.segment.file.name, x.offset, fmt.Sprintf("run %d follows run %d: what was between them was on the disk and cannot be read", x.Run, last)})
		}
		records, err := r.records(x)
		if err != nil {
			return r.gap(last, i, err)
		}
		if err := r.apply(x, records); err != nil {
			return err
		}
		last = x.Run
		r.result.Runs++
		r.result.Bytes += int64(blocks(int(x.Bytes)))
	}
	return r.gap(last, len(r.runs), &CorruptError{"", 0, fmt.Sprintf("run %d was on the disk and cannot be found: a segment is missing", last+1)})
}

// gap ends the replay behind run last: the rest was not flushed, or it is damage.
func (r *recovery) gap(last uint64, i int, cause error) error {
	if last < r.flushed {
		return cause
	}
	if r.result.Cut = len(r.runs) - i; r.result.Cut > 0 {
		r.result.CutAt = cause
	}
	s := &r.l.store
	runs := &r.l.runs
	runs.next, runs.first, runs.after, runs.flushed = r.highest+1, r.highest+1, last, r.highest
	s.after, s.jump = last, last != r.highest
	return nil
}

// scratch is memory for n bytes, until it is asked for again.
func (r *recovery) scratch(n int) []byte {
	if cap(r.buffer) < n {
		r.buffer = make([]byte, max(n, ExtentBytes))
	}
	return r.buffer[:n]
}

// records reads a run and checks all of it.
func (r *recovery) records(x *run) ([]Record, error) {
	b := r.scratch(int(x.Bytes))
	if _, err := r.l.cfg.Files.ReadAt(x.segment.file.name, b, x.offset); err != nil {
		return nil, &CorruptError{x.segment.file.name, x.offset, err.Error()}
	}
	var list []Record
	at, cause := x.Records(b, func(rec Record) bool {
		list = append(list, rec)
		return true
	})
	if cause != "" {
		return nil, &CorruptError{x.segment.file.name, x.offset + int64(at), cause}
	}
	return list, nil
}

func (r *recovery) apply(x *run, records []Record) error {
	l := r.l
	at := x.offset - int64(x.Start)
	var e *Extent
	if uint64(x.Extent) < uint64(len(l.extents)) {
		e = l.extents[x.Extent]
	}
	if e != nil && (!e.inUse || e.segment == nil || e.segment.number != x.segment.Number || e.at != at) {
		// The number is used again: all that had it before is dead.
		r.owner.Settle()
		if e = l.extents[x.Extent]; e != nil && e.live > 0 {
			return &CorruptError{x.segment.file.name, x.offset, fmt.Sprintf("extent %d begins anew while messages are in an older one", x.Extent)}
		}
		if e != nil {
			l.forget(e)
		}
		e = nil
	}
	if e == nil {
		if x.Extent > maxExtents {
			return &CorruptError{x.segment.file.name, x.offset, fmt.Sprintf("extent number %d", x.Extent)}
		}
		e = l.adopt(x.Extent, int(x.Size), 0, x.segment.Number, at)
	}
	e.used = max(e.used, int(x.Start)+blocks(int(x.Bytes)))
	e.open++ // not recycled while its records are looked at
	for _, rec := range records {
		ref := Ref{Extent: x.Extent, Offset: x.Start + rec.Offset, Length: uint32(len(rec.Entry))}
		if x.Kind == RunCarried {
			r.owner.Moved(rec, ref)
			continue
		}
		if err := r.owner.Replay(rec, ref, x.Time); err != nil {
			return fmt.Errorf("%s: offset %d: %w", x.segment.file.name, x.offset+int64(rec.Offset), err)
		}
	}
	e.open--
	l.runs.index = x.Index
	r.owner.Settle()
	return nil
}

// forget drops a dead extent without any of what reuse would do.
func (l *Log) forget(e *Extent) {
	if e.inUse {
		e.inUse = false
		l.stats.Extents--
		l.stats.UsedBytes -= int64(e.size)
	}
	if e.segment != nil {
		e.segment.alive--
	}
	l.extents[e.id] = nil
}

// finish checks that all that is alive is there, and makes the log ready to be appended to.
func (r *recovery) finish() error {
	l := r.l
	l.runs.mark = l.runs.index
	l.free = l.free[:0]
	for id, e := range l.extents {
		if e == nil {
			l.free = append(l.free, uint32(id))
			continue
		}
		if e.live == 0 {
			l.forget(e)
			l.free = append(l.free, uint32(id))
			continue
		}
		if e.segment.file.name == "" {
			return &CorruptError{SegmentSuffix[1:], 0, fmt.Sprintf("segment %d, with messages in it, is missing from the directory", e.segment.number)}
		}
		if int64(e.size)+e.at > e.segment.file.bytes {
			return &CorruptError{e.segment.file.name, e.segment.file.bytes, "the file is cut short: messages were behind its end"}
		}
	}
	slices.Reverse(l.free)
	if len(r.found)+len(r.bare) > 0 {
		l.store.number += unseenSegments
	}
	l.reuse()
	l.store.cluster = r.result.Cluster
	l.store.check.since = l.stats.WrittenBytes - r.result.Bytes
	return nil
}
