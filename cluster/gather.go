package cluster

import "time"

// Publishers that wait for each message share flushes best if all of them are in each: who was answered by
// the last one is about to publish again. So a flush is put off, for a part of the time that it takes,
// until as many are there as have been answered or were waiting when the last one ended. A lone
// publisher waits for nobody, and where flushes take no time nobody does: without putting off, half of
// the publishers wait for the other half's flush, and each flush has half of what it could have.

// gather is what this member knows of its publishers and its flushes.
type gather struct {
	waiting  int           // entries that somebody waits for, since the last flush began
	flushing int           // and of the flush under way
	flight   bool          // there is one
	crowd    int           // of both, when the last one ended
	began    time.Duration // when the last flush began
	until    time.Duration // how long the next one may be put off
}

const (
	// gatherFrom is how long a flush takes, at least, where it is put off: less is below what timers can do.
	gatherFrom = 2 * time.Millisecond
	// gatherShare is which part of that time it is put off, at most.
	gatherShare = 2
	// gatherLimit is for disks that stall now and then.
	gatherLimit = 20 * time.Millisecond
)

// came counts an entry that somebody waits for.
func (g *gather) came() { g.waiting++ }

// begins takes note that a flush begins.
func (g *gather) begins(now time.Duration) {
	g.began, g.until = now, 0
	g.flushing, g.waiting, g.flight = g.waiting, 0, true
}

// sees takes note of whether one is under way still.
func (g *gather) sees(now time.Duration, flight bool) {
	if flight || !g.flight {
		return
	}
	g.flight = false
	if took := now - g.began; took >= gatherFrom {
		g.until = now + min(took/gatherShare, gatherLimit)
	}
	g.crowd = g.flushing + g.waiting
}

// putOff tells whether the next flush is worth putting off: an eighth of the crowd may be missing.
func (g *gather) putOff(now time.Duration) bool {
	return now < g.until && g.waiting < g.crowd-g.crowd/8
}
