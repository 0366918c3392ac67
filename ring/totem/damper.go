package totem

import "time"

// Every ring makes packets that other rings take as a cause for the next one. Normally that
// ends when all are in one. But when members have come to fail each other by turns, a ring of
// one costs nothing to form, and each makes all others start again: the packets on their way
// multiply, all of them out of date, until the network is full of them. A damper lets a few
// rings follow each other at once and then makes a member rest in each for a join interval,
// in which what is out of date arrives and is dropped. Who still wants to join repeats it.
type damper struct {
	rings int           // in quick succession
	last  time.Duration // when the last was installed
	until time.Duration // no new ring on others' account before
}

const (
	// quickRings: a start finds every member of a small cluster one by one, and a merge takes
	// two or three rings.
	quickRings = 6
	// calmJoins is after how many join intervals a ring counts as having lasted.
	calmJoins = 4
)

// installed counts a ring.
func (d *damper) installed(now, join time.Duration) {
	if now-d.last > calmJoins*join {
		d.rings = 0
	}
	d.rings++
	d.last = now
	if d.rings > quickRings {
		d.until = now + join
	}
}

// rests reports whether a cause for a new ring is to be left for later.
func (d *damper) rests(now time.Duration) bool { return now < d.until }
