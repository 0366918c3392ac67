package faulty

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

const block = journal.BlockBytes

// rig is a disk, and what it has done.
type rig struct {
	*Disk
	t    testing.TB
	done []*journal.Op
}

func newRig(t testing.TB, o Options) *rig {
	r := &rig{t: t}
	o.Done = func(op *journal.Op) { r.done = append(r.done, op) }
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(1, 2))
	}
	r.Disk = New(o)
	return r
}

func (r *rig) must(op journal.Op) {
	r.t.Helper()
	if err := r.try(op); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) try(op journal.Op) error {
	r.Start(&op)
	r.Run()
	return op.Err
}

// read is all of a file, or nil.
func (r *rig) read(name string) []byte { return read(r.Disk, name) }

func read(d *Disk, name string) []byte {
	list, _ := d.List()
	i := slices.IndexFunc(list, func(f journal.FileInfo) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	b := make([]byte, list[i].Size)
	if _, err := d.ReadAt(name, b, 0); err != nil && err != io.EOF {
		panic(err)
	}
	return b
}

func of(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func TestFlushedStaysAndTheRestMay(t *testing.T) {
	lost, whole, torn := 0, 0, 0
	for seed := range uint64(200) {
		r := newRig(t, Options{Rand: rand.New(rand.NewPCG(seed, 0))})
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: 8 * block})
		r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('f', 2*block)})
		r.must(journal.Op{Kind: journal.OpFlush})
		r.must(journal.Op{Kind: journal.OpWrite, File: "a", Offset: block, Data: of('w', 2*block)})
		r.Start(&journal.Op{Kind: journal.OpWrite, File: "a", Offset: 4 * block, Data: of('s', block)})
		r.Start(&journal.Op{Kind: journal.OpFlush})
		r.Crash()
		if r.Step() {
			t.Fatal("something is done after the crash")
		}
		b := r.read("a")
		if len(b) != 8*block || !bytes.Equal(b[:block], of('f', block)) {
			t.Fatalf("seed %d: what was flushed is not there", seed)
		}
		for at := 0; at < len(b); at += sectorBytes {
			was, may := byte('f'), byte('w')
			switch {
			case at >= 5*block || at >= 3*block && at < 4*block:
				was, may = 0, 0
			case at >= 4*block:
				was, may = 0, 's'
			case at >= 2*block:
				was = 0
			case at < block:
				may = 'f'
			}
			if s := b[at : at+sectorBytes]; !bytes.Equal(s, of(was, sectorBytes)) && !bytes.Equal(s, of(may, sectorBytes)) {
				t.Fatalf("seed %d: the sector at %d is neither old nor new: %q…", seed, at, s[:8])
			}
		}
		switch n := bytes.Count(b, []byte("w")); n {
		case 0:
			lost++
		case 2 * block:
			whole++
		default:
			torn++
		}
	}
	if lost < 20 || whole < 20 || torn < 20 {
		t.Errorf("of 200 writes %d were lost, %d whole, %d torn", lost, whole, torn)
	}
}

// TestOrder: writes are done in any order, flushes after the writes before them, and the rest one
// after the other.
func TestOrder(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(300) {
		r := newRig(t, Options{Rand: rand.New(rand.NewPCG(seed, 0))})
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: 8 * block})
		r.done = nil
		var ops []*journal.Op
		for i := range 3 {
			ops = append(ops, &journal.Op{Kind: journal.OpWrite, File: "a", Offset: int64(i * block), Data: of('x', block)})
		}
		ops = append(ops, &journal.Op{Kind: journal.OpFlush},
			&journal.Op{Kind: journal.OpWrite, File: "a", Offset: 3 * block, Data: of('x', block)},
			&journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("1")},
			&journal.Op{Kind: journal.OpCommit, File: "n", To: "m"})
		for _, op := range ops {
			r.Start(op)
		}
		r.Run()
		var order strings.Builder
		place := make([]int, len(ops))
		for k, op := range r.done {
			i := slices.Index(ops, op)
			place[i] = k
			fmt.Fprint(&order, i)
		}
		orders[order.String()] = true
		if place[3] < max(place[0], place[1], place[2]) || place[6] < place[5] {
			t.Fatalf("seed %d: done in the order %s", seed, &order)
		}
	}
	if len(orders) < 100 {
		t.Errorf("only %d orders in 300 runs", len(orders))
	}
}

