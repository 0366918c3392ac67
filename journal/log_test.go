package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// counted is a Memory that knows what is out.
type counted struct{ out int }

func (m *counted) Alloc(n int) ([]byte, error) { m.out += n; return make([]byte, n), nil }
func (m *counted) Free(b []byte)               { m.out -= len(b); clear(b) }

func put(t testing.TB, l *Log, i Index, entry []byte, c Class) Ref {
	t.Helper()
	s, err := l.Begin(len(entry), c)
	if err != nil {
		t.Fatal(err)
	}
	copy(s.Bytes(), entry)
	return l.Commit(s, 1, i)
}

func TestRecordsStayWhileRetained(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	mem := &counted{}
	l := New(Config{Memory: mem})
	type kept struct {
		ref   Ref
		entry []byte
		times int
	}
	var live []kept
	for i := range 20000 {
		size := rng.IntN(3000)
		if i%500 == 0 {
			size = ExtentBytes + rng.IntN(ExtentBytes)
		}
		entry := bytes.Repeat([]byte{byte(i)}, size)
		ref := put(t, l, Index(i), entry, Class(i%2))
		if n := rng.IntN(4); n > 0 {
			l.Retain(ref, n)
			live = append(live, kept{ref, entry, n})
		}
		l.Settled(ref)
		for len(live) > 200 {
			k := rng.IntN(len(live))
			v := &live[k]
			if !bytes.Equal(l.Bytes(v.ref), v.entry) {
				t.Fatalf("entry %d has changed", k)
			}
			if err := l.Verify(v.ref); err != nil {
				t.Fatal(err)
			}
			l.Drop(v.ref)
			if v.times--; v.times == 0 {
				live[k] = live[len(live)-1]
				live = live[:len(live)-1]
			}
		}
	}
	for _, v := range live {
		for range v.times {
			l.Drop(v.ref)
		}
	}
	if s := l.Stats(); s.Live != 0 || s.Extents > 2 {
		t.Fatalf("%d references and %d extents are left", s.Live, s.Extents)
	}
	if limit := (spareExtents + 2) * ExtentBytes; mem.out > limit {
		t.Fatalf("%d bytes are out, %d are kept at most", mem.out, limit)
	}
	l.Close()
	if mem.out != 0 {
		t.Fatalf("%d bytes are out after Close", mem.out)
	}
}

// TestConsumersThatKeepUp sees that a queue that is emptied as it fills uses a few extents.
func TestConsumersThatKeepUp(t *testing.T) {
	l := New(Config{Memory: Heap{}})
	var window []Ref
	for i := range 100000 {
		ref := put(t, l, Index(i), make([]byte, 1000), Transient)
		l.Retain(ref, 1)
		if window = append(window, ref); len(window) > 100 {
			l.Drop(window[0])
			window = window[1:]
		}
	}
	if s := l.Stats(); s.MemoryBytes > 4*ExtentBytes {
		t.Fatalf("%d bytes for 100 messages", s.MemoryBytes)
	}
}

// TestCarryForward keeps one record in a hundred and sees that the log stays in proportion.
func TestCarryForward(t *testing.T) {
	l := New(Config{Memory: Heap{}})
	type kept struct {
		ref   Ref
		entry []byte
	}
	var live []kept
	most := int64(0)
	for i := range 400000 {
		entry := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 500)
		ref := put(t, l, Index(i), entry, Transient)
		if i%100 == 0 {
			l.Retain(ref, 1)
			live = append(live, kept{ref, entry})
		}
		l.Settled(ref)
		most = max(most, l.Stats().MemoryBytes)
		if !l.Fragmented() {
			continue
		}
		for k := range live {
			v := &live[k]
			if !l.Sparse(v.ref) {
				continue
			}
			ref, err := l.Carry(v.ref)
			if err != nil {
				t.Fatal(err)
			}
			l.Retain(ref, 1)
			l.Drop(v.ref)
			v.ref = ref
		}
		if l.Fragmented() {
			t.Fatalf("still fragmented: %+v", l.Stats())
		}
	}
	for _, v := range live {
		if err := l.Verify(v.ref); err != nil || !bytes.Equal(l.Bytes(v.ref), v.entry) {
			t.Fatalf("a record was lost on its way: %v", err)
		}
	}
	if limit := 2*l.Stats().LiveBytes + carryBytes + 16*ExtentBytes; most > limit {
		t.Fatalf("%d bytes at most for %d alive", most, l.Stats().LiveBytes)
	}
}

func TestPinnedBytesOutliveTheirRecord(t *testing.T) {
	l := New(Config{Memory: Heap{}})
	entry := bytes.Repeat([]byte("x"), 2*ExtentBytes)
	ref := put(t, l, 1, entry, Transient)
	l.Retain(ref, 1)
	b, pin := l.Bytes(ref), l.Pin(ref)
	l.Drop(ref)
	for i := range 10 {
		put(t, l, Index(i), bytes.Repeat([]byte("y"), 2*ExtentBytes), Transient)
	}
	if !bytes.Equal(b, entry) {
		t.Fatal("a pinned record was overwritten")
	}
	if !l.Pinned() {
		t.Fatal("Pinned does not tell")
	}
	pin.Unpin()
	if l.Pinned() {
		t.Fatal("Pinned tells of a pin that is gone")
	}
}

