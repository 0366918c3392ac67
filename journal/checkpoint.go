package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// A checkpoint is the state that the runs up to one of them lead to: which extents are in
// use, and where, and what the owner of the log makes of them. Recovery reads the newest and
// goes on with the runs behind it.
//
//	0 magic 8  8 version u32  12 zero u32  16 cluster 16  32 store 16  48 run u64  56 index u64
//	64 time i64  72 crc u32 of what is before; then chunks:
//	0 length u32  4 crc u32 of the bytes  8 bytes
//
// A chunk without bytes, whose crc is that of all other chunks' crcs, ends it. The first chunks
// list extents, 28 bytes each, up to one of length 4 that holds their number:
//
//	0 id u32  4 size u32  8 used u32  12 segment u64  20 at u64
//
// The others are the owner's.
const (
	checkpointHeadBytes = 76
	checkpointTemporary = "checkpoint-unfinished"
	extentEntryBytes    = 28
	// checkpointChunk is how long a chunk of the extents' list gets.
	checkpointChunk = 1 << 20
	// checkpointAfter is how much is written, at least, from one checkpoint to the next: it
	// takes a second or two to read. A checkpoint that is itself long comes more seldom.
	checkpointAfter = 256 << 20
)

// checkpoint is what the log knows of its checkpoints.
type checkpoint struct {
	run    uint64 // of the newest that is complete
	name   string
	older  []string // that are still there
	bytes  int64
	serial uint64 // of the newest, complete or not
	since  int64  // Stats.WrittenBytes at its beginning

	open       bool // being written
	ended      bool // all of it was handed to the disk
	committing bool
	nextRun    uint64
	index      Index
	offset     int64
	under      int // appends under way
	all        uint32
	err        error
}

func (c *checkpoint) abandon() {
	c.open, c.ended, c.committing, c.under = false, false, false, 0
	c.serial++ // what comes back of it is not taken for the next one's
}

// CheckpointDue tells whether so much was written since the last checkpoint that there should
// be another.
func (l *Log) CheckpointDue() bool {
	c := &l.store.check
	if !l.Durable() || c.open || l.runs.failed != nil || l.store.tight != nil {
		return false
	}
	return l.store.based || l.stats.WrittenBytes-c.since > max(l.cfg.CheckpointBytes, 4*c.bytes) || l.store.dead > maxRetained
}

// maxRetained is how many segments may be kept for nothing but the runs behind the checkpoint: a
// broker that starts often begins one each time.
const maxRetained = 8

// BeginCheckpoint begins one, of the state as it is now. The owner hands its part to
// CheckpointChunk and calls EndCheckpoint.
func (l *Log) BeginCheckpoint() {
	c := &l.store.check
	l.seal()
	if c.open {
		c.abandon()
	}
	c.serial++
	c.open, c.ended, c.err, c.offset, c.all = true, false, nil, 0, 0
	c.nextRun, c.index, c.since = l.runs.next-1, l.runs.index, l.stats.WrittenBytes
	b := append([]byte(nil), checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = append(b, l.store.cluster[:]...)
	b = append(b, l.cfg.Store[:]...)
	b = binary.LittleEndian.AppendUint64(b, c.nextRun)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.runs.index))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.runs.time))
	b = binary.LittleEndian.AppendUint32(b, sum(b))
	l.append(b)
	var list []byte
	count := uint32(0)
	for _, e := range l.extents {
		if e == nil || !e.inUse || e.class != Durable || e.segment == nil || e.live == 0 {
			continue
		}
		count++
		list = binary.LittleEndian.AppendUint32(list, e.id)
		list = binary.LittleEndian.AppendUint32(list, uint32(e.size))
		list = binary.LittleEndian.AppendUint32(list, uint32(e.used))
		list = binary.LittleEndian.AppendUint64(list, e.segment.number)
		list = binary.LittleEndian.AppendUint64(list, uint64(e.at))
		if len(list)+extentEntryBytes > checkpointChunk {
			l.CheckpointChunk(list)
			list = nil
		}
	}
	if len(list) > 0 {
		l.CheckpointChunk(list)
	}
	l.CheckpointChunk(binary.LittleEndian.AppendUint32(nil, count))
}

// CheckpointBusy tells whether what there is of the checkpoint is still being written.
func (l *Log) CheckpointBusy() bool { return l.store.check.under > checkpointsAhead }

// checkpointsAhead is how many chunks of a checkpoint may be under way.
const checkpointsAhead = 2

// CheckpointChunk adds bytes of the owner's to the checkpoint. They are the log's from now on.
func (l *Log) CheckpointChunk(b []byte) {
	c := &l.store.check
	crc := sum(b)
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(b)))
	binary.LittleEndian.PutUint32(head[4:], crc)
	c.all = crc32.Update(c.all, castagnoli, head[4:])
	l.append(append(head[:], b...))
}

func (l *Log) append(b []byte) {
	c := &l.store.check
	op := l.spareOp()
	*op = Op{Kind: OpAppend, File: checkpointTemporary, Offset: c.offset, Data: b, log: l, serial: c.serial}
	c.offset += int64(len(b))
	c.under++
	l.cfg.Disk.Start(op)
}

