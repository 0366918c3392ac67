package disk

import (
	"fmt"
	"io"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Limits of what one call writes: runs that lie one behind the other in the file and were
// waiting, as small ones do while all writers are busy.
const (
	vectorCount = 64
	vectorBytes = 1 << 20
)

// writer writes and flushes. All of it is guarded by Disk.mu.
type writer struct {
	d       *Disk
	wake    sync.Cond
	queue   fifo[*journal.Op] // writes that nobody has begun, in their order
	started uint64            // writes so far; the last in queue has this number
	busy    []uint64          // for each worker the number of the first write it is at, or 0
	flushes fifo[flush]       // that nobody has begun
	group   []*journal.Op     // flushes that are being done, in one
	dirty   []*file           // what they flush; of the worker that does, while there is a group
	err     error             // what a write or a flush ended with: there will be no other
}

// flush waits for the writes up to a number.
type flush struct {
	op    *journal.Op
	after uint64
}

func (w *writer) init(d *Disk, depth int) {
	w.d = d
	w.wake.L = &d.mu
	w.busy = make([]uint64, depth)
	for i := range depth {
		d.running.Go(func() { w.work(i) })
	}
}

func (w *writer) start(op *journal.Op) {
	w.d.mu.Lock()
	w.d.mustBeOpen()
	w.started++
	w.queue.push(op)
	w.wake.Signal()
	w.d.mu.Unlock()
}

func (w *writer) startFlush(op *journal.Op) {
	w.d.mu.Lock()
	w.d.mustBeOpen()
	w.flushes.push(flush{op, w.started})
	if w.flushReady() { // else whoever does the last of its writes goes on with it
		w.wake.Signal()
	}
	w.d.mu.Unlock()
}

// oldest is the number of the first write that has not been done.
func (w *writer) oldest() uint64 {
	n := w.started - uint64(w.queue.len()) + 1
	for _, b := range w.busy {
		if b != 0 && b < n {
			n = b
		}
	}
	return n
}

func (w *writer) flushReady() bool {
	return len(w.group) == 0 && w.flushes.len() > 0 && w.flushes.at(0).after < w.oldest()
}

// work is the life of worker i.
func (w *writer) work(i int) {
	v := &vector{}
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	for {
		switch {
		case w.flushReady():
			w.flush(v)
		case w.queue.len() > 0:
			w.write(i, v)
		case w.d.closed && w.flushes.len() == 0 && w.oldest() > w.started:
			w.wake.Broadcast() // the others, which may have seen more to do
			return
		default:
			w.wake.Wait()
		}
	}
}

// flush does all flushes whose writes have been done, and tells of the writes in v before it tells
// of them. The lock is held, but not meanwhile; those started meanwhile gather.
func (w *writer) flush(v *vector) {
	oldest := w.oldest()
	for w.flushes.len() > 0 && w.flushes.at(0).after < oldest {
		w.group = append(w.group, w.flushes.pop().op)
	}
	w.dirty = w.d.files.takeDirty(w.dirty[:0])
	if w.queue.len() > 0 {
		w.wake.Signal() // the worker who was woken for it may be this one
	}
	err := w.err
	w.d.mu.Unlock()
	for _, f := range w.dirty {
		if err == nil {
			err = fdatasync(f.fd)
			err = w.d.wrap("flush", f.name, err)
		}
	}
	w.d.mu.Lock()
	w.fail(err)
	for _, f := range w.dirty {
		f.uses--
	}
	group := w.group
	w.d.mu.Unlock()
	v.tell(w.d.done)
	for _, op := range group {
		op.Err = err
		w.d.done(op)
	}
	w.d.mu.Lock()
	w.group = w.group[:0]
	if w.d.closed {
		w.wake.Broadcast()
	}
}

func (w *writer) fail(err error) {
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("%w; nothing more is written: restart the broker when the disk is well again, it recovers what was flushed", err)
	}
}

// write does the first of the writes that wait, and those that follow it in the file. The lock is
// held, but not meanwhile.
func (w *writer) write(i int, v *vector) {
	first := w.started - uint64(w.queue.len()) + 1
	w.busy[i] = first
	v.take(&w.queue)
	v.err = w.err
	var f *file
	if v.err == nil {
		f, v.err = w.d.files.get(w.d, v.ops[0].File)
	}
	w.d.mu.Unlock()
	if v.err == nil {
		v.err = w.d.wrap("write to", f.name, v.write(f.fd))
	}
	w.d.mu.Lock()
	w.fail(v.err)
	if f != nil {
		f.dirty = true
		f.uses--
	}
	// A flush that has waited for these alone is done at once, and the owner told of both
	// together: to wake it up twice would take a fifth of the time that a lone publisher waits.
	if w.busy[i] = 0; w.flushReady() {
		w.flush(v)
		return
	}
	// Any other flush of these waits until the owner has been told of them.
	w.busy[i] = first
	w.d.mu.Unlock()
	v.tell(w.d.done)
	w.d.mu.Lock()
	w.busy[i] = 0
	if w.d.closed {
		w.wake.Broadcast()
	}
}

// vector is what one call writes.
type vector struct {
	err    error // how it ended
	ops    [vectorCount]*journal.Op
	pieces [vectorCount]unix.Iovec
	n      int
	bytes  int
	offset int64
}

// tell gives the operations to their owner, once.
func (v *vector) tell(done func(*journal.Op)) {
	for k, op := range v.ops[:v.n] {
		op.Err = v.err
		v.ops[k] = nil
		done(op)
	}
	v.n = 0
}

// take takes the first write of a queue and those that join it.
func (v *vector) take(q *fifo[*journal.Op]) {
	v.n, v.bytes, v.offset = 0, 0, q.at(0).Offset
	for q.len() > 0 && v.n < vectorCount && (v.n == 0 || v.joins(q.at(0))) {
		op := q.pop()
		v.ops[v.n] = op
		v.pieces[v.n].Base = unsafe.SliceData(op.Data)
		v.pieces[v.n].SetLen(len(op.Data))
		v.bytes += len(op.Data)
		v.n++
	}
}

// joins tells whether op begins in the file where what was taken ends.
func (v *vector) joins(op *journal.Op) bool {
	return op.File == v.ops[0].File && op.Offset == v.offset+int64(v.bytes) && v.bytes+len(op.Data) <= vectorBytes
}

// write writes all of it.
func (v *vector) write(fd int) error {
	pieces, offset := v.pieces[:v.n], v.offset
	for len(pieces) > 0 {
		n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&pieces[0])), uintptr(len(pieces)),
			uintptr(offset), uintptr(offset>>32), 0)
		switch {
		case errno == unix.EINTR || errno == unix.EAGAIN:
			continue
		case errno != 0:
			return errno
		case n == 0:
			return io.ErrShortWrite
		}
		offset += int64(n)
		pieces = rest(pieces, n)
	}
	return nil
}

// rest is what remains of pieces after n bytes.
func rest(pieces []unix.Iovec, n uintptr) []unix.Iovec {
	for len(pieces) > 0 && n >= uintptr(pieces[0].Len) {
		n -= uintptr(pieces[0].Len)
		pieces = pieces[1:]
	}
	if n > 0 {
		pieces[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(pieces[0].Base), n))
		pieces[0].SetLen(int(uintptr(pieces[0].Len) - n))
	}
	return pieces
}

// again repeats a call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func fdatasync(fd int) error { return again(func() error { return unix.Fdatasync(fd) }) }