func TestVerifyFindsWhatHasChanged(t *testing.T) {
	l := New(Config{Memory: Heap{}})
	ref := put(t, l, 7, []byte("what was written"), Durable)
	l.Retain(ref, 1)
	if err := l.Verify(ref); err != nil {
		t.Fatal(err)
	}
	l.Bytes(ref)[3] ^= 1
	if l.Verify(ref) == nil {
		t.Fatal("a flipped bit was not found")
	}
}

func TestImageIsEqualElsewhere(t *testing.T) {
	a, b := New(Config{Memory: Heap{}}), New(Config{Memory: Heap{}})
	var refs []Ref
	for i := range 5000 {
		ref := put(t, a, Index(i), []byte(fmt.Sprintf("entry %d of some length", i)), Transient)
		a.Retain(ref, 1)
		refs = append(refs, ref)
	}
	place := map[uint32]uint32{}
	for _, im := range a.Export() {
		id, bytes, err := b.Import(im.Size)
		if err != nil {
			t.Fatal(err)
		}
		copy(bytes, a.Image(im))
		place[im.ID] = id
		a.Unkeep(im)
	}
	for i, r := range refs {
		r.Extent = place[r.Extent]
		if !b.Holds(r) {
			t.Fatalf("record %d is not held", i)
		}
		if err := b.Verify(r); err != nil {
			t.Fatal(err)
		}
		b.Retain(r, 1)
	}
	for _, id := range place {
		b.Imported(id)
	}
	if b.Holds(Ref{Extent: 1 << 30}) || b.Holds(Ref{Extent: refs[0].Extent, Offset: ExtentBytes}) {
		t.Fatal("Holds tells of what is not there")
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := New(Config{Memory: Heap{}})
	entry := make([]byte, 1024)
	var last Ref
	i := Index(0)
	step := func() {
		ref := put(t, l, i, entry, Transient)
		l.Retain(ref, 1)
		if i > 0 {
			l.Drop(last)
		}
		last = ref
		i++
	}
	for range 5000 {
		step()
	}
	if n := testing.AllocsPerRun(5000, step); n > 0.01 {
		t.Fatalf("%v allocations a record", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	l := New(Config{Memory: Heap{}})
	entry := make([]byte, 1024)
	b.SetBytes(1024)
	b.ReportAllocs()
	var last Ref
	for i := 0; b.Loop(); i++ {
		ref := put(b, l, Index(i), entry, Transient)
		l.Retain(ref, 1)
		if i > 0 {
			l.Drop(last)
		}
		last = ref
	}
}

// instant is a disk that has done everything when it is asked again.
type instant struct{ ops []*Op }

func (d *instant) Start(op *Op) { d.ops = append(d.ops, op) }

func (d *instant) finish() {
	for i := 0; i < len(d.ops); i++ {
		d.ops[i].Finish()
	}
	d.ops = d.ops[:0]
}

// TestDurableAppendDoesNotAllocate appends, writes and flushes, ten records to a flush. What files
// and checkpoints cost is not of each message.
func TestDurableAppendDoesNotAllocate(t *testing.T) {
	d := &instant{}
	l := New(Config{Memory: Heap{}, Disk: d, SegmentBytes: 1 << 30})
	l.Prepare(1)
	d.finish()
	entry := make([]byte, 1024)
	var window []Ref
	i := Index(0)
	step := func() {
		for range 10 {
			i++
			ref := put(t, l, i, entry, Durable)
			l.Retain(ref, 1)
			window = append(window, ref)
			if len(window) > 5000 { // so that memory is used again
				l.Drop(window[0])
				window = append(window[:0], window[1:]...)
			}
		}
		l.Sync(1, true)
		d.finish()
	}
	for range 2000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n > 0.1 {
		t.Fatalf("%v allocations for ten records and a flush", n)
	}
	if l.Mark() != i {
		t.Fatalf("%d of %d are on the disk", l.Mark(), i)
	}
}

// TestTransientBytes: what is counted as in memory only goes back to nothing, whatever was done.
func TestTransientBytes(t *testing.T) {
	d := &instant{}
	l := New(Config{Memory: Heap{}, Disk: d, SegmentBytes: 1 << 30})
	l.Prepare(1)
	d.finish()
	var refs []Ref
	for i := range 3000 {
		ref := put(t, l, Index(i+1), make([]byte, 3000+i%2*200000), Class(i%3%2))
		l.Retain(ref, 1)
		refs = append(refs, ref)
		l.Sync(1, true)
		d.finish()
	}
	if s := l.Stats(); s.TransientBytes == 0 || s.TransientBytes >= s.UsedBytes {
		t.Fatalf("%d of %d bytes are in memory only", s.TransientBytes, s.UsedBytes)
	}
	for _, ref := range refs {
		l.Drop(ref)
	}
	d.finish()
	if s := l.Stats(); s.TransientBytes > ExtentBytes {
		t.Fatalf("%d bytes are left that are in memory only", s.TransientBytes)
	}
}
