package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an open directory, and waits for what was started.
type rig struct {
	*Disk
	t    testing.TB
	ends chan *journal.Op
}

func open(t testing.TB, dir string, depth int) *rig {
	t.Helper()
	r := &rig{t: t, ends: make(chan *journal.Op, 4096)}
	var err error
	r.Disk, err = Open(dir, Options{Depth: depth, Done: func(op *journal.Op) { r.ends <- op }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// try does one operation.
func (r *rig) try(op journal.Op) error {
	r.t.Helper()
	r.Start(&op)
	if got := <-r.ends; got != &op {
		r.t.Fatalf("operation %d of %s was done in place of %d of %s", got.Kind, got.File, op.Kind, op.File)
	}
	return op.Err
}

func (r *rig) must(op journal.Op) {
	r.t.Helper()
	if err := r.try(op); err != nil {
		r.t.Fatal(err)
	}
}

// pages is memory as the journal's: of whole pages.
func pages(t testing.TB, n int) []byte {
	t.Helper()
	b, err := Memory{}.Alloc(n * journal.BlockBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Memory{}.Free(b) })
	return b
}

func fill(b []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// onEach runs a test on each file system that a test can write to.
func onEach(t *testing.T, test func(t *testing.T, dir string)) {
	for name, dir := range map[string]string{"temporary": t.TempDir(), "memory": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			if name == "memory" {
				var st unix.Statfs_t
				if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
					t.Skipf("there is no tmpfs in %s", dir)
				}
				d, err := os.MkdirTemp(dir, "journal")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(d) })
				dir = d
			}
			test(t, filepath.Join(dir, "journal"))
		})
	}
}

func TestWrittenIsRead(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		r := open(t, dir, 4)
		t.Log(r.Describe())
		const size = 64 * journal.BlockBytes
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: size})
		want := fill(pages(t, 64), 1)
		var ops []*journal.Op
		for at := 0; at < size; {
			n := min(size-at, (1+rand.IntN(5))*journal.BlockBytes)
			ops = append(ops, &journal.Op{Kind: journal.OpWrite, File: "a", Offset: int64(at), Data: want[at : at+n]})
			at += n
		}
		rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
		for _, op := range ops {
			r.Start(op)
		}
		r.Start(&journal.Op{Kind: journal.OpFlush})
		for range len(ops) + 1 {
			if op := <-r.ends; op.Err != nil {
				t.Fatal(op.Err)
			}
		}
		got := pages(t, 64)
		r.must(journal.Op{Kind: journal.OpRead, File: "a", Data: got})
		if !bytes.Equal(got, want) {
			t.Error("what is read by blocks differs from what was written")
		}
		some := make([]byte, 1001)
		r.must(journal.Op{Kind: journal.OpRead, File: "a", Offset: 4095, Data: some})
		if !bytes.Equal(some, want[4095:4095+1001]) {
			t.Error("what is read in between differs from what was written")
		}
		if n, err := r.ReadAt("a", some, size-10); n != 10 || err == nil || !bytes.Equal(some[:n], want[size-10:]) {
			t.Errorf("read %d bytes at the end: %v", n, err)
		}
		if err := r.try(journal.Op{Kind: journal.OpRead, File: "a", Offset: size - 10, Data: some}); err == nil {
			t.Error("a read beyond the end is no error")
		}
	})
}

