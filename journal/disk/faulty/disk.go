package faulty

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// What operations fail with.
var (
	ErrNoSpace = errors.New("no space left on the device (injected)")
	ErrIO      = fmt.Errorf("input/output error (injected): %w", journal.ErrBroken)
	ErrMissing = errors.New("no such file")
	ErrExists  = errors.New("the file exists")
)

// Rand decides; *rand.Rand of math/rand/v2 and *Every are some.
type Rand interface {
	IntN(n int) int
}

// Tearing tells what may be left of a write that was not flushed.
type Tearing uint8

// Kinds of tearing, from what is usual to all there is.
const (
	TearSectors Tearing = iota // any sectors, or whole, or a beginning
	TearPrefix                 // its first sectors: 0 to all
	TearNone                   // whole or nothing
)

// Options say how the disk behaves.
type Options struct {
	Rand     Rand
	Done     func(*journal.Op)
	InOrder  bool // operations are done in the order they were started in
	Tearing  Tearing
	Capacity int64 // bytes of all files; 0 is no bound
}

// Disk is a journal.Disk and its journal.Files.
type Disk struct {
	o       Options
	files   map[string]*file
	waiting []*task
	started int // operations ever
	steps   int
	failAt  int
	failAs  error
	loseAt  int
	err     error // of the write or flush that failed
}

// task is an operation that has been started.
type task struct {
	op     *journal.Op
	sum    uint32 // of what is to be written
	serial int
}

// New is an empty disk.
func New(o Options) *Disk { return &Disk{o: o, files: map[string]*file{}} }

// SetCapacity changes how many bytes all files may have; 0 is no bound.
func (d *Disk) SetCapacity(bytes int64) { d.o.Capacity = bytes }

// Fail has the n-th operation fail that is started from now on.
func (d *Disk) Fail(n int, err error) { d.failAt, d.failAs = d.started+n, err }

// Lose has the n-th operation that is started from now on, if it is a write, come to nothing.
func (d *Disk) Lose(n int) { d.loseAt = d.started + n }

// Started counts the operations ever started, Steps those done.
func (d *Disk) Started() int { return d.started }

// Steps counts the operations done.
func (d *Disk) Steps() int { return d.steps }

// Waiting counts the operations that have been started and not done.
func (d *Disk) Waiting() int { return len(d.waiting) }

// Start takes note of an operation.
func (d *Disk) Start(op *journal.Op) {
	d.started++
	op.Err = nil
	t := &task{op: op, serial: d.started}
	if op.Kind == journal.OpWrite {
		d.check(op)
		t.sum = crc32.ChecksumIEEE(op.Data)
	}
	if op.Kind == journal.OpAppend {
		t.sum = crc32.ChecksumIEEE(op.Data)
	}
	d.waiting = append(d.waiting, t)
}

// check panics if a write is started that must not be.
func (d *Disk) check(op *journal.Op) {
	if op.Offset%journal.BlockBytes != 0 || len(op.Data)%journal.BlockBytes != 0 || len(op.Data) == 0 {
		panic(fmt.Sprintf("faulty: write of %d bytes at %d of %s is not of whole blocks", len(op.Data), op.Offset, op.File))
	}
	for _, t := range d.waiting {
		o := t.op
		if o.File != op.File {
			continue
		}
		switch {
		case o.Kind == journal.OpCreate || o.Kind == journal.OpRemove:
			panic(fmt.Sprintf("faulty: %s is written to while it is being made or removed", op.File))
		case o.Kind == journal.OpWrite && o.Offset < op.Offset+int64(len(op.Data)) && op.Offset < o.Offset+int64(len(o.Data)):
			panic(fmt.Sprintf("faulty: two writes of what is at %d of %s are under way", max(o.Offset, op.Offset), op.File))
		}
	}
}

// choose is Rand's choice, where there is any.
func (d *Disk) choose(n int) int {
	if n < 2 {
		return 0
	}
	return d.o.Rand.IntN(n)
}

