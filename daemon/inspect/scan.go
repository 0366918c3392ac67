package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Options say how to scan.
type Options struct {
	// Deep reads everything, and not the heads only.
	Deep bool
	// Apply has a deep scan apply the entries, too, as a broker does that starts: it takes as
	// much memory and time.
	Apply bool
	// Progress is told how many bytes have been looked at, if not nil.
	Progress func(done, total int64)
	// Entry is given every entry, in the order of the files; that needs Deep.
	Entry func(*Entry)
}

// scan is one in progress.
type scan struct {
	Options
	files  journal.Files
	report *Report
	done   int64 // bytes of files that are finished
	total  int64
	buffer []byte
}

// Scan looks at all files. What is wrong with them is in the report; the error is of what cannot be
// looked at.
func (j *Journal) Scan(o Options) (*Report, error) {
	list, err := j.files.List()
	if err != nil {
		return nil, err
	}
	s := &scan{Options: o, files: j.files, report: &Report{Deep: o.Deep}}
	if j.lost != nil {
		s.report.problem(store.IdentityName, 0, "%v", j.lost)
	}
	for _, f := range list {
		s.total += f.Size
	}
	for _, f := range list {
		_, isSegment := journal.SegmentFile(f.Name)
		switch {
		case isSegment:
			err = s.segment(f)
		case strings.HasPrefix(f.Name, checkpointPrefix):
			err = s.checkpoint(f)
		}
		if err != nil {
			return nil, err
		}
		s.done += f.Size
		s.progress(0)
	}
	if c := s.report.Newest(); c != nil {
		for _, g := range s.report.Segments {
			g.LiveBytes = c.live[g.Number]
		}
	}
	if o.Deep {
		j.recover(s.report)
	}
	if o.Deep && o.Apply && s.report.Recovery == "" {
		j.apply(s.report)
	}
	return s.report, nil
}

func (s *scan) progress(at int64) {
	if s.Progress != nil {
		s.Progress(s.done+at, s.total)
	}
}

