package journal_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// spilling is a log that is given more transient records than it may have in memory.
type spilling struct {
	t    *testing.T
	log  *journal.Log
	disk *faulty.Disk
	rand *rand.Rand
	now  time.Duration
	have map[journal.Index]journal.Ref
	next journal.Index
}

const spillLimit = 8 << 20

func newSpilling(t *testing.T, seed uint64) *spilling {
	s := &spilling{t: t, rand: rand.New(rand.NewPCG(seed, 3)), have: map[journal.Index]journal.Ref{}}
	s.disk = faulty.New(faulty.Options{Rand: s.rand, Done: finish})
	s.begin()
	return s
}

func (s *spilling) begin() {
	s.log = journal.New(journal.Config{Memory: journal.Heap{}, Disk: s.disk, Files: s.disk, Store: journal.UUID{1},
		SegmentBytes: smallSegment, CheckpointBytes: smallCheckpoint, MemoryBytes: spillLimit})
	if _, err := s.log.Recover(&keeper{t: s.t, log: s.log, have: map[journal.Index]journal.Ref{}}); err != nil {
		s.t.Fatal(err)
	}
	s.turn()
}

func (s *spilling) turn() {
	s.now += 100 * time.Millisecond
	s.log.Prepare(s.now)
	s.log.Evict()
	s.disk.Run()
}

func (s *spilling) put() {
	s.t.Helper()
	n := 1 + s.rand.IntN(60_000)
	if s.rand.IntN(50) == 0 {
		n = 1 + s.rand.IntN(3<<20)
	}
	s.next++
	sp, err := s.log.Begin(n, journal.Transient)
	if err != nil {
		s.t.Fatal(err)
	}
	copy(sp.Bytes(), s.entry(s.next, n))
	ref := s.log.Commit(sp, 1, s.next)
	s.log.Retain(ref, 1)
	s.log.Settled(ref)
	s.have[s.next] = ref
}

func (s *spilling) entry(i journal.Index, n int) []byte {
	text := fmt.Sprintf("%d ", i)
	return bytes.Repeat([]byte(text), n/len(text)+1)[:n]
}

// take fetches a record, compares it, and lets go of it.
func (s *spilling) take(i journal.Index) {
	s.t.Helper()
	ref := s.have[i]
	for tries := 0; !s.log.Resident(ref); tries++ {
		if tries > 3 {
			s.t.Fatalf("record %d does not come back: %v", i, s.log.Failed())
		}
		s.log.Fetch(ref)
		s.disk.Run()
	}
	if !bytes.Equal(s.log.Bytes(ref), s.entry(i, int(ref.Length))) {
		s.t.Fatalf("record %d has changed", i)
	}
	s.log.Drop(ref)
	delete(s.have, i)
}

func (s *spilling) oldest() journal.Index {
	var list []journal.Index
	for i := range s.have {
		list = append(list, i)
	}
	return slices.Min(list)
}

func (s *spilling) files() (list []string) {
	all, err := s.disk.List()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range all {
		if strings.HasPrefix(f.Name, journal.SpillPrefix) {
			list = append(list, f.Name)
		}
	}
	return list
}

// TestSpill puts and takes many times what may be in memory: little more than that is, every record
// comes back as it was, and no file is left when nothing is needed. A disk that is full for a time
// keeps records in memory, and loses none.
func TestSpill(t *testing.T) {
	for seed := range uint64(6) {
		s := newSpilling(t, seed)
		for round := range 1500 {
			full := seed%2 == 1 && round > 400 && round < 500
			s.disk.SetCapacity(map[bool]int64{true: 1, false: 0}[full])
			s.put()
			if len(s.have) > 800 || s.rand.IntN(3) == 0 {
				s.take(s.oldest())
			}
			s.turn()
			if got := s.log.Stats().MemoryBytes; !full && round > 700 && got > spillLimit+8<<20 {
				t.Fatalf("seed %d, round %d: %d MB are in memory", seed, round, got>>20)
			}
		}
		if len(s.files()) == 0 {
			t.Fatalf("seed %d: nothing was spilled", seed)
		}
		for len(s.have) > 0 {
			s.take(s.oldest())
			s.turn()
		}
		if got := s.log.Stats().TransientBytes; got > journal.ExtentBytes {
			t.Errorf("seed %d: %d bytes are said to be taken by nothing", seed, got)
		}
		if list := s.files(); len(list) > 0 {
			t.Errorf("seed %d: %q is left", seed, list)
		}
	}
}

// TestSpillIsOfOneLife: what an earlier life has spilled is of no use, and is removed before the same is
// begun again.
func TestSpillIsOfOneLife(t *testing.T) {
	s := newSpilling(t, 1)
	fill := func() {
		for range 1000 {
			s.put()
			s.turn()
		}
	}
	fill()
	before := s.files()
	s.disk.Crash()
	s.have = map[journal.Index]journal.Ref{}
	s.begin()
	fill()
	for _, name := range before {
		if slices.Contains(s.files(), name) {
			t.Errorf("%s is still there", name)
		}
	}
	if len(before) == 0 || len(s.files()) == 0 {
		t.Errorf("files before: %q, now: %q", before, s.files())
	}
}
