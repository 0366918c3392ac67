package cluster

import (
	"testing"
	"time"
)

// flushes runs publishers that each wait for one message, and publish the next a while after it was answered,
// on a disk whose flush takes so long. It tells how many messages a flush has, and how long the
// longest waited.
func flushes(publishers int, think func(publisher int) time.Duration, takes time.Duration) (perFlush float64, longest time.Duration) {
	const tick = 100 * time.Microsecond
	var g gather
	var waiting, flushing []int // publishers
	due := make([]time.Duration, publishers)
	asked := make([]time.Duration, publishers)
	var ends time.Duration
	done, count := 0, 0
	for p := range due {
		due[p] = think(p)
	}
	for now := tick; count < 200; now += tick {
		if ends != 0 && now >= ends {
			for _, p := range flushing {
				longest = max(longest, now-asked[p])
				due[p] = now + think(p)
			}
			done, count, ends = done+len(flushing), count+1, 0
		}
		for p, at := range due {
			if at != 0 && now >= at {
				waiting, asked[p], due[p] = append(waiting, p), now, 0
				g.came()
			}
		}
		g.sees(now, ends != 0)
		if ends == 0 && len(waiting) > 0 && !g.putOff(now) {
			g.begins(now)
			flushing, waiting, ends = waiting, nil, now+takes
		}
	}
	return float64(done) / float64(count), longest
}

// TestGather: publishers that are quick share each flush, and nobody waits long for one that is not.
func TestGather(t *testing.T) {
	quick := func(int) time.Duration { return 300 * time.Microsecond }
	scattered := func(p int) time.Duration { return time.Duration(p%20) * 100 * time.Microsecond }
	slow := func(p int) time.Duration { return time.Duration(1+p%7) * 17 * time.Millisecond }
	const takes = 4 * time.Millisecond
	for _, x := range []struct {
		name       string
		publishers int
		think      func(int) time.Duration
		takes      time.Duration
		atLeast    float64
		atMost     time.Duration
	}{
		{"a lone one", 1, quick, takes, 1, takes + 100*time.Microsecond},
		{"two", 2, quick, takes, 1.9, 2*takes + takes/2},
		{"many", 128, scattered, takes, 100, 2*takes + takes/2},
		{"seldom", 8, slow, takes, 1, 2*takes + takes/2},
		{"no time at all", 128, scattered, 100 * time.Microsecond, 1, 300 * time.Microsecond},
	} {
		perFlush, longest := flushes(x.publishers, x.think, x.takes)
		if perFlush < x.atLeast || longest > x.atMost {
			t.Errorf("%s: %.1f messages a flush, expected %.1f; the longest waits %v, expected %v at most", x.name, perFlush, x.atLeast, longest, x.atMost)
		}
	}
}
