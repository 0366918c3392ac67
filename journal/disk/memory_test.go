package disk

import (
	"testing"
	"unsafe"
)

func TestPool(t *testing.T) {
	const limit = 1 << 20
	p := NewPool(limit)
	defer p.Close()
	take := func(n int) []byte {
		t.Helper()
		b, err := p.Alloc(n)
		if err != nil || len(b) != n || uintptr(unsafe.Pointer(&b[0]))%4096 != 0 {
			t.Fatalf("%d bytes for %d: %v", len(b), n, err)
		}
		b[0], b[n-1] = 1, 1
		return b
	}
	a := take(260 << 10)
	p.Free(a)
	if b := take(258 << 10); &b[0] != &a[0] {
		t.Error("what was freed is not used again")
	} else {
		p.Free(b)
	}
	var all [][]byte
	for _, n := range []int{1, 4096, 4097, 100000, 1<<20 + 1, 5 << 20, 1 << 20} {
		for range 20 {
			all = append(all, take(n))
		}
	}
	for _, b := range all {
		p.Free(b)
	}
	if p.kept > limit || p.kept < limit/2 {
		t.Errorf("%d bytes are kept, %d may be", p.kept, limit)
	}
	// What is used now pushes out what was, of whatever size.
	b := take(100 << 10)
	p.Free(b)
	if c := take(100 << 10); &c[0] != &b[0] {
		t.Error("what was freed last is not used again")
	} else {
		p.Free(c)
	}
}

func TestClassesAreClose(t *testing.T) {
	for n := 1; n < 64<<20; n += 1 + n/7 {
		c := class(n)
		if c < n || c%4096 != 0 || c-n > max(4095, n/8) || class(c) != c {
			t.Errorf("%d bytes are taken for %d", c, n)
		}
	}
}

func TestPoolDoesNotAllocate(t *testing.T) {
	p := NewPool(1 << 20)
	defer p.Close()
	if n := testing.AllocsPerRun(100, func() {
		b, err := p.Alloc(100000)
		if err != nil {
			t.Fatal(err)
		}
		p.Free(b)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
