package session

import (
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// step100 is what a numbered request was for.
type step100 uint8

const (
	stepPublish   step100 = iota // a message of an incoming link
	stepName                     // is the whole address a queue or an exchange?
	stepPrefix                   // is what is before the slash an exchange?
	stepWire                     // declare, bind, subscribe: a link waits for it
	stepForgotten                // nobody waits
)

// request100 is a numbered request that is not completed.
type request100 struct {
	link    *link100
	step    step100
	settled bool // stepPublish: the client settled it, and is told nothing
	retry   bool // stepPublish: to be tried as an exchange if there is no such queue
	code    broker.Code
	id      amqp100.Seq // stepPublish
	text    string
}

// pending100 holds the requests of a connection that are not completed, in their order.
// They are bounded by the links' credit and by the steps of attaching them.
type pending100 struct {
	list  []request100
	head  int
	first uint64 // the number of list[head]
}

// compactAt is how many completed requests are carried along at most.
const compactAt = 1024

func (q *pending100) push(r request100) { q.list = append(q.list, r) }

// at finds request n; nil if there is none.
func (q *pending100) at(n uint64) *request100 {
	if n < q.first || n-q.first >= uint64(len(q.list)-q.head) {
		return nil
	}
	return &q.list[q.head+int(n-q.first)]
}

// pop takes the oldest request, if its number is at most n.
func (q *pending100) pop(n uint64) (r request100, ok bool) {
	if q.first > n || q.head == len(q.list) {
		return r, false
	}
	r = q.list[q.head]
	q.list[q.head] = request100{}
	q.head++
	q.first++
	switch {
	case q.head == len(q.list):
		q.list, q.head = q.list[:0], 0
	case q.head >= compactAt && q.head > len(q.list)/2:
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	return r, true
}

// submitted notes what the numbered request made last is for.
func (p *conn100) submitted(l *link100, step step100) {
	p.pending.push(request100{link: l, step: step})
}