// TestFlushesComeAfterTheirWrites: when a flush is done, so is every write started before it, and
// whatever many start at a time is done.
func TestFlushesComeAfterTheirWrites(t *testing.T) {
	for _, depth := range []int{1, 3, DefaultDepth} {
		type state struct {
			writes int // started before
			serial int
		}
		var mu sync.Mutex
		about := map[*journal.Op]state{}
		done := map[int]bool{}
		doneTo, left := 0, 0
		finished := make(chan struct{})
		d, err := Open(t.TempDir(), Options{Depth: depth, Done: func(op *journal.Op) {
			mu.Lock()
			defer mu.Unlock()
			if op.Err != nil {
				t.Error(op.Err)
			}
			s := about[op]
			switch op.Kind {
			case journal.OpWrite:
				done[s.serial] = true
				for done[doneTo+1] {
					doneTo++
				}
			case journal.OpFlush:
				if doneTo < s.writes {
					t.Errorf("depth %d: a flush after %d writes is done when %d are", depth, s.writes, doneTo)
				}
			}
			if left--; left == 0 {
				close(finished)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		b := pages(t, 4)
		left = 1
		d.Start(&journal.Op{Kind: journal.OpCreate, File: "a", Size: 4096 * journal.BlockBytes})
		<-finished
		finished = make(chan struct{})
		var ops []*journal.Op
		writes := 0
		for range 2000 {
			if rand.IntN(4) == 0 {
				op := &journal.Op{Kind: journal.OpFlush}
				about[op] = state{writes: writes}
				ops = append(ops, op)
				continue
			}
			writes++
			op := &journal.Op{Kind: journal.OpWrite, File: "a", Offset: int64(writes) * journal.BlockBytes,
				Data: b[:(1+rand.IntN(4))*journal.BlockBytes]}
			about[op] = state{serial: writes}
			ops = append(ops, op)
		}
		left = len(ops)
		for _, op := range ops {
			d.Start(op)
		}
		<-finished
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseDoesWhatWasStarted: each operation comes back before Close returns.
func TestCloseDoesWhatWasStarted(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	ended := 0
	d, err := Open(dir, Options{Done: func(op *journal.Op) {
		mu.Lock()
		ended++
		mu.Unlock()
	}})
	if err != nil {
		t.Fatal(err)
	}
	b := pages(t, 1)
	const n = 300
	for i := range n {
		d.Start(&journal.Op{Kind: journal.OpCreate, File: fmt.Sprint(i), Size: journal.BlockBytes})
		d.Start(&journal.Op{Kind: journal.OpWrite, File: "none", Data: b})
		d.Start(&journal.Op{Kind: journal.OpFlush})
		d.Start(&journal.Op{Kind: journal.OpRead, File: "none", Data: b})
		d.Start(&journal.Op{Kind: journal.OpAppend, File: "c", Offset: int64(i), Data: []byte("x")})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if ended != 5*n {
		t.Errorf("%d of %d operations came back", ended, 5*n)
	}
	if list, err := List(dir); err != nil || len(list) != n+1 {
		t.Errorf("%d files, %v", len(list), err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an operation may be started after Close")
		}
	}()
	d.Start(&journal.Op{Kind: journal.OpFlush})
}

func TestCreate(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		r := open(t, dir, 0)
		const size = 3<<20 + 5*journal.BlockBytes
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: size})
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "a"), &st); err != nil || st.Size != size || st.Blocks*512 < size {
			t.Errorf("%d bytes, %d of them reserved: %v", st.Size, st.Blocks*512, err)
		}
		if err := r.try(journal.Op{Kind: journal.OpCreate, File: "a", Size: size}); !errors.Is(err, unix.EEXIST) {
			t.Errorf("made again: %v", err)
		}
		// More than there is anywhere, and less than ext4 has files of.
		err := r.try(journal.Op{Kind: journal.OpCreate, File: "b", Size: 8 << 40})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "b")) || !strings.Contains(err.Error(), "make room") {
			t.Errorf("a file of 8 TiB: %v", err)
		}
		all, err := os.ReadDir(dir)
		if err != nil || len(all) != 1 {
			t.Errorf("%d files are there: %v", len(all), err)
		}
		r.must(journal.Op{Kind: journal.OpCreate, File: "b", Size: size})
		if list, err := r.List(); err != nil || len(list) != 2 || list[1] != (journal.FileInfo{Name: "b", Size: size}) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

func TestUnfinishedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a" + unfinishedSuffix, "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, 0)
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 1 || all[0].Name() != "b" {
		t.Errorf("%v, %v", all, err)
	}
}

func TestAppendAndCommit(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 0)
	for round, text := range []string{"first, and long", "second"} {
		for at := range len(text) {
			r.must(journal.Op{Kind: journal.OpAppend, File: "new", Offset: int64(at), Data: []byte(text[at : at+1])})
		}
		r.must(journal.Op{Kind: journal.OpCommit, File: "new", To: "checkpoint"})
		b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil || string(b) != text {
			t.Errorf("round %d: %q, %v", round, b, err)
		}
	}
	if list, err := r.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := r.try(journal.Op{Kind: journal.OpCommit, File: "new", To: "checkpoint"}); err == nil {
		t.Error("nothing can be committed")
	}
	r.must(journal.Op{Kind: journal.OpAppend, File: "new", Data: []byte("given up")})
	r.must(journal.Op{Kind: journal.OpRemove, File: "new"})
	r.must(journal.Op{Kind: journal.OpRemove, File: "checkpoint"})
	if list, err := r.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := r.try(journal.Op{Kind: journal.OpRemove, File: "checkpoint"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removed again: %v", err)
	}
}

