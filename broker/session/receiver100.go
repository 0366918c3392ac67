package session

import (
	"encoding/binary"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// This file is outgoing links: the client receives, its credit becomes a limit of
// deliveries, the member's answers become transfers, and its outcomes end holds.

const (
	// maxAhead is how many deliveries of a link may be out and not done with, whatever
	// credit the client gives: settled by it, or, where they are sent settled, written.
	// It is qpidd's session-max-unacked.
	maxAhead = 5000
	// transferOverhead is more than a frame's header and a transfer performative take.
	transferOverhead = 64
	// consumerSlots splits a consumer's id: the place in the table, and how often that was
	// used, so that a delivery on its way to a past consumer is known as such.
	consumerSlots = 1 << 16
)

// outgoing100 is the sending side of an outgoing link.
//
// The client's credit is relative to the delivery-count, which counts what was sent; the
// member's limit counts what it has delivered here since the subscription. They differ by
// what is queued.
type outgoing100 struct {
	consumer   broker.ConsumerID
	subscribed bool
	settled    bool // nothing that is sent is settled again
	browse     bool // nothing that is delivered is held

	defaultOutcome broker.Outcome
	maxMessage     uint64 // bytes of the largest message that the client takes; 0 is any
	skipped        bool   // a delivery was larger, and has used no credit

	count    amqp100.Seq // the delivery-count
	credit   amqp100.Seq // the delivery-count that the client's credit reaches to
	received uint64      // deliveries from the member
	done     uint64      // of these, how many are over with
	told     uint64      // the limit last given to the member
	capped   bool        // it was less than the client's credit
	draining bool

	queue   []delivery100 // received and not, or not wholly, sent
	head    int
	blocked bool // among the session's that wait for the window
}

// delivery100 is a message on its way to the client.
type delivery100 struct {
	queue      broker.QueueID
	index      broker.Index
	record     []byte
	pin        broker.Pin
	deliveries uint32
	ttl        uint32
	id         amqp100.Seq // once a part was sent
	sent       int         // bytes of the message
}

func (o *outgoing100) queued() int        { return len(o.queue) - o.head }
func (o *outgoing100) creditLeft() uint32 { return uint32(o.credit - o.count) }

// room is how many deliveries may begin to be sent, or be queued for that.
func (o *outgoing100) room() int {
	q := o.queued()
	if q > 0 && o.queue[o.head].sent > 0 {
		q-- // has begun, and is counted already
	}
	return int(o.creditLeft()) - q
}

// drop returns the pins of what is queued.
func (o *outgoing100) drop() {
	for i := o.head; i < len(o.queue); i++ {
		o.queue[i].pin.Unpin()
	}
	o.queue, o.head = nil, 0
}

// subscribe asks the member for a consumer of a queue.
func (l *link100) subscribe(queue string, exclusive bool) {
	p, o := l.s.p, &l.out
	o.consumer, o.subscribed = p.newConsumer(l), true
	p.c.req.Subscribe(&broker.Subscribe{
		Conn: p.c.id, Consumer: o.consumer, Queue: queue,
		Exclusive: exclusive, Browse: o.browse, Settled: o.settled || o.browse,
	})
	l.wire()
}

// newConsumer finds a free slot, or makes one, and returns its next id.
func (p *conn100) newConsumer(l *link100) broker.ConsumerID {
	for i, old := range p.consumers {
		if old.state == linkGone || old.state == linkDetaching {
			p.consumers[i] = l
			return old.out.consumer + consumerSlots
		}
	}
	p.consumers = append(p.consumers, l)
	return broker.ConsumerID(len(p.consumers) - 1)
}

// consumer finds the link of a consumer; nil if it is gone.
func (p *conn100) consumer(id broker.ConsumerID) *link100 {
	slot := int(id % consumerSlots)
	if slot >= len(p.consumers) || p.consumers[slot].out.consumer != id {
		return nil
	}
	return p.consumers[slot]
}

// unsubscribe gives back all that the link holds.
func (l *link100) unsubscribe() {
	p, o := l.s.p, &l.out
	if !o.subscribed {
		return
	}
	o.subscribed = false
	p.c.req.Cancel(&broker.Cancel{Conn: p.c.id, Consumer: o.consumer})
	p.submitted(nil, stepForgotten)
	u := &l.s.held
	for i := u.head; i < len(u.list); i++ {
		if u.list[i].link == l {
			l.s.settle(i, broker.Released)
		}
	}
	u.trim()
	for i := o.head; i < len(o.queue) && !o.settled && !o.browse; i++ {
		if d := &o.queue[i]; d.sent == 0 { // else it was among the unsettled
			p.c.req.Settle(o.consumer, d.queue, d.index, broker.Released)
		}
	}
	o.drop()
}

// onCredit takes the credit of a flow (2.6.7).
func (l *link100) onCredit(f *amqp100.Flow) {
	o := &l.out
	if f.LinkCredit.Set {
		// Before the first attach was seen the client's delivery-count is unset, and ours
		// begins with zero.
		o.credit = f.DeliveryCount.Value + amqp100.Seq(f.LinkCredit.Value)
		if o.credit.Before(o.count) {
			o.credit = o.count // less than what is under way: nothing is left
		}
	}
	o.draining = f.Drain
	if l.state != linkAttached {
		return // told when it is attached
	}
	l.pump()
	l.giveBack()
	l.tell()
	if f.Echo && !o.draining {
		l.s.sendFlow(l, false)
	}
}

// giveBack releases what is queued beyond a credit that was taken back, so that it is not
// stuck here. What the member thinks settled, or cannot give again, stays.
func (l *link100) giveBack() {
	o := &l.out
	for !o.settled && !o.browse && o.room() < 0 {
		last := len(o.queue) - 1
		l.release(&o.queue[last])
		o.queue[last] = delivery100{}
		o.queue = o.queue[:last]
	}
}

// release puts a delivery back unseen.
func (l *link100) release(d *delivery100) {
	l.s.p.c.req.Settle(l.out.consumer, d.queue, d.index, broker.Released)
	d.pin.Unpin()
	l.out.done++
}

// tell gives the member the limit that the client's credit comes to.
func (l *link100) tell() {
	o := &l.out
	room := max(o.room(), 0)
	limit, most := o.received+uint64(room), o.done+maxAhead
	if o.capped = limit > most; o.capped {
		limit = most
	}
	if o.draining && room == 0 {
		l.drained()
		return
	}
	if limit != o.told || o.draining {
		o.told = limit
		l.s.p.c.req.Credit(o.consumer, limit, o.draining)
	}
}

// over counts a delivery that is done with, and asks for more if only that was missing.
func (l *link100) over() {
	o := &l.out
	o.done++
	if o.capped && o.done+maxAhead-o.told >= maxAhead/2 && l.state == linkAttached {
		l.tell()
	}
}

// drained ends a drain: all credit that could not be used is used up (2.6.7). It waits for
// what is queued here.
func (l *link100) drained() {
	o := &l.out
	if !o.draining || o.queued() > 0 || l.state != linkAttached {
		return
	}
	if o.capped && o.room() > 0 && o.received == o.told {
		return // not for want of messages: more are asked for as these are settled
	}
	o.draining = false
	o.count = o.credit
	l.s.sendFlow(l, true)
	l.tell()
}

// cancelled is told that the queue is gone.
func (l *link100) cancelled() {
	l.out.subscribed = false
	l.fail(&failure100{amqp100.ErrResourceDeleted, "the queue of this link was deleted"})
}

// deliver takes a message from the member.
func (p *conn100) deliver(a *broker.Answer) {
	l := p.consumer(a.Consumer)
	if l == nil || l.state != linkAttached {
		if l == nil || !l.out.settled && !l.out.browse {
			p.c.req.Settle(a.Consumer, a.Queue, a.Index, broker.Released)
		}
		a.Unpin()
		return
	}
	d := delivery100{
		queue: a.Queue, index: a.Index, record: a.Record, pin: a.Pin,
		deliveries: a.Deliveries, ttl: a.TTLLeft,
	}
	o := &l.out
	o.received++
	switch {
	case o.queued() == 0 && o.creditLeft() > 0 && l.send(&d):
		l.sentWhole()
	case o.room() > 0 || d.sent > 0 || o.settled || o.browse:
		o.queue = append(o.queue, d)
		l.block()
	default:
		l.release(&d)
	}
}

// sentWhole goes on after a delivery has been sent to its end.
func (l *link100) sentWhole() {
	if l.out.settled {
		l.over()
	}
	if l.out.skipped {
		l.out.skipped = false
		l.tell()
	}
	if l.out.draining && l.out.creditLeft() == 0 {
		l.drained()
	}
}

// block queues the link for the session's window.
func (l *link100) block() {
	if o := &l.out; !o.blocked {
		o.blocked = true
		l.s.blocked = append(l.s.blocked, l)
	}
}

// pump sends what is queued, as far as credit and window go.
func (l *link100) pump() {
	o := &l.out
	for o.queued() > 0 {
		d := &o.queue[o.head]
		if d.sent == 0 && o.creditLeft() == 0 {
			return
		}
		if !l.send(d) {
			l.block()
			return
		}
		*d = delivery100{}
		o.head++
		if o.head == len(o.queue) {
			o.queue, o.head = o.queue[:0], 0
		}
		l.sentWhole()
	}
}

// send sends a delivery, or as much of it as the session's window takes; it returns
// whether that was all. The pin goes to the output with the last part.
func (l *link100) send(d *delivery100) bool {
	s, p := l.s, l.s.p
	if s.remoteWindow == 0 {
		return false
	}
	if err := broker.ParsePublish(d.record, &p.publish); err != nil {
		panic("session: a delivered record is no publish entry: " + err.Error())
	}
	p.scratch = appendHead100(p.scratch[:0], &p.publish, d)
	m := message100{head: p.scratch, body: p.publish.Body}
	if most := l.out.maxMessage; most != 0 && d.sent == 0 && uint64(m.size()) > most {
		l.skip(d)
		return true
	}
	space := int(p.frameBytes) - transferOverhead
	// A part that is named, not copied, is let go with the whole. So parts are named only
	// if all that are left go out now.
	frames := (m.size() - d.sent + space - 1) / space
	m.named = int64(max(frames, 1)) <= int64(s.remoteWindow)
	if d.sent == 0 {
		l.begin(d)
	}
	for first := d.sent == 0; s.remoteWindow > 0; first = false {
		n := min(m.size()-d.sent, space)
		whole := d.sent+n == m.size()
		l.sendTransfer(d, first, !whole, n)
		m.write(&p.c.out, d.sent, n)
		d.sent += n
		if whole {
			p.c.out.Body(nil, d.pin)
			return true
		}
	}
	return false
}

// skip rejects a delivery that is larger than the client takes (2.7.3, max-message-size), so that it
// is dead-lettered where the queue has where to. Sent, it would end the link, and after that the next
// one that comes to it.
func (l *link100) skip(d *delivery100) {
	o := &l.out
	o.skipped = true
	if !o.settled && !o.browse {
		l.s.p.c.req.Settle(o.consumer, d.queue, d.index, broker.Rejected)
		l.over()
	}
	d.pin.Unpin()
}

// begin gives a delivery its id.
func (l *link100) begin(d *delivery100) {
	s, o := l.s, &l.out
	d.id = s.nextDelivery
	s.nextDelivery++
	o.count++
	if !o.settled {
		s.held.add(held100{link: l, queue: d.queue, index: d.index, id: d.id})
	}
}

// sendTransfer writes a transfer frame but for its n bytes of the message.
func (l *link100) sendTransfer(d *delivery100, first, more bool, n int) {
	s, p := l.s, l.s.p
	t := &p.transfer
	*t = amqp100.Transfer{Handle: l.handle, More: more, Settled: l.out.settled}
	if first {
		binary.BigEndian.PutUint32(p.tag[:], uint32(d.id))
		t.DeliveryID = amqp100.Some(d.id)
		t.MessageFormat = amqp100.Some(uint32(0))
		t.DeliveryTag = p.tag[:]
	}
	b, at := p.beginFrame(s.channel)
	p.c.out.SetBuffer(amqp100.EndFrameBefore(t.Append(b), at, n))
	s.nextOutgoing++
	s.remoteWindow--
}