// outcomes runs something with every choice there is, and counts how it ends.
func outcomes(t *testing.T, o Options, run func(*rig) string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for e := new(Every); ; {
		o.Rand = e
		all[run(newRig(t, o))]++
		if !e.Next() {
			return all
		}
	}
}

func TestEveryCrash(t *testing.T) {
	create := journal.Op{Kind: journal.OpCreate, File: "a", Size: block}
	for _, c := range []struct {
		name    string
		tearing Tearing
		run     func(*rig)
		want    int
	}{
		{"create", TearSectors, func(r *rig) { r.Start(&create) }, 2},
		{"write", TearNone, func(r *rig) {
			r.must(create)
			r.Start(&journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
		}, 2},
		{"prefix", TearPrefix, func(r *rig) {
			r.must(create)
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
		}, 9},
		{"sectors", TearSectors, func(r *rig) {
			r.must(create)
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
		}, 256},
		{"over one another", TearNone, func(r *rig) {
			r.must(create)
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('y', block)})
		}, 3},
		{"append", TearNone, func(r *rig) {
			r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("12")})
		}, 6}, // no file, an empty one, 1 or 2 bytes, each written or zero
		{"commit", TearNone, func(r *rig) {
			r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("12")})
			r.must(journal.Op{Kind: journal.OpCommit, File: "n", To: "c"})
			r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("3")})
			r.Start(&journal.Op{Kind: journal.OpCommit, File: "n", To: "c"})
		}, 5}, // the new one; or the old one, and of n as above
		{"remove", TearNone, func(r *rig) {
			r.must(create)
			r.Start(&journal.Op{Kind: journal.OpRemove, File: "a"})
		}, 2},
		{"nothing", TearSectors, func(r *rig) {
			r.must(create)
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
			r.must(journal.Op{Kind: journal.OpFlush})
		}, 1},
	} {
		got := outcomes(t, Options{Tearing: c.tearing, InOrder: true}, func(r *rig) string {
			c.run(r)
			r.Crash()
			var text strings.Builder
			list, _ := r.List()
			for _, f := range list {
				fmt.Fprintf(&text, "%s:%q ", f.Name, r.read(f.Name))
			}
			return text.String()
		})
		if c.name == "append" || c.name == "commit" {
			for text := range got {
				if strings.Contains(text, `c:"1"`) || strings.Contains(text, `c:""`) {
					t.Errorf("%s: half a commit: %s", c.name, text)
				}
			}
		}
		if len(got) != c.want {
			t.Errorf("%s: %d outcomes, want %d: %v", c.name, len(got), c.want, got)
		}
	}
}

func TestEveryGoesThroughAll(t *testing.T) {
	seen := map[string]int{}
	for e := new(Every); ; {
		a := e.IntN(2)
		s := fmt.Sprint(a)
		if a == 1 {
			s += fmt.Sprint(e.IntN(3), e.IntN(2))
		}
		seen[s]++
		if !e.Next() {
			break
		}
	}
	if len(seen) != 7 {
		t.Errorf("%v", seen)
	}
	for s, n := range seen {
		if n != 1 {
			t.Errorf("%s: %d times", s, n)
		}
	}
}

