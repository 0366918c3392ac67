package load

import "sync"

// bits is a set of message numbers.
type bits []uint64

// add reports whether n was not there yet.
func (b *bits) add(n uint64) bool {
	word, bit := n/64, uint64(1)<<(n%64)
	for uint64(len(*b)) <= word {
		*b = append(*b, make([]uint64, max(1024, len(*b)))...)
	}
	fresh := (*b)[word]&bit == 0
	(*b)[word] |= bit
	return fresh
}

func (b bits) has(n uint64) bool {
	return n/64 < uint64(len(b)) && b[n/64]&(1<<(n%64)) != 0
}

// tally is what became of one producer's messages, over all consumers.
type tally struct {
	mu         sync.Mutex
	consumed   bits
	confirmed  bits
	count      uint64 // consumed, each once
	duplicates uint64
}

func (t *tally) consume(n uint64) (fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.consumed.add(n) {
		t.duplicates++
		return false
	}
	t.count++
	return true
}

func (t *tally) confirm(n uint64) {
	t.mu.Lock()
	t.confirmed.add(n)
	t.mu.Unlock()
}

// lost counts what was confirmed and never came.
func (t *tally) lost() (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range uint64(len(t.confirmed)) * 64 {
		if t.confirmed.has(i) && !t.consumed.has(i) {
			n++
		}
	}
	return n
}