// Step does one of the operations that may be done next, and gives it to Done. It returns false if
// none is waiting.
func (d *Disk) Step() bool {
	if len(d.waiting) == 0 {
		return false
	}
	var may []int
	for i := range d.waiting {
		if d.ready(i) {
			may = append(may, i)
			if d.o.InOrder {
				break
			}
		}
	}
	i := may[d.choose(len(may))]
	t := d.waiting[i]
	d.waiting = slices.Delete(d.waiting, i, i+1)
	d.steps++
	t.op.Err = d.do(t)
	d.o.Done(t.op)
	return true
}

// Run does what is waiting, and what Done starts.
func (d *Disk) Run() {
	for d.Step() {
	}
}

// ready tells whether the i-th of those waiting may be done next. Operations of the same kind, but
// reads and writes, are done in their order: package disk has one goroutine for each.
func (d *Disk) ready(i int) bool {
	for _, before := range d.waiting[:i] {
		if lane(before.op.Kind) == lane(d.waiting[i].op.Kind) && lane(before.op.Kind) != laneAny {
			return false
		}
		if d.waiting[i].op.Kind == journal.OpFlush && before.op.Kind == journal.OpWrite {
			return false
		}
	}
	return true
}

const (
	laneAny = iota
	laneFlush
	laneCreate
	laneAppend
)

func lane(k journal.OpKind) int {
	switch k {
	case journal.OpFlush:
		return laneFlush
	case journal.OpCreate:
		return laneCreate
	case journal.OpAppend, journal.OpCommit, journal.OpRemove:
		return laneAppend
	}
	return laneAny
}

// do does an operation, or has it fail.
func (d *Disk) do(t *task) error {
	op := t.op
	var injected error
	if t.serial == d.failAt {
		injected = d.failAs
	}
	switch op.Kind {
	case journal.OpCreate:
		return d.create(op, injected)
	case journal.OpWrite:
		return d.write(t, injected)
	case journal.OpFlush:
		return d.flush(injected)
	case journal.OpRead:
		return d.read(op, injected)
	case journal.OpAppend:
		return d.append(t, injected)
	case journal.OpCommit:
		return d.commit(op, injected)
	case journal.OpRemove:
		return d.remove(op, injected)
	}
	panic(fmt.Sprintf("faulty: operation of kind %d", op.Kind))
}

func (d *Disk) wrap(what, name string, err error) error {
	return fmt.Errorf("cannot %s %s: %w", what, name, err)
}

// room tells whether n more bytes fit.
func (d *Disk) room(n int64) bool {
	if d.o.Capacity == 0 {
		return true
	}
	for _, f := range d.files {
		n += f.now.size
	}
	return n <= d.o.Capacity
}

func (d *Disk) create(op *journal.Op, injected error) error {
	switch {
	case injected != nil:
		return d.wrap("reserve space for", op.File, injected)
	case d.files[op.File] != nil:
		return d.wrap("make", op.File, ErrExists)
	case !d.room(op.Size):
		return d.wrap("reserve space for", op.File, ErrNoSpace)
	}
	d.files[op.File] = &file{now: image{size: op.Size}, stable: image{size: op.Size}, lasting: true}
	return nil
}

func (d *Disk) write(t *task, injected error) error {
	op := t.op
	t.mustBeSame()
	f := d.files[op.File]
	switch {
	case d.err != nil:
		return d.err
	case f == nil:
		d.err = d.wrap("write to", op.File, ErrMissing)
		return d.err
	case op.Offset+int64(len(op.Data)) > f.now.size:
		panic(fmt.Sprintf("faulty: write of %d bytes at %d of %s, which has %d", len(op.Data), op.Offset, op.File, f.now.size))
	case injected != nil:
		f.write(write{op.Offset, d.torn(op.Data, f.now.read(op.Offset, len(op.Data)))})
		d.err = d.wrap("write to", op.File, injected)
		return d.err
	case t.serial == d.loseAt:
		return nil
	}
	f.write(write{op.Offset, slices.Clone(op.Data)})
	return nil
}

