package journal

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The bytes on disk, which docs/journal-format.md draws. All integers are little endian.

// Sizes and names of the format.
const (
	FormatVersion = 1
	// BlockBytes is what is written at least, and what a run begins and ends at.
	BlockBytes = 4096
	// SegmentBytes is a segment of the common size: a block for its header, and 64 extents.
	SegmentBytes = BlockBytes + 64*ExtentBytes
	// RunHeadBytes is the size of a run's header.
	RunHeadBytes = 72

	SegmentSuffix    = ".segment"
	CheckpointPrefix = "checkpoint."

	segmentMagic    = "QPIDDSEG"
	runMagic        = 0x4e555251 // "QRUN"
	checkpointMagic = "QPIDDCHK"
)

// UUID names a cluster, or a store.
type UUID [16]byte

func (id UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// SegmentName is the name of the file with the given number.
func SegmentName(file uint32) string { return fmt.Sprintf("%08x%s", file, SegmentSuffix) }

// SegmentFile is the number of the file with that name.
func SegmentFile(name string) (file uint32, ok bool) {
	hex, ok := strings.CutSuffix(name, SegmentSuffix)
	if !ok || len(hex) != 8 {
		return 0, false
	}
	_, err := fmt.Sscanf(hex, "%08x", &file)
	return file, err == nil
}

// SegmentHeader opens a segment's file, and says what it is used for now:
//
//	0 magic 8  8 version u32  12 block u32  16 cluster 16  32 store 16  48 number u64
//	56 bytes u64  64 run u64  72 after u64  80 crc u32 of what is before
type SegmentHeader struct {
	Version uint32
	Cluster UUID
	Store   UUID
	Number  uint64 // grows with each use of any file
	Bytes   uint64 // of the file
	Run     uint64 // the first in it
	// After is the run that it follows: the one before it; where a life of the broker begins,
	// the last that was recovered, so that any between the two are void; and Based where the
	// state was received from another member, and only a checkpoint of it leads here.
	After uint64
}

const (
	segmentHeadBytes = 84
	// Based is the After of a segment that nothing but a checkpoint leads to.
	Based = ^uint64(0)
)

// Append appends the header, a block long, to b.
func (h *SegmentHeader) Append(b []byte) []byte {
	from := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = binary.LittleEndian.AppendUint32(b, BlockBytes)
	b = append(b, h.Cluster[:]...)
	b = append(b, h.Store[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Number)
	b = binary.LittleEndian.AppendUint64(b, h.Bytes)
	b = binary.LittleEndian.AppendUint64(b, h.Run)
	b = binary.LittleEndian.AppendUint64(b, h.After)
	b = binary.LittleEndian.AppendUint32(b, sum(b[from:]))
	return append(b, make([]byte, BlockBytes-(len(b)-from))...)
}

// VersionError tells of a journal of another format.
type VersionError struct {
	File       string
	Have, Want uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: journal format version mismatch: the file has version %d, this broker reads and writes version %d; start the broker version that wrote it, or move the directory away to begin with an empty one", e.File, e.Have, e.Want)
}

// CorruptError tells where the journal is damaged.
type CorruptError struct {
	File   string
	Offset int64
	Cause  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: offset %d: %s", e.File, e.Offset, e.Cause)
}

// ParseSegmentHeader reads the header of file. An unused file, or one whose header was never
// wholly written, gives ok false.
func ParseSegmentHeader(file string, b []byte) (h SegmentHeader, ok bool, err error) {
	if len(b) < segmentHeadBytes || string(b[:8]) != segmentMagic {
		return h, false, nil
	}
	h.Version = binary.LittleEndian.Uint32(b[8:])
	if h.Version != FormatVersion {
		return h, false, &VersionError{file, h.Version, FormatVersion}
	}
	if binary.LittleEndian.Uint32(b[80:]) != sum(b[:80]) {
		return h, false, nil
	}
	copy(h.Cluster[:], b[16:])
	copy(h.Store[:], b[32:])
	h.Number = binary.LittleEndian.Uint64(b[48:])
	h.Bytes = binary.LittleEndian.Uint64(b[56:])
	h.Run = binary.LittleEndian.Uint64(b[64:])
	h.After = binary.LittleEndian.Uint64(b[72:])
	return h, true, nil
}

// RunKind tells what the records of a run are.
type RunKind uint8

// Kinds of runs.
const (
	RunEntries RunKind = iota // entries in their order
	RunCarried                // copies of records from segments that are to be used again
)

// RunHeader opens a run: what is written at a time, from a block's beginning to a block's end.
//
//	0 magic u32  4 crc u32 of bytes 8 to 72  8 segment u64  16 run u64  24 flushed u64
//	32 bytes u32  36 extent u32  40 start u32  44 size u32  48 records u32  52 kind u8, 3 zero
//	56 index u64  64 time i64
type RunHeader struct {
	Segment uint64 // number of the segment's use, so that what it held before is not taken for new
	Run     uint64
	Flushed uint64 // all runs up to this were on the disk when this one was written
	Bytes   uint32 // header and records; zeros follow to the block's end
	Extent  uint32
	Start   uint32 // of the run in its extent
	Size    uint32 // of the extent
	Count   uint32 // of records
	Kind    RunKind
	Index   Index // of the last entry in this run or before it
	Time    int64 // of day, in milliseconds
}

func (h *RunHeader) put(b []byte) {
	binary.LittleEndian.PutUint32(b, runMagic)
	binary.LittleEndian.PutUint64(b[8:], h.Segment)
	binary.LittleEndian.PutUint64(b[16:], h.Run)
	binary.LittleEndian.PutUint64(b[24:], h.Flushed)
	binary.LittleEndian.PutUint32(b[32:], h.Bytes)
	binary.LittleEndian.PutUint32(b[36:], h.Extent)
	binary.LittleEndian.PutUint32(b[40:], h.Start)
	binary.LittleEndian.PutUint32(b[44:], h.Size)
	binary.LittleEndian.PutUint32(b[48:], h.Count)
	binary.LittleEndian.PutUint32(b[52:], uint32(h.Kind))
	binary.LittleEndian.PutUint64(b[56:], uint64(h.Index))
	binary.LittleEndian.PutUint64(b[64:], uint64(h.Time))
	binary.LittleEndian.PutUint32(b[4:], sum(b[8:RunHeadBytes]))
}

// ParseRunHeader reads a run's header; ok is false if there is none.
func ParseRunHeader(b []byte) (h RunHeader, ok bool) {
	if len(b) < RunHeadBytes || binary.LittleEndian.Uint32(b) != runMagic ||
		binary.LittleEndian.Uint32(b[4:]) != sum(b[8:RunHeadBytes]) {
		return h, false
	}
	h.Segment = binary.LittleEndian.Uint64(b[8:])
	h.Run = binary.LittleEndian.Uint64(b[16:])
	h.Flushed = binary.LittleEndian.Uint64(b[24:])
	h.Bytes = binary.LittleEndian.Uint32(b[32:])
	h.Extent = binary.LittleEndian.Uint32(b[36:])
	h.Start = binary.LittleEndian.Uint32(b[40:])
	h.Size = binary.LittleEndian.Uint32(b[44:])
	h.Count = binary.LittleEndian.Uint32(b[48:])
	h.Kind = RunKind(b[52])
	h.Index = Index(binary.LittleEndian.Uint64(b[56:]))
	h.Time = int64(binary.LittleEndian.Uint64(b[64:]))
	fits := h.Bytes >= RunHeadBytes && h.Size%BlockBytes == 0 && h.Start%BlockBytes == 0 &&
		uint64(h.Start)+uint64(blocks(int(h.Bytes))) <= uint64(h.Size) && h.Kind <= RunCarried
	return h, fits
}

// Record is one record of a run, as read.
type Record struct {
	View   View
	Index  Index
	Offset uint32 // in the run
	Entry  []byte
}

// Records calls do for each record of the run that b begins with, until it returns false. It
// returns at which offset of the run it is damaged, and how; cause is empty if it is not.
func (h *RunHeader) Records(b []byte, do func(Record) bool) (offset int, cause string) {
	at := RunHeadBytes
	for n := uint32(0); n < h.Count; n++ {
		if at+HeaderBytes > int(h.Bytes) {
			return at, fmt.Sprintf("record %d of %d begins behind the run's end", n+1, h.Count)
		}
		head := b[at : at+HeaderBytes]
		length := binary.LittleEndian.Uint32(head)
		if uint64(at)+HeaderBytes+uint64(length) > uint64(h.Bytes) {
			return at, fmt.Sprintf("record of %d bytes goes beyond the run's end", length)
		}
		entry := b[at+HeaderBytes : at+HeaderBytes+int(length)]
		if binary.LittleEndian.Uint32(head[4:]) != checksum(head, entry) {
			return at, "a record's checksum does not match"
		}
		r := Record{View: View(binary.LittleEndian.Uint64(head[8:])), Index: Index(binary.LittleEndian.Uint64(head[16:])),
			Offset: uint32(at), Entry: entry}
		if !do(r) {
			return 0, ""
		}
		at += recordBytes(int(length))
	}
	return 0, ""
}

// recordBytes is what an entry of n bytes takes with its header.
func recordBytes(n int) int { return (HeaderBytes + n + alignment - 1) &^ (alignment - 1) }

// blocks rounds up to whole blocks.
func blocks(n int) int { return (n + BlockBytes - 1) &^ (BlockBytes - 1) }
