package testdisk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testBytes = 64 << 20

func newDisk(t *testing.T) *Disk {
	t.Helper()
	if os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip("needs root: QPIDD_PRIVILEGED=1")
	}
	if err := Missing(); err != nil {
		if os.Getenv("QPIDD_CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	d, err := New(t.TempDir(), testBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// use opens the device, past the kernel's own cache.
func use(t *testing.T, d *Disk, do func(f *os.File)) {
	t.Helper()
	f, err := os.OpenFile(d.Device(), os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	do(f)
}

// blocks is n blocks of one byte, where direct I/O wants them.
func blocks(t *testing.T, n int, c byte) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n*blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	for i := range b {
		b[i] = c
	}
	return b
}

// TestPower: what was flushed is there after the power was gone; what was not is there, lost or torn.
func TestPower(t *testing.T) {
	d := newDisk(t)
	const many = 256
	use(t, d, func(f *os.File) {
		for c, at := range []int64{0, many * blockBytes} {
			if _, err := f.WriteAt(blocks(t, many, byte(c+1)), at); err != nil {
				t.Fatal(err)
			}
			if c == 0 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.CutPower(rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(blocks(t, 1, 0), 0); !errors.Is(err, unix.EIO) {
			t.Errorf("without power a read gives %v", err)
		}
	})
	if err := d.Detach(); err != nil {
		t.Fatal(err)
	}
	d.Restore()
	if err := d.Attach(); err != nil {
		t.Fatal(err)
	}
	use(t, d, func(f *os.File) {
		got := blocks(t, 2*many, 9)
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:many*blockBytes], bytes.Repeat([]byte{1}, many*blockBytes)) {
			t.Error("what was flushed is not there")
		}
		whole, lost, torn := 0, 0, 0
		for at := many * blockBytes; at < len(got); at += blockBytes {
			switch n := bytes.Count(got[at:at+blockBytes], []byte{2}); n {
			case blockBytes:
				whole++
			case 0:
				lost++
			default:
				torn++
			}
		}
		if whole == 0 || lost == 0 || torn == 0 {
			t.Errorf("of what was not flushed %d blocks are whole, %d lost, %d torn", whole, lost, torn)
		}
	})
}

// TestFailures: flushes and writes fail when they are to, and flushes take as long as they are to.
func TestFailures(t *testing.T) {
	d := newDisk(t)
	use(t, d, func(f *os.File) {
		b := blocks(t, 1, 7)
		flush := func() error {
			if _, err := f.WriteAt(b, 0); err != nil {
				return err
			}
			return f.Sync()
		}
		d.FailFlushes(true)
		if err := flush(); !errors.Is(err, unix.EIO) {
			t.Errorf("a flush that is to fail: %v", err)
		}
		d.FailFlushes(false)
		d.FailWrites(true)
		if err := flush(); !errors.Is(err, unix.EIO) {
			t.Errorf("a write that is to fail: %v", err)
		}
		d.FailWrites(false)
		const takes = 50 * time.Millisecond
		d.FlushTakes(takes)
		was, began := d.Flushes(), time.Now()
		if err := flush(); err != nil || time.Since(began) < takes {
			t.Errorf("a slow flush took %v: %v", time.Since(began), err)
		}
		if d.Flushes() == was {
			t.Error("no flush has come to the disk")
		}
	})
}
