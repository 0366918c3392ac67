package testdisk

import (
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	blockBytes  = 4096
	sectorBytes = 512
)

type block [blockBytes]byte

// cache is the disk as the file system sees it: a file, and what is to be written to it.
type cache struct {
	flush sync.Mutex // one at a time

	mu       sync.Mutex
	file     *os.File
	dirty    map[int64]*block // by number
	flushing map[int64]*block // by the flush under way
	takes    time.Duration    // a flush
	noFlush  bool
	noWrite  bool
	off      bool
	flushes  int
}

func newCache(file *os.File) *cache {
	return &cache{file: file, dirty: map[int64]*block{}, flushing: map[int64]*block{}}
}

// state is an error if the disk does not do it.
func (c *cache) state(broken bool) syscall.Errno {
	if c.off || broken {
		return syscall.EIO
	}
	return 0
}

func (c *cache) read(b []byte, offset int64) syscall.Errno {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errno := c.state(false); errno != 0 {
		return errno
	}
	if _, err := c.file.ReadAt(b, offset); err != nil {
		return syscall.EIO
	}
	for n := offset / blockBytes; n*blockBytes < offset+int64(len(b)); n++ {
		if k := c.cached(n); k != nil {
			from := max(offset, n*blockBytes)
			copy(b[from-offset:], k[from-n*blockBytes:])
		}
	}
	return 0
}

func (c *cache) cached(n int64) *block {
	if k := c.dirty[n]; k != nil {
		return k
	}
	return c.flushing[n]
}

func (c *cache) write(b []byte, offset int64) syscall.Errno {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errno := c.state(c.noWrite); errno != 0 {
		return errno
	}
	for len(b) > 0 {
		n, at := offset/blockBytes, offset%blockBytes
		k := c.dirty[n]
		if k == nil {
			k = new(block)
			if at != 0 || len(b) < blockBytes {
				if old := c.flushing[n]; old != nil {
					*k = *old
				} else if _, err := c.file.ReadAt(k[:], n*blockBytes); err != nil {
					return syscall.EIO
				}
			}
			c.dirty[n] = k
		}
		done := copy(k[at:], b)
		b, offset = b[done:], offset+int64(done)
	}
	return 0
}

// sync is a flush. One that fails leaves what it was for in the cache, as a disk may, and tells of it once.
func (c *cache) sync() syscall.Errno {
	c.flush.Lock()
	defer c.flush.Unlock()
	c.mu.Lock()
	if errno := c.state(c.noFlush); errno != 0 {
		c.mu.Unlock()
		return errno
	}
	c.dirty, c.flushing = c.flushing, c.dirty
	takes := c.takes
	c.mu.Unlock()
	if takes > 0 {
		time.Sleep(takes)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if errno := c.state(false); errno != 0 {
		return errno
	}
	if err := c.settle(); err != nil {
		return syscall.EIO
	}
	c.flushes++
	return 0
}

// settle writes what is being flushed: neighbours in one go.
func (c *cache) settle() error {
	numbers := make([]int64, 0, len(c.flushing))
	for n := range c.flushing {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var run []byte
	for i, n := range numbers {
		run = append(run, c.flushing[n][:]...)
		if i+1 < len(numbers) && numbers[i+1] == n+1 {
			continue
		}
		if _, err := c.file.WriteAt(run, (n+1)*blockBytes-int64(len(run))); err != nil {
			return err
		}
		run = run[:0]
	}
	clear(c.flushing)
	return nil
}

// cut turns the disk off. Of what was not flushed some is there: whole blocks, or some sectors of one.
func (c *cache) cut(r *rand.Rand) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	for _, list := range []map[int64]*block{c.flushing, c.dirty} {
		for n, k := range list {
			switch r.IntN(4) {
			case 0:
			case 1: // torn
				at := int64(r.IntN(blockBytes/sectorBytes)) * sectorBytes
				if _, err := c.file.WriteAt(k[at:], n*blockBytes+at); err != nil {
					return err
				}
			default:
				if _, err := c.file.WriteAt(k[:], n*blockBytes); err != nil {
					return err
				}
			}
		}
		clear(list)
	}
	return nil
}