// TestFailures: the n-th operation fails, as it would on a real disk.
func TestFailures(t *testing.T) {
	write := journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)}
	for _, c := range []struct {
		op    journal.Op
		err   error
		final bool
	}{
		{journal.Op{Kind: journal.OpCreate, File: "b", Size: block}, ErrNoSpace, false},
		{write, ErrIO, true},
		{write, ErrNoSpace, true},
		{journal.Op{Kind: journal.OpFlush}, ErrIO, true},
		{journal.Op{Kind: journal.OpRead, File: "a", Data: make([]byte, block)}, ErrIO, false},
		{journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("more")}, ErrNoSpace, false},
		{journal.Op{Kind: journal.OpCommit, File: "n", To: "c"}, ErrIO, false},
		{journal.Op{Kind: journal.OpRemove, File: "a"}, ErrIO, false},
	} {
		r := newRig(t, Options{})
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: block})
		r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("12")})
		r.must(write)
		r.Fail(2, c.err)
		r.must(journal.Op{Kind: journal.OpRead, File: "a", Data: make([]byte, block)})
		if err := r.try(c.op); !errors.Is(err, c.err) {
			t.Errorf("operation %d: %v, want %v", c.op.Kind, err, c.err)
		}
		if err := r.try(journal.Op{Kind: journal.OpFlush}); (err != nil) != c.final {
			t.Errorf("a flush after operation %d failed: %v", c.op.Kind, err)
		}
		if err := r.try(write); (err != nil) != c.final {
			t.Errorf("a write after operation %d failed: %v", c.op.Kind, err)
		}
		list, _ := r.List()
		if len(list) != 2 || list[0].Name != "a" || list[1].Name != "n" {
			t.Errorf("after operation %d failed: %v", c.op.Kind, list)
		}
		r.Crash()
		r.must(journal.Op{Kind: journal.OpFlush})
	}
}

// TestAFailedAppend: of what could not be appended to nothing is committed.
func TestAFailedAppend(t *testing.T) {
	r := newRig(t, Options{})
	r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("1")})
	r.must(journal.Op{Kind: journal.OpCommit, File: "n", To: "c"})
	r.Fail(1, ErrNoSpace)
	for _, op := range []journal.Op{{Kind: journal.OpAppend, File: "n", Data: []byte("2")},
		{Kind: journal.OpAppend, File: "n", Offset: 1, Data: []byte("3")}, {Kind: journal.OpCommit, File: "n", To: "c"}} {
		if err := r.try(op); !errors.Is(err, ErrNoSpace) {
			t.Errorf("operation %d: %v", op.Kind, err)
		}
	}
	if got := string(r.read("c")); got != "1" || r.read("n") != nil {
		t.Errorf("%q is committed", got)
	}
	r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: []byte("4")})
	r.must(journal.Op{Kind: journal.OpCommit, File: "n", To: "c"})
}

// TestAFailedFlushForgets: what it was to flush may be gone at once.
func TestAFailedFlushForgets(t *testing.T) {
	got := outcomes(t, Options{Tearing: TearNone}, func(r *rig) string {
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: block})
		r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
		r.Fail(1, ErrIO)
		if r.try(journal.Op{Kind: journal.OpFlush}) == nil {
			t.Error("the flush did not fail")
		}
		return string(r.read("a")[:1])
	})
	if len(got) != 2 {
		t.Errorf("%d outcomes", len(got))
	}
}

func TestCapacity(t *testing.T) {
	r := newRig(t, Options{Capacity: 4 * block})
	r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: 3 * block})
	if err := r.try(journal.Op{Kind: journal.OpCreate, File: "b", Size: 2 * block}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("made: %v", err)
	}
	if err := r.try(journal.Op{Kind: journal.OpAppend, File: "n", Data: of('x', block+1)}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("appended: %v", err)
	}
	r.SetCapacity(5 * block)
	r.must(journal.Op{Kind: journal.OpCreate, File: "b", Size: 2 * block})
	r.must(journal.Op{Kind: journal.OpRemove, File: "a"})
	r.must(journal.Op{Kind: journal.OpAppend, File: "n", Data: of('x', block+1)})
}

