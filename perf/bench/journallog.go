package main

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// logDriver owns a journal on a directory, as a broker's engine does.
type logDriver struct {
	log    *journal.Log
	disk   *disk.Disk
	memory *disk.Pool
	epoch  time.Time

	mu   sync.Mutex
	done []*journal.Op
	wake chan struct{}

	took      []*journal.Op
	under     int   // bytes being written
	underMost int   // as many may be
	runs      int64 // written so far
	flushes   int64
	index     journal.Index
	begun     bool // a checkpoint
}

// pooledBytes is what the log may keep of freed memory: as much as is being written.
const pooledBytes = 16 << 20

// Start counts what the log has done.
func (d *logDriver) Start(op *journal.Op) {
	if op.Kind == journal.OpWrite {
		d.under += len(op.Data)
		d.runs++
	}
	d.disk.Start(op)
}

func openLog(dir string, memory int64) (*logDriver, error) {
	d := &logDriver{memory: disk.NewPool(pooledBytes), epoch: time.Now(), wake: make(chan struct{}, 1), underMost: 2 * disk.DefaultDepth * (256 << 10)}
	var err error
	if d.disk, err = disk.Open(dir, disk.Options{Done: d.ended}); err != nil {
		return nil, err
	}
	d.log = journal.New(journal.Config{Memory: d.memory, Disk: d, Files: d.disk, Store: journal.UUID{1}, MemoryBytes: memory})
	return d, nil
}

func (d *logDriver) ended(op *journal.Op) {
	d.mu.Lock()
	d.done = append(d.done, op)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// collect takes back what has been done; if nothing has, it may wait.
func (d *logDriver) collect(wait bool) error {
	for {
		d.mu.Lock()
		d.took, d.done = d.done, d.took[:0]
		d.mu.Unlock()
		if len(d.took) > 0 || !wait {
			break
		}
		<-d.wake
	}
	for _, op := range d.took {
		switch op.Kind {
		case journal.OpWrite:
			d.under -= len(op.Data)
		case journal.OpFlush:
			d.flushes++
		}
		op.Finish()
	}
	if len(d.took) > 0 {
		d.log.Prepare(time.Since(d.epoch))
		d.log.Evict()
	}
	return errors.Join(d.log.Failed(), d.log.Tight())
}

// start recovers what there is, and makes the first files.
func (d *logDriver) start(o journal.Owner) (journal.Recovered, error) {
	r, err := d.log.Recover(o)
	if err != nil {
		return r, err
	}
	d.log.SetCluster(journal.UUID{2})
	d.log.Prepare(0)
	return r, nil
}

// append appends one message, and waits if too much is being written already.
func (d *logDriver) append(body []byte) (journal.Ref, error) {
	for d.under > d.underMost {
		if err := d.collect(true); err != nil {
			return journal.Ref{}, err
		}
	}
	s, err := d.log.Begin(len(body), journal.Durable)
	if err != nil {
		return journal.Ref{}, err
	}
	copy(s.Bytes(), body)
	d.index++
	return d.log.Commit(s, 1, d.index), nil
}

// sync waits until all that was appended is on the disk.
func (d *logDriver) sync() error {
	for d.log.Mark() < d.index {
		d.log.Sync(time.Now().UnixMilli(), true)
		if err := d.collect(true); err != nil {
			return err
		}
	}
	return nil
}

func (d *logDriver) checkpoint() {
	if d.log.CheckpointDue() {
		d.log.BeginCheckpoint()
		d.log.EndCheckpoint()
	}
}

// fill appends messages that nobody keeps until so many bytes have been written.
func (d *logDriver) fill(size int, bytes int64) error {
	body := make([]byte, size)
	for from := d.log.Stats().WrittenBytes; d.log.Stats().WrittenBytes-from < bytes; {
		ref, err := d.append(body)
		if err != nil {
			return err
		}
		d.log.Settled(ref)
		d.checkpoint()
	}
	return d.sync()
}

// logFigures are what was measured of a log.
type logFigures struct {
	Size           int     `json:"size_bytes"`
	PerSecond      float64 `json:"messages_per_s"`
	BytesPerSecond float64 `json:"written_bytes_per_s"`
	RunBytes       int64   `json:"mean_run_bytes"`
	CPU            float64 `json:"cpu_us_per_message"`
	Allocations    float64 `json:"allocations_per_message"`
	Amplification  float64 `json:"written_bytes_per_byte"`
	FlushesPerS    float64 `json:"flushes_per_s"`
}

// measure appends messages in groups for a while. With a group of n each n messages are waited
// for until they are on the disk, as n publishers do that have one message each under way; with
// none they are appended as fast as the disk takes them.
func (d *logDriver) measure(size, group int, during time.Duration) (f logFigures, err error) {
	body := make([]byte, size)
	before, runs, flushes := d.log.Stats(), d.runs, d.flushes
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	cpu, began := processTime(), time.Now()
	for n := 1; ; n++ {
		ref, err := d.append(body)
		if err != nil {
			return f, err
		}
		d.log.Settled(ref)
		d.checkpoint()
		if group > 0 && n%group == 0 {
			if err := d.sync(); err != nil {
				return f, err
			}
		}
		if n%16 == 0 || group > 0 {
			if err := d.collect(false); err != nil {
				return f, err
			}
			if time.Since(began) > during {
				break
			}
		}
	}
	if err := d.sync(); err != nil {
		return f, err
	}
	seconds := time.Since(began).Seconds()
	used := processTime() - cpu
	runtime.ReadMemStats(&m1)
	after := d.log.Stats()
	messages, written := float64(after.Records-before.Records), float64(after.WrittenBytes-before.WrittenBytes)
	return logFigures{Size: size, PerSecond: messages / seconds, BytesPerSecond: written / seconds,
		RunBytes: int64(written) / max(1, d.runs-runs), CPU: float64(used.Microseconds()) / messages,
		Allocations:   float64(m1.Mallocs-m0.Mallocs) / messages,
		Amplification: written / float64(after.Appended-before.Appended),
		FlushesPerS:   float64(d.flushes-flushes) / seconds}, nil
}

func (d *logDriver) close() error {
	err := d.disk.Close()
	d.log.Close()
	d.memory.Close()
	return err
}

// processTime is the CPU that this process has used.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
