package group

// queue holds messages that cannot be sent yet. Their memory is used again.
type queue struct {
	list  [][]byte
	head  int
	bytes int
	spare [][]byte
}

// Memory that is kept for the next messages.
const (
	maxSpare      = 64
	maxSpareBytes = 64 << 10
)

func (q *queue) empty() bool { return q.head == len(q.list) }

func (q *queue) front() []byte { return q.list[q.head] }

// push copies a message.
func (q *queue) push(parts ...[]byte) {
	var b []byte
	if n := len(q.spare); n > 0 {
		b, q.spare = q.spare[n-1][:0], q.spare[:n-1]
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	q.list = append(q.list, b)
	q.bytes += len(b)
}

func (q *queue) pop() {
	b := q.list[q.head]
	q.bytes -= len(b)
	q.list[q.head] = nil
	q.head++
	if cap(b) <= maxSpareBytes && len(q.spare) < maxSpare {
		q.spare = append(q.spare, b)
	}
	switch {
	case q.empty():
		q.list, q.head = q.list[:0], 0
	case q.head > len(q.list)/2 && q.head > maxSpare:
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
}