func TestDamage(t *testing.T) {
	r := newRig(t, Options{})
	r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: 2 * block})
	r.Lose(2)
	r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
	r.must(journal.Op{Kind: journal.OpWrite, File: "a", Offset: block, Data: of('y', block)})
	r.must(journal.Op{Kind: journal.OpFlush})
	r.Flip("a", 5, 0x81)
	want := append(of('x', block), of(0, block)...)
	want[5] ^= 0x81
	if !bytes.Equal(r.read("a"), want) {
		t.Error("one write is to be lost, and two bits changed")
	}
	r.Crash()
	if !bytes.Equal(r.read("a"), want) {
		t.Error("it is not the same after a crash")
	}
	r.Truncate("a", block+1)
	if !bytes.Equal(r.read("a"), want[:block+1]) {
		t.Error("the file was not cut")
	}
	r.Delete("a")
	if r.read("a") != nil {
		t.Error("the file was not removed")
	}
}

func TestClone(t *testing.T) {
	r := newRig(t, Options{})
	r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: block})
	r.must(journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block)})
	r.Start(&journal.Op{Kind: journal.OpFlush})
	lost := false
	for seed := range uint64(20) {
		c := r.Clone(Options{Rand: rand.New(rand.NewPCG(seed, 0)), Tearing: TearNone})
		c.Crash()
		lost = lost || read(c, "a")[0] == 0
	}
	if !lost {
		t.Error("no copy has lost what was not flushed")
	}
	r.Run()
	r.Crash()
	if !bytes.Equal(r.read("a"), of('x', block)) {
		t.Error("the original has lost what was flushed")
	}
}

// TestSameSeedSameDisk: everything follows from the choices.
func TestSameSeedSameDisk(t *testing.T) {
	life := func() string {
		r := newRig(t, Options{Rand: rand.New(rand.NewPCG(7, 7))})
		for i := range 5 {
			r.must(journal.Op{Kind: journal.OpCreate, File: fmt.Sprint(i), Size: 8 * block})
		}
		for i := range 40 {
			r.Start(&journal.Op{Kind: journal.OpWrite, File: fmt.Sprint(i % 5), Offset: int64(i/5) * block, Data: of(byte(i), block)})
		}
		for range 25 {
			r.Step()
		}
		r.Crash()
		var all strings.Builder
		for i := range 5 {
			all.Write(r.read(fmt.Sprint(i)))
		}
		return all.String()
	}
	first := life()
	for range 5 {
		if life() != first {
			t.Fatal("the same seed gave another disk")
		}
	}
}

func TestTheContractIsInsistedOn(t *testing.T) {
	data := of('x', block)
	write := &journal.Op{Kind: journal.OpWrite, File: "a", Data: data}
	for name, breach := range map[string]func(*rig){
		"half a block": func(r *rig) { r.Start(&journal.Op{Kind: journal.OpWrite, File: "a", Data: of('x', block/2)}) },
		"changed meanwhile": func(r *rig) {
			r.Start(write)
			data[7] = 'y'
			r.Run()
		},
		"two at a time": func(r *rig) {
			r.Start(write)
			r.Start(&journal.Op{Kind: journal.OpWrite, File: "a", Data: of('y', 2*block)})
		},
		"not yet made": func(r *rig) {
			r.Start(&journal.Op{Kind: journal.OpCreate, File: "b", Size: block})
			r.Start(&journal.Op{Kind: journal.OpWrite, File: "b", Data: of('y', block)})
		},
		"beyond the end": func(r *rig) {
			r.must(journal.Op{Kind: journal.OpWrite, File: "a", Offset: 8 * block, Data: of('y', block)})
		},
	} {
		r := newRig(t, Options{})
		r.must(journal.Op{Kind: journal.OpCreate, File: "a", Size: 4 * block})
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: nobody minds", name)
				}
			}()
			breach(r)
		}()
	}
}