// read reads n bytes, or says that the file is too short.
func (s *scan) read(name string, offset int64, n int) ([]byte, bool, error) {
	if cap(s.buffer) < n {
		s.buffer = make([]byte, max(n, journal.ExtentBytes))
	}
	b := s.buffer[:n]
	got, err := s.files.ReadAt(name, b, offset)
	if got == n {
		return b, true, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return b[:got], false, nil
	}
	return nil, false, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Parts of the format that are told from damage here; docs/journal-format.md has all of it.
const (
	runMagic       = 0x4e555251
	segmentHead    = 84 // bytes, the checksum included
	runHeadChecked = 8  // from where a run head's checksum counts
)

// segment looks at a segment's file.
func (s *scan) segment(f journal.FileInfo) error {
	g := &Segment{File: f.Name, Bytes: f.Size}
	s.report.Segments = append(s.report.Segments, g)
	b, whole, err := s.read(f.Name, 0, journal.BlockBytes)
	if err != nil {
		return err
	}
	if !whole {
		s.report.problem(f.Name, f.Size, "the file is cut short: not even its header is whole")
		g.damaged = true
		return nil
	}
	h, ok, err := journal.ParseSegmentHeader(f.Name, b)
	switch {
	case err != nil:
		s.report.problem(f.Name, 8, "%v", err)
		g.damaged = true
		return nil
	case !ok && zero(b):
		return nil // made, and not used yet
	case !ok:
		s.report.problem(f.Name, 0, "the segment's header is damaged: its checksum does not match")
		g.damaged = true
	case !zero(b[segmentHead:]):
		s.report.harmless(f.Name, segmentHead+int64(nonzero(b[segmentHead:])), "there are bytes behind the header where zeros were written")
	}
	if ok {
		g.made = int64(h.Bytes)
		g.Number, g.FirstRun, g.After = h.Number, h.Run, h.After
		s.identity(&h)
		if int64(h.Bytes) != f.Size {
			s.report.problem(f.Name, min(f.Size, int64(h.Bytes)), "the file has %d bytes where %d were made", f.Size, h.Bytes)
		}
	}
	return s.runs(g)
}

func (s *scan) identity(h *journal.SegmentHeader) {
	if h.Cluster != (journal.UUID{}) {
		s.report.Cluster = h.Cluster.String()
	}
	s.report.Store = h.Store.String()
}

// runs goes from run to run. Where none begins it looks on block by block.
func (s *scan) runs(g *Segment) error {
	for at := int64(journal.BlockBytes); at+journal.BlockBytes <= g.Bytes; {
		b, _, err := s.read(g.File, at, journal.RunHeadBytes)
		if err != nil {
			return err
		}
		h, ok := journal.ParseRunHeader(b)
		switch {
		case ok && (h.Segment == g.Number || g.damaged):
			if err := s.run(g, at, &h); err != nil {
				return err
			}
			at += blocks(int64(h.Bytes))
			s.progress(at)
			continue
		case !ok:
			s.damagedHead(g, at, b)
		}
		at += journal.BlockBytes
	}
	return nil
}

// damagedHead reports what was a run's head but for some bytes.
func (s *scan) damagedHead(g *Segment, at int64, b []byte) {
	magic := binary.LittleEndian.Uint32(b) == runMagic
	matches := binary.LittleEndian.Uint32(b[4:]) == crc32.Checksum(b[runHeadChecked:journal.RunHeadBytes], castagnoli)
	// An earlier use of the file has left records, too, and one of just that length is summed as a head is.
	record := binary.LittleEndian.Uint32(b) == journal.RunHeadBytes-journal.HeaderBytes
	if magic || matches && !record && !zero(b) {
		s.report.Problems = append(s.report.Problems, Problem{File: g.File, Offset: at, What: "the head of a run is damaged", head: true})
	}
}

// run looks at a run whose head is in order.
func (s *scan) run(g *Segment, at int64, h *journal.RunHeader) error {
	r := &Run{Number: h.Run, Offset: at, Bytes: h.Bytes, Extent: h.Extent, Entries: h.Count, Flushed: h.Flushed,
		Carried: h.Kind == journal.RunCarried, Index: h.Index, Time: h.Time}
	g.Runs = append(g.Runs, r)
	g.UsedBytes += blocks(int64(h.Bytes))
	if r.Carried {
		g.Carried += int(h.Count)
	} else {
		g.Entries += int(h.Count)
	}
	if at+blocks(int64(h.Bytes)) > g.Bytes {
		s.report.problem(g.File, at, "run %d has %d bytes, but the file ends at %d", h.Run, h.Bytes, g.Bytes)
		r.Damaged = true
		return nil
	}
	if !s.Deep {
		return nil
	}
	b, whole, err := s.read(g.File, at, int(blocks(int64(h.Bytes))))
	if err != nil {
		return err
	}
	if !whole {
		return fmt.Errorf("%s: cannot read run %d at %d", g.File, h.Run, at)
	}
	r.kinds = map[string]*sum{}
	last := journal.RunHeadBytes
	offset, cause := h.Records(b, func(e journal.Record) bool {
		r.count(&e)
		last = int(e.Offset) + recordBytes(len(e.Entry))
		if s.Entry != nil {
			s.Entry(entryOf(g, r, &e))
		}
		return true
	})
	switch {
	case cause != "":
		s.report.problem(g.File, at+int64(offset), "run %d: %s", h.Run, cause)
		r.Damaged = true
	case last != int(h.Bytes):
		s.report.problem(g.File, at+int64(last), "run %d has %d bytes, and its records end at %d", h.Run, h.Bytes, last)
		r.Damaged = true
	case !zero(b[h.Bytes:]):
		s.report.harmless(g.File, at+int64(h.Bytes)+int64(nonzero(b[h.Bytes:])), "there are bytes behind the run where zeros were written")
	}
	return nil
}

func (r *Run) count(e *journal.Record) {
	k := Kind(e.Entry)
	if r.kinds[k] == nil {
		r.kinds[k] = &sum{}
	}
	r.kinds[k].count++
	r.kinds[k].bytes += int64(len(e.Entry))
}

func blocks(n int64) int64 { return (n + journal.BlockBytes - 1) &^ (journal.BlockBytes - 1) }

// recordBytes is what an entry of n bytes takes with its header.
func recordBytes(n int) int { return (journal.HeaderBytes + n + 7) &^ 7 }

func zero(b []byte) bool { return nonzero(b) < 0 }

// nonzero is where the first byte is that is not zero.
func nonzero(b []byte) int { return bytes.IndexFunc(b, func(r rune) bool { return r != 0 }) }
