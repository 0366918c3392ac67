package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// DefaultDepth is how many writes are in flight at most. A run is a MiB at most, and a device
// that needs more than eight of those to be busy is not known to us.
const DefaultDepth = 8

// maxDepth bounds Options.Depth: each is a thread while it writes.
const maxDepth = 64

// readerCount is how many reads are in flight at most.
const readerCount = 4

// Options say how a directory is used.
type Options struct {
	// Done is given each operation that has been done, with its error in it.
	Done func(*journal.Op)
	// Depth is how many writes are in flight at most; 0 is DefaultDepth.
	Depth int
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.Done == nil:
		return fmt.Errorf("disk: no Done: nobody would learn what has been done")
	case o.Depth < 0 || o.Depth > maxDepth:
		return fmt.Errorf("disk: depth %d: 1 to %d writes can be in flight, 0 is the default of %d", o.Depth, maxDepth, DefaultDepth)
	}
	return nil
}

// Disk is a journal.Disk, and the journal.Files, of one directory.
type Disk struct {
	dir    string
	handle *os.File // of the directory: locked, and flushed when names change
	done   func(*journal.Op)
	kind   fileSystem
	zeros  []byte // to fill new files with

	mu     sync.Mutex // guards files, and all in writer, and closed
	files  files
	writer writer
	closed bool

	reader   lane
	creator  lane
	appender lane
	appends  map[string]*appended // of the appender alone
	running  sync.WaitGroup
}

// Open makes the directory if there is none, locks it, and finds out what its file system can do.
func Open(dir string, o Options) (*Disk, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Depth == 0 {
		o.Depth = DefaultDepth
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the journal's directory: %w; give another --store-dir, or the right to write there", err)
	}
	d := &Disk{dir: dir, done: o.Done, appends: map[string]*appended{}}
	d.files = files{open: map[string]*file{}}
	var err error
	if d.handle, err = Lock(dir); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		d.handle.Close()
		return nil, err
	}
	d.writer.init(d, o.Depth)
	d.reader.init(d, readerCount, d.read)
	d.creator.init(d, 1, d.create)
	d.appender.init(d, 1, d.append)
	return d, nil
}

// prepare removes what was left half made, and tries the file system.
func (d *Disk) prepare() (err error) {
	left, err := filepath.Glob(filepath.Join(d.dir, "*"+unfinishedSuffix))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("cannot remove a file that was never finished: %w", err)
		}
	}
	if d.zeros, err = (Memory{}).Alloc(zeroBytes); err != nil {
		return fmt.Errorf("cannot get memory: %w", err)
	}
	d.kind, err = probe(d.dir, d.zeros[:journal.BlockBytes])
	clear(d.zeros[:journal.BlockBytes]) // where it may have read something
	if err != nil {
		Memory{}.Free(d.zeros)
	}
	return err
}

// lockPatience is how long a lock is waited for. A process that was killed is gone for its parent
// before the kernel has ended its writes and closed its files.
const lockPatience = time.Second

// Lock takes a journal's directory for oneself until the file is closed, by whoever opened it or
// by the kernel if the process ends.
func Lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal's directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for end := time.Now().Add(lockPatience); err == unix.EWOULDBLOCK && time.Now().Before(end); {
		time.Sleep(lockPatience / 100)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("journal %s is in use: %w; stop the broker that uses it, or give each a directory of its own", dir, err)
		}
		return nil, fmt.Errorf("cannot lock journal %s: %w", dir, err)
	}
	return f, nil
}

// Describe says in a line how the directory is written to.
func (d *Disk) Describe() string {
	return fmt.Sprintf("journal in %s: %s", d.dir, d.kind.describe(len(d.writer.busy)))
}

// Start takes note of an operation. It may be called from any goroutine, but not after Close.
func (d *Disk) Start(op *journal.Op) {
	op.Err = nil
	switch op.Kind {
	case journal.OpWrite:
		if op.Offset%journal.BlockBytes != 0 || len(op.Data)%journal.BlockBytes != 0 || len(op.Data) == 0 {
			panic(fmt.Sprintf("disk: write of %d bytes at %d of %s is not of whole blocks", len(op.Data), op.Offset, op.File))
		}
		d.writer.start(op)
	case journal.OpFlush:
		d.writer.startFlush(op)
	case journal.OpRead:
		d.reader.start(op)
	case journal.OpCreate:
		d.creator.start(op)
	case journal.OpAppend, journal.OpCommit, journal.OpRemove:
		d.appender.start(op)
	default:
		panic(fmt.Sprintf("disk: operation of kind %d", op.Kind))
	}
}

// Close does what has been started, ends the goroutines, and unlocks the directory.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.writer.wake.Broadcast()
	for _, l := range []*lane{&d.reader, &d.creator, &d.appender} {
		l.wake.Broadcast()
	}
	d.mu.Unlock()
	d.running.Wait()
	err := d.files.closeAll()
	for name, f := range d.appends {
		if e := unix.Close(f.fd); err == nil && e != nil {
			err = d.wrap("close", name, e)
		}
	}
	Memory{}.Free(d.zeros)
	if e := d.handle.Close(); err == nil {
		err = e
	}
	return err
}

// lane is a queue of operations, and who does them.
type lane struct {
	d    *Disk
	wake sync.Cond
	ops  fifo[*journal.Op]
	do   func(*journal.Op) error
}

func (l *lane) init(d *Disk, n int, do func(*journal.Op) error) {
	l.d, l.do = d, do
	l.wake.L = &d.mu
	for range n {
		d.running.Go(l.work)
	}
}

func (l *lane) start(op *journal.Op) {
	l.d.mu.Lock()
	l.d.mustBeOpen()
	l.ops.push(op)
	l.wake.Signal()
	l.d.mu.Unlock()
}

func (l *lane) work() {
	for {
		l.d.mu.Lock()
		for l.ops.len() == 0 && !l.d.closed {
			l.wake.Wait()
		}
		if l.ops.len() == 0 {
			l.d.mu.Unlock()
			return
		}
		op := l.ops.pop()
		l.d.mu.Unlock()
		op.Err = l.do(op)
		l.d.done(op)
	}
}

func (d *Disk) mustBeOpen() {
	if d.closed {
		d.mu.Unlock()
		panic("disk: an operation was started after Close")
	}
}
