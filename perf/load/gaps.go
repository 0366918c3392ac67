package load

import (
	"cmp"
	"slices"
	"time"
)

// Gap is a time in which nothing came.
type Gap struct {
	At     time.Duration `json:"at_ns"` // where it began, since the run did
	Length time.Duration `json:"length_ns"`
}

// End is where it ended.
func (g Gap) End() time.Duration { return g.At + g.Length }

// gaps keeps the longest gaps of one producer or consumer, the longest first.
type gaps struct {
	most int
	last time.Duration // when something came last; 0 before
	list []Gap
}

// see is told that something came.
func (g *gaps) see(now time.Duration) {
	last := g.last
	g.last = now
	if last == 0 || g.most == 0 {
		return
	}
	g.add(Gap{At: last, Length: now - last})
}

func (g *gaps) add(gap Gap) {
	n := len(g.list)
	if n == g.most {
		if n == 0 || gap.Length <= g.list[n-1].Length {
			return
		}
		g.list = g.list[:n-1]
	}
	i, _ := slices.BinarySearchFunc(g.list, gap, func(a, b Gap) int { return cmp.Compare(b.Length, a.Length) })
	g.list = slices.Insert(g.list, i, gap)
}

// merge takes another's gaps in.
func (g *gaps) merge(o *gaps) {
	for _, gap := range o.list {
		g.add(gap)
	}
}