// AbandonCheckpoint gives up the one that was begun: it is void.
func (l *Log) AbandonCheckpoint() {
	if c := &l.store.check; c.open {
		c.abandon()
	}
}

// EndCheckpoint ends it. It counts once it is on the disk, and all runs that it rests on.
func (l *Log) EndCheckpoint() {
	c := &l.store.check
	var end [8]byte
	binary.LittleEndian.PutUint32(end[4:], c.all)
	l.append(end[:])
	c.ended = true
}

// commitCheckpoint makes the checkpoint count, if everything that it rests on is on the disk.
func (l *Log) commitCheckpoint() {
	c := &l.store.check
	if !c.open || !c.ended || c.under > 0 || c.committing {
		return
	}
	if c.err != nil {
		// It is tried again when as much again has been written; what is there still counts.
		l.store.tight = c.err
		c.abandon()
		return
	}
	if l.runs.flushed < c.nextRun {
		l.Sync(l.runs.time, true)
		return
	}
	c.committing = true
	op := l.spareOp()
	*op = Op{Kind: OpCommit, File: checkpointTemporary, To: checkpointName(c.serial), log: l, serial: c.serial}
	l.cfg.Disk.Start(op)
}

func checkpointName(serial uint64) string { return fmt.Sprintf("%s%016x", CheckpointPrefix, serial) }

// checkpointSerial is the number in a checkpoint's name.
func checkpointSerial(name string) (uint64, bool) {
	hex, ok := strings.CutPrefix(name, CheckpointPrefix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

func (l *Log) checkpointed(op *Op) {
	c := &l.store.check
	if op.note && op.Err != nil {
		l.store.noted-- // again with the next flush
	}
	if op.note || op.serial != c.serial {
		return
	}
	if op.Kind == OpAppend {
		c.under--
		if op.Err != nil && c.err == nil {
			c.err = op.Err
		}
		l.commitCheckpoint()
		return
	}
	if op.Err != nil {
		l.store.tight = op.Err
		c.abandon()
		return
	}
	old := append(c.older, c.name)
	c.older = nil
	c.name, c.run, c.bytes = op.To, c.nextRun, c.offset
	c.open, c.ended, c.committing = false, false, false
	l.store.based = false
	l.runs.mark = max(l.runs.mark, c.index)
	for _, name := range old {
		if name != "" {
			l.removeFile(name)
		}
	}
	l.reuse()
}

// checkpointFile is a checkpoint as recovery reads it.
type checkpointFile struct {
	name    string
	cluster UUID
	store   UUID
	run     uint64
	index   Index
	time    int64
	extents []byte
	state   []byte
	size    int64
}

// readCheckpoint reads and checks a checkpoint.
func readCheckpoint(files Files, f FileInfo) (*checkpointFile, error) {
	b := make([]byte, f.Size)
	if _, err := files.ReadAt(f.Name, b, 0); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	bad := func(at int, cause string) error { return &CorruptError{f.Name, int64(at), cause} }
	if len(b) < checkpointHeadBytes || string(b[:8]) != checkpointMagic {
		return nil, bad(0, "this is no checkpoint")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != FormatVersion {
		return nil, &VersionError{f.Name, v, FormatVersion}
	}
	if binary.LittleEndian.Uint32(b[72:]) != sum(b[:72]) {
		return nil, bad(0, "the header's checksum does not match")
	}
	c := &checkpointFile{name: f.Name, size: f.Size, run: binary.LittleEndian.Uint64(b[48:]),
		index: Index(binary.LittleEndian.Uint64(b[56:])), time: int64(binary.LittleEndian.Uint64(b[64:]))}
	copy(c.cluster[:], b[16:])
	copy(c.store[:], b[32:])
	all, at, listed := uint32(0), checkpointHeadBytes, false
	// The owner's chunks are moved together in place: the file may be as long as memory allows.
	state := b[at:at]
	for {
		if at+8 > len(b) {
			return nil, bad(at, "the checkpoint is cut short")
		}
		n, crc := int(binary.LittleEndian.Uint32(b[at:])), binary.LittleEndian.Uint32(b[at+4:])
		if n == 0 {
			if crc != all {
				return nil, bad(at, "the checksum of all chunks does not match")
			}
			c.state = state
			return c, nil
		}
		if at+8+n > len(b) {
			return nil, bad(at, "the checkpoint is cut short")
		}
		all = crc32.Update(all, castagnoli, b[at+4:at+8])
		chunk := b[at+8 : at+8+n]
		if sum(chunk) != crc {
			return nil, bad(at, "a chunk's checksum does not match")
		}
		switch {
		case listed:
			state = append(state, chunk...)
		case n == 4:
			listed = true
			if count := binary.LittleEndian.Uint32(chunk); int(count)*extentEntryBytes != len(c.extents) {
				return nil, bad(at, fmt.Sprintf("%d extents are announced, %d bytes list them", count, len(c.extents)))
			}
		default:
			c.extents = append(c.extents, slices.Clone(chunk)...)
		}
		at += 8 + n
	}
}
