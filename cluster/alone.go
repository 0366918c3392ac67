package cluster

// Alone orders the messages of a broker that has no cluster: each is delivered in the order
// in which it was multicast, and safe at once.
type Alone struct {
	queue [][]byte
	spare [][]byte
	bytes int
}

// aloneBytes is how much may wait.
const aloneBytes = 4 << 20

// Multicast queues a copy of one message.
func (a *Alone) Multicast(parts ...[]byte) error {
	var b []byte
	if k := len(a.spare); k > 0 {
		b, a.spare = a.spare[k-1][:0], a.spare[:k-1]
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	a.bytes += len(b)
	a.queue = append(a.queue, b)
	return nil
}

// MulticastLazily does the same: nothing is won by waiting.
func (a *Alone) MulticastLazily(parts ...[]byte) error { return a.Multicast(parts...) }

// Room is how many bytes may still be queued.
func (a *Alone) Room() int { return aloneBytes - a.bytes }

// Next takes the next message out, or returns nil. Give it back with Used.
func (a *Alone) Next() []byte {
	if len(a.queue) == 0 {
		return nil
	}
	b := a.queue[0]
	a.queue = append(a.queue[:0], a.queue[1:]...)
	a.bytes -= len(b)
	return b
}

// Used takes back the memory of a message.
func (a *Alone) Used(b []byte) {
	if len(a.spare) < 4 && cap(b) <= 2*messageBytes {
		a.spare = append(a.spare, b[:0])
	}
}
