package privileged

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// journalVolume has room for some segments besides what a test takes away; xfs is made from 300 MiB on.
const journalVolume = 1 << 30

// queue is a journal on a disk, and the messages in it.
type queue struct {
	t    testing.TB
	disk *disk.Disk
	log  *journal.Log
	ends chan *journal.Op
	refs map[journal.Index]journal.Ref
	last journal.Index
	now  time.Duration
	done bool

	under int // operations
}

// Start counts what is under way.
func (q *queue) Start(op *journal.Op) {
	q.under++
	q.disk.Start(op)
}

func openQueue(t testing.TB, v *harness.Volume) *queue {
	t.Helper()
	q := &queue{t: t, ends: make(chan *journal.Op, 4096), refs: map[journal.Index]journal.Ref{}}
	var err error
	if q.disk, err = disk.Open(filepath.Join(v.Dir, "journal"), disk.Options{Done: func(op *journal.Op) { q.ends <- op }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close) // before its volume goes
	q.log = journal.New(journal.Config{Memory: disk.Memory{}, Disk: q, Files: q.disk, Store: journal.UUID{1}, MemoryBytes: 64 << 20})
	if _, err := q.log.Recover(q); err != nil {
		t.Fatal(err)
	}
	q.last = q.log.Mark()
	q.log.Prepare(q.now)
	for q.under > 0 && q.log.Tight() == nil { // nothing is promised before there is a place for it
		q.collect()
	}
	return q
}

// body is what message i has in it.
func body(i journal.Index) []byte {
	return binary.LittleEndian.AppendUint64(bytes.Repeat([]byte{byte(i)}, 16<<10), uint64(i))
}

// Restore, Replay, Moved and Settle take over what was recovered.
func (q *queue) Restore([]byte, int64) error       { return nil }
func (q *queue) Moved(journal.Record, journal.Ref) {}
func (q *queue) Settle()                           {}

func (q *queue) Replay(r journal.Record, ref journal.Ref, _ int64) error {
	if !bytes.Equal(r.Entry, body(r.Index)) {
		return fmt.Errorf("message %d is not what was published", r.Index)
	}
	q.log.Retain(ref, 1)
	q.refs[r.Index] = ref
	return nil
}

// collect takes back what has been done.
func (q *queue) collect() {
	for q.under > 0 {
		(<-q.ends).Finish()
		if q.under--; len(q.ends) == 0 {
			break
		}
	}
	q.now += time.Second // as long as what failed waits to be tried again
	q.log.Prepare(q.now)
	q.log.Evict()
}

// publish appends messages and waits until they are on the disk, until the journal cannot promise
// any more, or has failed.
func (q *queue) publish(n int) {
	q.t.Helper()
	for range n {
		if q.log.Tight() != nil || q.log.Failed() != nil {
			return
		}
		b := body(q.last + 1)
		s, err := q.log.Begin(len(b), journal.Durable)
		if err != nil {
			q.t.Fatal(err)
		}
		copy(s.Bytes(), b)
		q.last++
		ref := q.log.Commit(s, 1, q.last)
		q.log.Retain(ref, 1)
		q.refs[q.last] = ref
	}
	for q.log.Mark() < q.last && q.log.Failed() == nil {
		q.log.Sync(1, true)
		q.collect()
	}
}

func (q *queue) close() {
	if q.done {
		return
	}
	q.done = true
	if err := q.disk.Close(); err != nil {
		q.t.Log(err) // the file system may be gone
	}
	for len(q.ends) > 0 {
		(<-q.ends).Finish()
	}
	q.log.Close()
}

// TestJournalFillsItsVolume fills a file system to the last block while a journal is appended to.
// What is acknowledged is there, it goes on when there is room, and recovers.
func TestJournalFillsItsVolume(t *testing.T) {
	for _, kind := range harness.FileSystems {
		t.Run(kind, func(t *testing.T) {
			v := harness.NewVolume(t, kind, journalVolume)
			s, err := store.Open(v.Dir, false, func(b []byte) { b[0] = 1 })
			if err != nil {
				t.Fatal(err)
			}
			q := openQueue(t, v)
			t.Log(q.disk.Describe())
			q.publish(10)
			v.Fill(80 << 20) // room for one more segment, if any
			for q.log.Tight() == nil {
				q.publish(100)
			}
			if err := q.log.Tight(); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room") {
				t.Errorf("a full disk: %v", err)
			}
			v.Fill(0)
			s.Cluster, s.Clean = journal.UUID{3}, true
			if err := s.Save(); err != nil {
				t.Error(err)
			}
			if found, err := store.Show(v.Dir); err != nil || *found != s.Identity {
				t.Errorf("a full disk: %+v, %v", found, err)
			}
			full := q.last
			// What is ordered already has room in the segments that are there.
			q.close()
			q = openQueue(t, v)
			if q.last != full || len(q.refs) != int(full) {
				t.Fatalf("%d messages of %d were recovered from a full disk", len(q.refs), full)
			}
			for q.log.Tight() == nil {
				q.publish(100)
			}
			full = q.last
			v.Relieve()
			harness.Eventually(t, 10*time.Second, "the journal goes on", func() error {
				q.now += time.Second
				q.log.Prepare(q.now)
				q.collect()
				return q.log.Tight()
			})
			q.publish(1000)
			if q.last != full+1000 || q.log.Failed() != nil {
				t.Fatalf("%d messages after there was room again: %v, %v", q.last-full, q.log.Tight(), q.log.Failed())
			}
			q.close()
			v.Unmount()
			v.Mount()
			q = openQueue(t, v)
			if q.last != full+1000 {
				t.Errorf("%d messages of %d were recovered", q.last, full+1000)
			}
		})
	}
}

// TestJournalLosesItsVolume has the file system fail under load. The journal says so and why, and
// everything that it had acknowledged is recovered when the file system works again.
func TestJournalLosesItsVolume(t *testing.T) {
	for _, kind := range harness.FileSystems {
		t.Run(kind, func(t *testing.T) {
			v := harness.NewVolume(t, kind, journalVolume)
			for round := range journal.Index(5) {
				q := openQueue(t, v)
				before := q.last
				for q.last < before+50+37*round {
					q.publish(7)
				}
				sure := q.log.Mark()
				v.Shutdown()
				q.publish(50)
				err := q.log.Failed()
				if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), v.Dir) || !strings.Contains(err.Error(), "dmesg") {
					t.Fatalf("round %d: the disk is gone: %v", round, err)
				}
				q.close()
				v.Unmount()
				v.Mount()
				q = openQueue(t, v)
				if q.last < sure {
					t.Fatalf("round %d: %d messages were recovered, %d were acknowledged", round, q.last, sure)
				}
				q.publish(5)
				if q.log.Failed() != nil {
					t.Fatal(q.log.Failed())
				}
				q.close()
			}
		})
	}
}
