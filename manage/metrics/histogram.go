package metrics

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Times are counted from 256 ns on by octaves of four steps each, up to a minute; the first count is of what
// is shorter, and the last has what is longer, too. It is how bpf/token.h counts.
const (
	firstOctave = 8
	octaves     = 28
	buckets     = 4*octaves + 1
)

// Times are how long something took, how often.
type Times struct {
	Counts    [buckets]uint64
	Sum, Most time.Duration
}

// Histogram counts times. Its zero value is empty.
type Histogram struct {
	counts    [buckets]atomic.Uint64
	sum, most atomic.Int64
}

// Observe counts a time.
func (h *Histogram) Observe(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.sum.Add(int64(d))
	for most := h.most.Load(); int64(d) > most && !h.most.CompareAndSwap(most, int64(d)); most = h.most.Load() {
	}
}

// Times are what was counted so far.
func (h *Histogram) Times() (t Times) {
	for i := range h.counts {
		t.Counts[i] = h.counts[i].Load()
	}
	t.Sum, t.Most = time.Duration(h.sum.Load()), time.Duration(h.most.Load())
	return t
}

func bucket(d time.Duration) int {
	if d < 1<<firstOctave {
		return 0
	}
	octave := bits.Len64(uint64(d)) - 1
	return min(1+4*(octave-firstOctave)+int(d>>(octave-2)&3), buckets-1)
}

// above is where a bucket ends.
func above(i int) time.Duration {
	if i == 0 {
		return 1 << firstOctave
	}
	octave, step := firstOctave+(i-1)/4, (i-1)%4
	return time.Duration(1<<octave + (step+1)<<(octave-2))
}

// Count is how many times were counted.
func (t *Times) Count() (n uint64) {
	for _, c := range t.Counts {
		n += c
	}
	return n
}

// Quantile is the time that a share of them did not exceed, to the next step above; 0 if there are none.
func (t *Times) Quantile(share float64) time.Duration {
	want := uint64(math.Ceil(share * float64(t.Count())))
	n := uint64(0)
	for i, c := range t.Counts {
		if n += c; n < want || n == 0 {
			continue
		}
		if i == buckets-1 {
			return t.Most
		}
		return min(above(i), t.Most)
	}
	return 0
}
