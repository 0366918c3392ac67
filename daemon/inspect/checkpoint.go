package inspect

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// What a checkpoint looks like; docs/journal-format.md has all of it.
const (
	checkpointPrefix     = "checkpoint"
	checkpointMagic      = "QPIDDCHK"
	checkpointHead       = 76
	chunkHead            = 8
	extentBytes          = 28
	maxChunkBytes        = 1 << 30 // more is damage
	checkpointUnfinished = "checkpoint-unfinished"
)

// checkpoint looks at a checkpoint's file: also a shallow scan reads all of its chunks' heads.
func (s *scan) checkpoint(f journal.FileInfo) error {
	c := &Checkpoint{File: f.Name, Bytes: f.Size, Unfinished: f.Name == checkpointUnfinished, live: map[uint64]int64{}}
	s.report.Checkpoints = append(s.report.Checkpoints, c)
	bad := func(at int64, format string, args ...any) {
		c.Damaged = true
		if c.Unfinished {
			return // nobody reads it
		}
		s.report.problem(f.Name, at, format, args...)
	}
	b, whole, err := s.read(f.Name, 0, checkpointHead)
	switch {
	case err != nil:
		return err
	case !whole || string(b[:8]) != checkpointMagic:
		bad(0, "this is no checkpoint")
		return nil
	case binary.LittleEndian.Uint32(b[8:]) != journal.FormatVersion:
		bad(8, "%v", &journal.VersionError{File: f.Name, Have: binary.LittleEndian.Uint32(b[8:]), Want: journal.FormatVersion})
		return nil
	case binary.LittleEndian.Uint32(b[72:]) != crc32.Checksum(b[:72], castagnoli):
		bad(0, "the checkpoint's header is damaged: its checksum does not match")
		return nil
	}
	c.Run, c.Index = binary.LittleEndian.Uint64(b[48:]), journal.Index(binary.LittleEndian.Uint64(b[56:]))
	c.Time = int64(binary.LittleEndian.Uint64(b[64:]))
	return s.chunks(c, bad)
}

// chunks goes from chunk to chunk.
func (s *scan) chunks(c *Checkpoint, bad func(int64, string, ...any)) error {
	all, listed := uint32(0), false
	for at := int64(checkpointHead); ; {
		b, whole, err := s.read(c.File, at, chunkHead)
		if err != nil {
			return err
		}
		if !whole {
			bad(at, "the checkpoint is cut short")
			return nil
		}
		n, crc := int64(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
		if n == 0 {
			if crc != all {
				bad(at, "the checksum of all chunks does not match")
			} else if at+chunkHead != c.Bytes {
				s.report.harmless(c.File, at+chunkHead, "there are bytes behind the checkpoint's end")
			}
			return nil
		}
		all = crc32.Update(all, castagnoli, b[4:8])
		if n > maxChunkBytes || at+chunkHead+n > c.Bytes {
			bad(at, "a chunk of %d bytes goes beyond the checkpoint's end", n)
			return nil
		}
		c.Chunks++
		if s.Deep || !listed {
			if b, whole, err = s.read(c.File, at+chunkHead, int(n)); err != nil {
				return err
			}
			if !whole || crc32.Checksum(b, castagnoli) != crc {
				bad(at, "a chunk's checksum does not match")
				return nil
			}
			if !listed && n != 4 {
				c.list(b)
			}
		}
		listed = listed || n == 4
		at += chunkHead + n
		s.progress(at)
	}
}

// list notes which extents are needed of each segment.
func (c *Checkpoint) list(b []byte) {
	for ; len(b) >= extentBytes; b = b[extentBytes:] {
		c.Extents++
		c.live[binary.LittleEndian.Uint64(b[12:])] += int64(binary.LittleEndian.Uint32(b[8:]))
	}
}