func (t *task) mustBeSame() {
	if crc32.ChecksumIEEE(t.op.Data) != t.sum {
		panic(fmt.Sprintf("faulty: what is to be written at %d of %s has changed meanwhile", t.op.Offset, t.op.File))
	}
}

// flush makes all segments' writes stable that have been done. If it fails the file system may
// have forgotten what was to be written.
func (d *Disk) flush(injected error) error {
	if d.err == nil && injected != nil {
		d.err = fmt.Errorf("cannot flush: %w", injected)
		for _, name := range d.names() {
			if f := d.files[name]; f.lasting {
				f.lose(d)
			}
		}
	}
	if d.err != nil {
		return d.err
	}
	for _, f := range d.files {
		if f.lasting {
			f.settle()
		}
	}
	return nil
}

func (d *Disk) read(op *journal.Op, injected error) error {
	if injected != nil {
		return d.wrap("read", op.File, injected)
	}
	n, err := d.ReadAt(op.File, op.Data, op.Offset)
	if n < len(op.Data) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return d.wrap("read", op.File, err)
	}
	return nil
}

func (d *Disk) append(t *task, injected error) error {
	op := t.op
	t.mustBeSame()
	f := d.files[op.File]
	if op.Offset == 0 && (f == nil || f.now.size > 0 || f.failed != nil) {
		f = &file{}
		d.files[op.File] = f
	}
	switch {
	case f == nil:
		return d.wrap("append to", op.File, ErrMissing)
	case f.failed != nil:
		return f.failed
	case injected != nil:
		n := d.choose(len(op.Data) + 1)
		f.write(write{op.Offset, slices.Clone(op.Data[:n])})
		f.failed = d.wrap("append to", op.File, injected)
		return f.failed
	case !d.room(max(0, op.Offset+int64(len(op.Data))-f.now.size)):
		f.failed = d.wrap("append to", op.File, ErrNoSpace)
		return f.failed
	}
	f.write(write{op.Offset, slices.Clone(op.Data)})
	return nil
}

func (d *Disk) commit(op *journal.Op, injected error) error {
	f := d.files[op.File]
	if f == nil {
		return d.wrap("commit", op.File, ErrMissing)
	}
	if f.failed != nil {
		delete(d.files, op.File)
		return f.failed
	}
	if injected != nil {
		return d.wrap("commit", op.File, injected)
	}
	d.rename(f, op.File, op.To)
	return nil
}

func (d *Disk) rename(f *file, from, to string) {
	f.settle()
	f.lasting = true
	delete(d.files, from)
	d.files[to] = f
}

func (d *Disk) remove(op *journal.Op, injected error) error {
	switch {
	case injected != nil:
		return d.wrap("remove", op.File, injected)
	case d.files[op.File] == nil:
		return d.wrap("remove", op.File, ErrMissing)
	}
	delete(d.files, op.File)
	return nil
}

// names are the files' in their order, so that choices about them are made in one.
func (d *Disk) names() (list []string) {
	for name := range d.files {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// List tells the files and their sizes, in the order of their names.
func (d *Disk) List() (list []journal.FileInfo, err error) {
	for _, name := range d.names() {
		list = append(list, journal.FileInfo{Name: name, Size: d.files[name].now.size})
	}
	return list, nil
}

// ReadAt reads what has been written.
func (d *Disk) ReadAt(name string, b []byte, offset int64) (int, error) {
	f := d.files[name]
	if f == nil {
		return 0, d.wrap("read", name, ErrMissing)
	}
	n := min(int64(len(b)), max(0, f.now.size-offset))
	copy(b, f.now.read(offset, int(n)))
	if n < int64(len(b)) {
		return int(n), io.EOF
	}
	return int(n), nil
}
