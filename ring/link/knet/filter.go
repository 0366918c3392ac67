package knet

// filter drops packets that were seen before: one for each peer. As libknet's, it looks back so
// many places from the latest, and takes what is farther away for a new beginning.
type filter struct {
	last uint16 // 0: nothing yet
	seen [filterPlaces / 64]uint64
}

const filterPlaces = 4096

func (f *filter) reset() { *f = filter{} }

// fresh tells whether a packet has not been seen, and makes place for it.
func (f *filter) fresh(seq uint16) bool {
	switch ahead := seq - f.last; {
	case f.last == 0 || ahead >= filterPlaces && -ahead >= filterPlaces:
		f.reset()
		f.last = seq
		return true
	case ahead < filterPlaces:
		for s := f.last; s != seq; {
			s++
			f.seen[s%filterPlaces/64] &^= 1 << (s % 64)
		}
		if ahead > 0 {
			f.last = seq
			return true
		}
	}
	return f.seen[seq%filterPlaces/64]&(1<<(seq%64)) == 0
}

// mark notes that a packet is complete.
func (f *filter) mark(seq uint16) { f.seen[seq%filterPlaces/64] |= 1 << (seq % 64) }
