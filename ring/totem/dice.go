package totem

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// dice are random numbers that spread what members would else all do at once. They begin with
// the node's id, which differs from everybody else's, and the number of its last ring, which
// differs from that of its last start: the same input gives the same output. (SplitMix64 of
// Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators.)
type dice uint64

func seedDice(n wire.NodeID, ringSeq uint64) dice { return dice(uint64(n)<<32 ^ ringSeq) }

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// upTo is a time from 0 to most, without the latter.
func (d *dice) upTo(most time.Duration) time.Duration {
	return time.Duration(d.next() % uint64(most))
}
