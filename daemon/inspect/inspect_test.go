package inspect

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// memory is a journal's files.
type memory map[string][]byte

func (m memory) List() (list []journal.FileInfo, err error) {
	for name, b := range m {
		list = append(list, journal.FileInfo{Name: name, Size: int64(len(b))})
	}
	slices.SortFunc(list, func(a, b journal.FileInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (m memory) ReadAt(name string, b []byte, at int64) (int, error) {
	n := copy(b, m[name][min(at, int64(len(m[name]))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

const segmentBytes = journal.BlockBytes + 2*journal.ExtentBytes

var storeID = journal.UUID{1, 2, 3}

// writer is a journal that is written.
type writer struct {
	t    testing.TB
	disk *faulty.Disk
	log  *journal.Log
	last journal.Index
	refs []journal.Ref
}

func newWriter(t testing.TB) *writer {
	w := &writer{t: t}
	w.disk = faulty.New(faulty.Options{Rand: rand.New(rand.NewPCG(1, 1)), Done: func(op *journal.Op) { op.Finish() }})
	w.log = journal.New(journal.Config{Memory: journal.Heap{}, Disk: w.disk, Files: w.disk, Store: storeID, SegmentBytes: segmentBytes})
	if _, err := w.log.Recover(reader{}); err != nil {
		t.Fatal(err)
	}
	w.log.SetCluster(journal.UUID{4})
	w.log.Prepare(0)
	w.disk.Run()
	return w
}

// publish appends messages, each with a body of so many bytes, and has them on the disk.
func (w *writer) publish(bodies ...int) {
	w.t.Helper()
	for _, n := range bodies {
		entry := broker.AppendPublish(nil, &broker.Publish{Exchange: []byte("x"), Key: []byte("key"), Body: make([]byte, n)})
		s, err := w.log.Begin(len(entry), journal.Durable)
		if err != nil {
			w.t.Fatal(err)
		}
		copy(s.Bytes(), entry)
		w.last++
		ref := w.log.Commit(s, 1, w.last)
		w.log.Retain(ref, 1)
		w.refs = append(w.refs, ref)
	}
	w.log.Sync(int64(w.last), true)
	w.disk.Run()
	w.log.Prepare(0)
	w.disk.Run()
	if w.log.Mark() != w.last || w.log.Failed() != nil {
		w.t.Fatal(w.log.Mark(), w.log.Failed())
	}
}

func (w *writer) checkpoint() {
	w.log.BeginCheckpoint()
	w.log.CheckpointChunk([]byte("state of some length"))
	w.log.EndCheckpoint()
	w.disk.Run()
}

// files are a copy of what is on the disk.
func (w *writer) files() memory {
	m := memory{}
	list, _ := w.disk.List()
	for _, f := range list {
		b := make([]byte, f.Size)
		if _, err := w.disk.ReadAt(f.Name, b, 0); err != nil && err != io.EOF {
			w.t.Fatal(err)
		}
		m[f.Name] = b
	}
	return m
}

func look(t testing.TB, m memory) (*Journal, *Report) {
	t.Helper()
	j := &Journal{files: m, Store: &store.Identity{Store: storeID}}
	r, err := j.Scan(Options{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	return j, r
}

func TestWhatIsThereIsShown(t *testing.T) {
	w := newWriter(t)
	w.publish(10, 20, 30)
	w.publish(1 << 20)
	w.checkpoint()
	w.publish(5)
	files := w.files()
	var kinds []string
	done := int64(0)
	j := &Journal{files: files, Store: &store.Identity{Store: storeID}}
	r, err := j.Scan(Options{Deep: true,
		Progress: func(n, total int64) {
			if n < done || n > total {
				t.Errorf("%d of %d bytes after %d", n, total, done)
			}
			done = n
		},
		Entry: func(e *Entry) { kinds = append(kinds, e.String()) }})
	if err != nil || !r.Healthy() || len(r.Problems) != 0 {
		t.Fatalf("%v %+v", err, r)
	}
	want := `00000001.segment+4168 run 1 entry 1 publish, 38 bytes exchange="x" key="key"`
	if len(kinds) != 5 || kinds[0] != want {
		t.Errorf("%q", kinds)
	}
	total := int64(0)
	for _, b := range files {
		total += int64(len(b))
	}
	if done != total {
		t.Errorf("%d of %d bytes at the end", done, total)
	}
	entries, runs, live := 0, 0, int64(0)
	for _, g := range r.Segments {
		entries, runs, live = entries+g.Entries, runs+len(g.Runs), live+g.LiveBytes
	}
	if entries != 5 || runs != 3 || live < 1<<20 || len(r.Checkpoints) != 1 || r.Checkpoints[0].Index != 4 || r.Checkpoints[0].Extents != 2 {
		t.Errorf("%d entries, %d runs, %d live bytes, checkpoints %+v", entries, runs, live, r.Checkpoints)
	}
	shallow, err := j.Scan(Options{})
	if err != nil || len(shallow.Segments) != len(r.Segments) || shallow.Segments[0].Entries != r.Segments[0].Entries {
		t.Errorf("a shallow scan differs: %v %+v", err, shallow)
	}
}

// TestEveryByte: wherever one byte is changed, verify says where, or shows that it does not matter.
func TestEveryByte(t *testing.T) {
	w := newWriter(t)
	w.publish(1, 2)
	w.publish(333)
	w.checkpoint()
	w.publish(40, 50, 7)
	w.publish(3)
	files := w.files()
	j, r := look(t, files)
	if len(r.Problems) != 0 {
		t.Fatalf("%+v", r.Problems)
	}
	for name, b := range files {
		last := len(bytes.TrimRight(b, "\x00")) + journal.BlockBytes // behind it only zeros follow
		for at := range b {
			if b[at] == 0 && at%251 != 0 && !within(r, name, at) || at > last && at%10007 != 0 {
				continue // of the zeros that nobody reads some are enough
			}
			b[at] ^= 0x40
			got, err := j.Scan(Options{Deep: true})
			if err != nil {
				t.Fatal(err)
			}
			if why := missed(name, at, b, r, got); why != "" {
				t.Fatalf("%s: byte %d changed: %s: %+v", name, at, why, got.Problems)
			}
			b[at] ^= 0x40
		}
	}
}

// within tells whether a byte is in a run, or in a header.
func within(r *Report, name string, at int) bool {
	for _, g := range r.Segments {
		if g.File == name && (at < segmentHead || slices.ContainsFunc(g.Runs, func(x *Run) bool {
			return int64(at) >= x.Offset && int64(at) < x.Offset+int64(x.Bytes)
		})) {
			return true
		}
	}
	return strings.HasPrefix(name, checkpointPrefix)
}

// missed tells what is wrong with a report of one byte that has changed.
func missed(name string, at int, b []byte, healthy, got *Report) string {
	for _, p := range got.Problems {
		if p.File != name {
			continue
		}
		if _, segment := journal.SegmentFile(name); !segment || int64(at)/journal.BlockBytes == p.Offset/journal.BlockBytes {
			return "" // in the same block
		}
	}
	if len(got.Problems) > 0 || !got.Healthy() {
		return "the wrong place is named"
	}
	i := slices.IndexFunc(healthy.Segments, func(g *Segment) bool { return g.File == name })
	if i < 0 {
		return "nothing is said"
	}
	for _, r := range healthy.Segments[i].Runs {
		if int64(at) >= r.Offset && int64(at) < r.Offset+journal.BlockBytes && !padding(b[r.Offset:r.Offset+int64(r.Bytes)], at-int(r.Offset)) {
			return "nothing is said"
		}
	}
	if healthy.Segments[i].Number != 0 && at < journal.BlockBytes {
		return "nothing is said"
	}
	return ""
}

// padding tells whether a byte of a run is one of those that round a record up.
func padding(run []byte, at int) bool {
	h, _ := journal.ParseRunHeader(run)
	found := false
	h.Records(run, func(e journal.Record) bool {
		end := int(e.Offset) + journal.HeaderBytes + len(e.Entry)
		found = found || at >= end && at < int(e.Offset)+recordBytes(len(e.Entry))
		return true
	})
	return found
}

func TestDamageIsLocated(t *testing.T) {
	w := newWriter(t)
	for i := range 12 {
		w.publish(300<<10, i)
	}
	_, healthy := look(t, w.files())
	if len(healthy.Segments) < 3 || !healthy.Healthy() {
		t.Fatalf("%+v", healthy)
	}
	second := healthy.Segments[1]
	for name, c := range map[string]struct {
		breach func(m memory)
		want   string
	}{
		"cut short":    {func(m memory) { m[second.File] = m[second.File][:second.Runs[1].Offset+100] }, "2101248 were made"},
		"cut to a bit": {func(m memory) { m[second.File] = m[second.File][:10] }, "not even its header"},
		"missing":      {func(m memory) { delete(m, second.File) }, "what was between them was on the disk"},
		"another version": {func(m memory) { m[second.File][8] = 9 },
			"has version 9, this broker reads and writes version 1"},
		"header":    {func(m memory) { m[second.File][50] ^= 1 }, "header is damaged"},
		"run":       {func(m memory) { m[second.File][second.Runs[0].Offset+40] ^= 1 }, "the head of a run is damaged"},
		"run magic": {func(m memory) { m[second.File][second.Runs[0].Offset] ^= 1 }, "the head of a run is damaged"},
		"record":    {func(m memory) { m[second.File][second.Runs[0].Offset+200] ^= 1 }, "checksum does not match"},
	} {
		m := w.files()
		c.breach(m)
		_, r := look(t, m)
		if r.Healthy() {
			t.Errorf("%s: it is healthy", name)
		}
		if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.Contains(p.What, c.want) }) {
			t.Errorf("%s: %v, want %q", name, r.Problems, c.want)
		}
	}
}

// TestLeftRecordsAreNoDamage has records that an earlier use of a file has left begin where a run might. One
// of 48 bytes has its checksum where a run's head has it, and of as many bytes.
func TestLeftRecordsAreNoDamage(t *testing.T) {
	w := newWriter(t)
	w.publish(1)
	for n := range 64 {
		m := w.files()
		record := binary.LittleEndian.AppendUint32(nil, uint32(n))
		summed := append(bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{9}, n)...)
		record = append(binary.LittleEndian.AppendUint32(record, crc32.Checksum(summed, castagnoli)), summed...)
		for _, b := range m {
			if len(b) == segmentBytes && b[0] != 0 {
				copy(b[segmentBytes-journal.BlockBytes:], record)
			}
		}
		if _, r := look(t, m); !r.Healthy() {
			t.Errorf("a record of %d bytes is left: %v", n, r.Problems)
		}
	}
}

// TestRepair: what a plan keeps is recovered, what it discards is what it says.
func TestRepair(t *testing.T) {
	w := newWriter(t)
	for i := range 12 {
		w.publish(300<<10, i)
	}
	_, healthy := look(t, w.files())
	second := healthy.Segments[1]
	inSecond := second.Runs[0].Number
	lastFile, lastRun := "", &Run{}
	for _, g := range healthy.Segments {
		for _, r := range g.Runs {
			if r.Number > lastRun.Number {
				lastFile, lastRun = g.File, r
			}
		}
	}
	for name, c := range map[string]struct {
		breach  func(m memory)
		discard string
		runs    uint64 // that are left
	}{
		"header":        {func(m memory) { m[second.File][50] ^= 1 }, "", lastRun.Number},
		"run":           {func(m memory) { m[second.File][second.Runs[1].Offset+40] ^= 1 }, "entries of kind publish", inSecond},
		"record":        {func(m memory) { m[second.File][second.Runs[1].Offset+100] ^= 1 }, "what cannot be read any more behind run", inSecond},
		"missing":       {func(m memory) { delete(m, second.File) }, "entries of kind publish", inSecond - 1},
		"cut":           {func(m memory) { m[second.File] = m[second.File][:second.Runs[1].Offset] }, "entries of kind publish", inSecond},
		"cut in a head": {func(m memory) { m[second.File] = m[second.File][:second.Runs[1].Offset+10] }, "entries of kind publish", inSecond},
		"last":          {func(m memory) { m[lastFile][lastRun.Offset+100] ^= 1 }, "what cannot be read any more behind run", lastRun.Number - 1},
	} {
		m := w.files()
		c.breach(m)
		j, r := look(t, m)
		p, err := j.Plan(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text := strings.Join(p.Discards, "; "); !strings.Contains(text, c.discard) || c.discard == "" && text != "" {
			t.Errorf("%s: %q, want %q", name, p.Discards, c.discard)
		}
		for _, name := range p.remove {
			delete(m, name)
		}
		for _, b := range p.blocks {
			if short := int(b.offset) + len(b.bytes) - len(m[b.file]); short > 0 {
				m[b.file] = append(m[b.file], make([]byte, short)...)
			}
			copy(m[b.file][b.offset:], b.bytes)
		}
		_, after := look(t, m)
		left := uint64(0)
		for _, g := range after.Segments {
			left += uint64(len(g.Runs))
		}
		if !after.Healthy() || left != c.runs {
			t.Errorf("%s: %d runs are left of which %d should be: %v %s", name, left, c.runs, after.Problems, after.Recovery)
		}
	}
}

func TestWhatCannotBeRepaired(t *testing.T) {
	w := newWriter(t)
	w.publish(1, 2)
	w.checkpoint()
	w.publish(3)
	m := w.files()
	var name string
	for n := range m {
		if strings.HasPrefix(n, checkpointPrefix) {
			name = n
		}
	}
	j, r := look(t, m)
	if _, err := j.Plan(r); err != ErrHealthy {
		t.Errorf("a healthy journal: %v", err)
	}
	m[name][100] ^= 1
	j, r = look(t, m)
	p, err := j.Plan(r) // all runs are there: the checkpoint can be done without
	if err != nil || len(p.Discards) != 0 || !slices.Equal(p.remove, []string{name}) {
		t.Errorf("a damaged checkpoint: %+v, %v", p, err)
	}
	for n, b := range m {
		if _, segment := journal.SegmentFile(n); segment {
			m[n][8] = 2
			j, r = look(t, m)
			if _, err := j.Plan(r); b[0] != 0 && err == nil {
				t.Error("a journal of another version is repaired")
			}
			b[8] = 1
		}
	}
}