// TestNothingIsCommittedAfterAFailure: of a file that could not be appended to nothing takes the
// place of another, though the commit was started at once.
func TestNothingIsCommittedAfterAFailure(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 0)
	r.must(journal.Op{Kind: journal.OpAppend, File: "new", Data: []byte("first")})
	r.must(journal.Op{Kind: journal.OpCommit, File: "new", To: "kept"})
	r.must(journal.Op{Kind: journal.OpAppend, File: "new", Data: []byte("second")})
	// No file is so long.
	if err := r.try(journal.Op{Kind: journal.OpAppend, File: "new", Offset: 1 << 62, Data: []byte("more")}); err == nil {
		t.Fatal("the append did not fail")
	}
	if err := r.try(journal.Op{Kind: journal.OpAppend, File: "new", Offset: 6, Data: []byte("more")}); err == nil {
		t.Error("something is appended behind what failed")
	}
	if err := r.try(journal.Op{Kind: journal.OpCommit, File: "new", To: "kept"}); err == nil {
		t.Error("it is committed")
	}
	b, err := os.ReadFile(filepath.Join(dir, "kept"))
	if err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	r.must(journal.Op{Kind: journal.OpAppend, File: "new", Data: []byte("third")})
	r.must(journal.Op{Kind: journal.OpCommit, File: "new", To: "kept"})
}

// TestNothingIsWrittenAfterAFailure: after a write that failed no flush succeeds.
func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	r := open(t, t.TempDir(), 0)
	b := pages(t, 1)
	r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: journal.BlockBytes})
	r.must(journal.Op{Kind: journal.OpFlush})
	err := r.try(journal.Op{Kind: journal.OpWrite, File: "b", Data: b})
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "somebody has removed it") {
		t.Errorf("a write to nothing: %v", err)
	}
	for _, op := range []journal.Op{{Kind: journal.OpFlush}, {Kind: journal.OpWrite, File: "a", Data: b}, {Kind: journal.OpFlush}} {
		if err := r.try(op); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "nothing more is written") {
			t.Errorf("operation %d after it: %v", op.Kind, err)
		}
	}
	r.must(journal.Op{Kind: journal.OpRead, File: "a", Data: b})
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, 0)
	o := Options{Done: func(*journal.Op) {}}
	if d, err := Open(dir, o); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("opened twice: %v, %v", d, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyFiles: what is open is bounded, and what was closed is opened again.
func TestManyFiles(t *testing.T) {
	r := open(t, t.TempDir(), 0)
	b := pages(t, 1)
	for i := range 2 * openLimit {
		name := fmt.Sprint(i)
		r.must(journal.Op{Kind: journal.OpCreate, File: name, Size: journal.BlockBytes})
		b[0] = byte(i)
		r.must(journal.Op{Kind: journal.OpWrite, File: name, Data: b})
		r.must(journal.Op{Kind: journal.OpFlush})
	}
	for i := range 2 * openLimit {
		r.must(journal.Op{Kind: journal.OpRead, File: fmt.Sprint(i), Data: b})
		if b[0] != byte(i) {
			t.Errorf("file %d has %d in it", i, b[0])
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.files.open); n != openLimit {
		t.Errorf("%d files are open, %d should be", n, openLimit)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	ends := make(chan struct{}, 64)
	d, err := Open(t.TempDir(), Options{Done: func(op *journal.Op) {
		if op.Err != nil {
			t.Error(op.Err)
		}
		ends <- struct{}{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := pages(t, 16)
	d.Start(&journal.Op{Kind: journal.OpCreate, File: "a", Size: 64 * journal.BlockBytes})
	<-ends
	ops := make([]journal.Op, 0, 64)
	for i := range 16 {
		ops = append(ops, journal.Op{Kind: journal.OpWrite, File: "a", Offset: int64(i) * journal.BlockBytes, Data: b[i*journal.BlockBytes:][:journal.BlockBytes]},
			journal.Op{Kind: journal.OpFlush})
	}
	ops = append(ops, journal.Op{Kind: journal.OpRead, File: "a", Data: b}, journal.Op{Kind: journal.OpRead, File: "a", Offset: 1, Data: b[1:]})
	if n := testing.AllocsPerRun(50, func() {
		for i := range ops {
			d.Start(&ops[i])
		}
		for range ops {
			<-ends
		}
	}); n > 0 {
		t.Errorf("%v allocations for %d operations", n, len(ops))
	}
}

func TestRest(t *testing.T) {
	b := fill(make([]byte, 30), 3)
	for n := range uintptr(31) {
		pieces := make([]unix.Iovec, 3)
		for i := range pieces {
			pieces[i].Base = &b[10*i]
			pieces[i].SetLen(10)
		}
		left := 0
		for _, p := range rest(pieces, n) {
			left += int(p.Len)
		}
		if left != 30-int(n) {
			t.Errorf("after %d of 30 bytes %d remain", n, left)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Done: func(*journal.Op) {}, Depth: -1}, {Done: func(*journal.Op) {}, Depth: maxDepth + 1}} {
		if d, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("%+v: %v", o, d)
		}
	}
}
