package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// keeper is an owner of a log that keeps what entries say: "+n …" puts entry n in, "-n" takes
// it out.
type keeper struct {
	t    testing.TB
	log  *journal.Log
	have map[journal.Index]journal.Ref
}

const (
	smallSegment    = journal.BlockBytes + 2*journal.ExtentBytes
	smallCheckpoint = 1 << 20
)

func finish(op *journal.Op) { op.Finish() }

// recoverFrom begins a life.
func recoverFrom(t testing.TB, d *faulty.Disk) (*keeper, error) {
	k := &keeper{t: t, have: map[journal.Index]journal.Ref{}}
	k.log = journal.New(journal.Config{Memory: journal.Heap{}, Disk: d, Files: d, Store: journal.UUID{1},
		SegmentBytes: smallSegment, CheckpointBytes: smallCheckpoint})
	if _, err := k.log.Recover(k); err != nil {
		return k, err
	}
	k.log.SetCluster(journal.UUID{2})
	k.log.Prepare(1)
	return k, nil
}

func (k *keeper) Restore(state []byte, _ int64) error {
	for len(state) > 0 {
		var i journal.Index
		var ref journal.Ref
		if _, err := fmt.Sscanf(string(state), "%d %d %d %d\n", &i, &ref.Extent, &ref.Offset, &ref.Length); err != nil {
			return fmt.Errorf("state %q: %w", state, err)
		}
		_, state, _ = bytes.Cut(state, []byte("\n"))
		k.log.Retain(ref, 1)
		k.have[i] = ref
	}
	return nil
}

func (k *keeper) Replay(r journal.Record, ref journal.Ref, _ int64) error {
	if r.Entry[0] == '+' {
		k.log.Retain(ref, 1)
		k.have[r.Index] = ref
		return nil
	}
	var gone journal.Index
	if _, err := fmt.Sscanf(string(r.Entry), "-%d", &gone); err != nil {
		return fmt.Errorf("entry %q: %w", r.Entry, err)
	}
	if old, ok := k.have[gone]; ok {
		delete(k.have, gone)
		k.log.Drop(old)
	}
	return nil
}

func (k *keeper) Moved(r journal.Record, ref journal.Ref) {
	if old, ok := k.have[r.Index]; ok {
		k.log.Retain(ref, 1)
		k.log.Drop(old)
		k.have[r.Index] = ref
	}
}

func (k *keeper) Settle() {}

func (k *keeper) append(entry []byte) {
	k.t.Helper()
	s, err := k.log.Begin(len(entry), journal.Durable)
	if err != nil {
		k.t.Fatal(err)
	}
	copy(s.Bytes(), entry)
	i := k.log.LastIndex() + 1
	ref := k.log.Commit(s, 1, i)
	if err := k.Replay(journal.Record{Index: i, Entry: entry}, ref, 0); err != nil {
		k.t.Fatal(err)
	}
	k.log.Settled(ref)
}

func (k *keeper) put(n int) { k.append(entryOf(k.log.LastIndex()+1, n)) }

func (k *keeper) take(i journal.Index) { k.append(fmt.Appendf(nil, "-%d", i)) }

func (k *keeper) carry(i journal.Index) {
	k.t.Helper()
	to, err := k.log.Carry(k.have[i])
	if err != nil {
		k.t.Fatal(err)
	}
	k.log.Retain(to, 1)
	k.log.Drop(k.have[i])
	k.have[i] = to
}

func (k *keeper) checkpoint() {
	k.log.BeginCheckpoint()
	var state []byte
	for _, i := range slices.Sorted(maps.Keys(k.have)) {
		r := k.have[i]
		state = fmt.Appendf(state, "%d %d %d %d\n", i, r.Extent, r.Offset, r.Length)
	}
	if len(state) > 0 {
		k.log.CheckpointChunk(state)
	}
	k.log.EndCheckpoint()
}

// any picks one that is there.
func (k *keeper) any(rng *rand.Rand) (journal.Index, bool) {
	if len(k.have) == 0 {
		return 0, false
	}
	return slices.Sorted(maps.Keys(k.have))[rng.IntN(len(k.have))], true
}

func entryOf(i journal.Index, n int) []byte {
	return append(fmt.Appendf(nil, "+%d ", i), bytes.Repeat([]byte{byte(i)}, n)...)
}

// promise is what a life of the log has promised when it ended.
type promise struct {
	mark  journal.Index
	have  map[journal.Index]int  // what was there, and how long
	taken map[journal.Index]bool // what was taken out, perhaps not for good
}

func (k *keeper) promise(taken map[journal.Index]bool) promise {
	p := promise{mark: k.log.Mark(), have: map[journal.Index]int{}, taken: taken}
	for i, ref := range k.have {
		p.have[i] = int(ref.Length)
	}
	return p
}

// keeps compares a life with what the one before it has promised.
func (k *keeper) keeps(p promise) error {
	if k.log.LastIndex() < p.mark {
		return fmt.Errorf("recovered up to %d where %d was on the disk", k.log.LastIndex(), p.mark)
	}
	for i := range p.have {
		if _, ok := k.have[i]; !ok && i <= p.mark {
			return fmt.Errorf("entry %d is lost", i)
		}
	}
	for i, ref := range k.have {
		if length, ok := p.have[i]; ok && length != int(ref.Length) {
			return fmt.Errorf("entry %d has %d bytes where %d were written", i, ref.Length, length)
		} else if !ok && !p.taken[i] {
			return fmt.Errorf("entry %d was never written, or taken out long ago", i)
		}
		e := k.log.Bytes(ref)
		if !bytes.Equal(e, entryOf(i, int(ref.Length)-len(entryOf(i, 0)))) {
			return fmt.Errorf("entry %d has changed", i)
		}
	}
	return nil
}

// failure is why a log gave up, if it did.
func failure(err error) bool {
	return errors.Is(err, faulty.ErrIO) || errors.Is(err, faulty.ErrNoSpace)
}
