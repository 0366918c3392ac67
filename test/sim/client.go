package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// client is a connection that publishes, or consumes, or both.
type client struct {
	m        *member
	id       broker.ConnID
	number   uint64
	sent     map[uint64]string // publishes by number, not yet complete
	held     map[place]hold
	order    []broker.Index // of deliveries
	gets     broker.ConsumerID
	consumer broker.ConsumerID
	credit   uint64
}

// place names a message in a queue.
type place struct {
	queue broker.QueueID
	index broker.Index
}

// counts tells whether a message is of a queue whose every message has to arrive: those of
// wild queues expire, are purged, or go to several.
func counts(body string) bool { return body[0] == 'q' }

type hold struct {
	consumer broker.ConsumerID
	body     string
}

func (c *client) ask(f func(r *broker.Requests)) {
	var r broker.Requests
	f(&r)
	for i := range r.List {
		if k := r.List[i].Kind; k == broker.ReqSubmit || k == broker.ReqQuery {
			c.number++
		}
	}
	c.m.node.Requests(c.m.w.net.Now(), c.id, &r)
	c.m.touch()
}

func (c *client) declare(queue string) {
	o := broker.QueueOptions{Durable: c.m.w.disks != nil}
	if queue == limitedQueue && c.m.w.limited {
		length, bytes := uint64(6), uint64(200)
		o.MaxLength, o.MaxLengthBytes, o.CountBodies, o.Overflow = &length, &bytes, true, broker.OverflowReject
	}
	c.ask(func(r *broker.Requests) {
		r.QueueDeclare(&broker.QueueDeclare{Conn: c.id, Name: queue, Options: o})
	})
}

// limitedQueue refuses what is beyond a few messages, in a world that is limited.
const limitedQueue = "q1"

// publish sends n messages to a queue, of sizes from a few bytes to several packets.
func (c *client) publish(queue string, n int) {
	w := c.m.w
	for range n {
		w.published++
		body := fmt.Sprintf("%s/%d.%d/%d", queue, c.m.id, c.id, w.published)
		pad := ""
		if w.net.Rand.IntN(20) == 0 {
			pad = strings.Repeat(".", w.net.Rand.IntN(5000))
		}
		if w.large && w.net.Rand.IntN(8) == 0 {
			pad = strings.Repeat(".", 60000+w.net.Rand.IntN(100000))
		}
		c.sent[c.number+1] = body
		c.ask(func(r *broker.Requests) {
			p := &broker.Publish{Conn: c.id, Format: broker.FormatAMQP091, Key: []byte(queue), Body: []byte(body + pad)}
			if w.disks != nil {
				p.Flags = broker.FlagDurable
			}
			r.Publish(p)
		})
	}
}

func (c *client) consume(queue string) {
	c.m.w.check.consumers[queue]++
	c.consumer++
	c.credit = uint64(1 + c.m.w.net.Rand.IntN(20))
	c.ask(func(r *broker.Requests) {
		r.Subscribe(&broker.Subscribe{Conn: c.id, Consumer: c.consumer, Queue: queue})
		r.Credit(c.consumer, c.credit, false)
	})
}

// settle ends some holds, in one way or another, and asks for more.
func (c *client) settle(all bool) {
	w := c.m.w
	places := make([]place, 0, len(c.held))
	for p := range c.held {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.index, b.index))
	})
	c.ask(func(r *broker.Requests) {
		for _, p := range places {
			h := c.held[p]
			how := w.net.Rand.IntN(10)
			switch {
			case !all && how < 3:
				continue
			case !all && how == 3:
				r.Settle(h.consumer, p.queue, p.index, broker.Requeued)
			case !all && how == 5 && !counts(h.body):
				r.Settle(h.consumer, p.queue, p.index, broker.Rejected)
			case !all && how == 4:
				w.check.released(h.body)
				r.Settle(h.consumer, p.queue, p.index, broker.Released)
			default:
				w.check.accepted(h.body)
				r.Settle(h.consumer, p.queue, p.index, broker.Accepted)
			}
			delete(c.held, p)
			c.credit++
		}
		r.Credit(c.consumer, c.credit, false)
	})
}

func (c *client) cancel() {
	c.ask(func(r *broker.Requests) { r.Cancel(&broker.Cancel{Conn: c.id, Consumer: c.consumer}) })
}

// close ends the connection: what it held is anybody's again.
func (c *client) close() {
	c.held = nil
	c.m.clients = slices.DeleteFunc(c.m.clients, func(o *client) bool { return o == c })
	c.m.node.Disconnect(c.m.w.net.Now(), c.id)
	c.m.touch()
}

// take is what a session does with answers.
func (c *client) take(list []broker.Answer) {
	var bytes, count int64
	for i := range list {
		a := &list[i]
		switch a.Kind {
		case broker.AnsDeliver:
			bytes += int64(len(a.Record))
			count++
			c.delivered(a)
		case broker.AnsCompleted:
			for n, body := range c.sent {
				if n <= a.Number {
					c.m.w.check.acknowledged(c.m, body)
					delete(c.sent, n)
				}
			}
		case broker.AnsCancelled:
			for p, h := range c.held {
				if h.consumer == a.Consumer {
					delete(c.held, p) // with its queue
				}
			}
		case broker.AnsResult:
			if a.Result.Code != broker.OK {
				// It was not done: nothing may rest on it.
				if a.Result.Code == broker.Refused && c.sent[a.Number] != "" && counts(c.sent[a.Number]) {
					c.m.w.check.refused[c.sent[a.Number]] = true
				}
				delete(c.sent, a.Number)
			}
		}
	}
	c.m.node.Written(c.id, bytes, count)
}

func (c *client) delivered(a *broker.Answer) {
	var p broker.Publish
	if err := broker.ParsePublish(a.Record, &p); err != nil {
		c.m.w.t.Fatalf("seed %d: delivered record: %v", c.m.w.seed, err)
	}
	body := strings.TrimRight(string(p.Body), ".")
	at := place{a.Queue, a.Index}
	if _, twice := c.held[at]; twice {
		c.m.w.t.Fatalf("seed %d: %s delivered to a client that holds it", c.m.w.seed, body)
	}
	c.order = append(c.order, a.Index)
	c.held[at] = hold{a.Consumer, body}
	if a.Consumer == settledConsumer {
		delete(c.held, at)
	}
	c.m.w.check.delivered(c, body, a.Deliveries > 0)
	a.Pin.Unpin()
}

// Consumer ids that wild clients use besides those that consume counts up to.
const (
	settledConsumer broker.ConsumerID = 1 << 20
	firstGet        broker.ConsumerID = 1 << 21
)

// wild does something to the queues of which not every message has to arrive.
func (c *client) wild() {
	rnd := c.m.w.net.Rand
	queue := fmt.Sprintf("x%d", rnd.IntN(3))
	ttl, length, dlx := uint64(rnd.IntN(20)), uint64(rnd.IntN(5)), "amq.fanout"
	durable := c.m.w.disks != nil && rnd.IntN(2) == 0
	mode := uint8(0)
	if durable {
		mode = broker.FlagDurable
	}
	c.ask(func(r *broker.Requests) {
		switch rnd.IntN(12) {
		case 0:
			o := broker.QueueOptions{Durable: durable, DeadLetter: &dlx, MaxLength: &length}
			if rnd.IntN(2) == 0 {
				o.MessageTTL = &ttl
			}
			r.QueueDeclare(&broker.QueueDeclare{Conn: c.id, Name: queue, Options: o})
		case 1:
			o := broker.QueueOptions{Durable: durable, AutoDelete: rnd.IntN(2) == 0, Exclusive: rnd.IntN(2) == 0, AlternateExchange: "amq.fanout"}
			r.QueueDeclare(&broker.QueueDeclare{Conn: c.id, Name: queue, Options: o})
		case 2:
			r.Bind(&broker.Bind{Conn: c.id, Exchange: "amq.fanout", Target: queue})
		case 3:
			r.Unbind(&broker.Bind{Conn: c.id, Exchange: "amq.fanout", Target: queue})
		case 4:
			r.QueuePurge(&broker.QueuePurge{Conn: c.id, Name: queue})
		case 5:
			r.QueueDelete(&broker.QueueDelete{Conn: c.id, Name: queue, IfEmpty: rnd.IntN(2) == 0})
		case 6:
			c.gets++
			r.Get(firstGet+c.gets, queue, false)
		case 7:
			r.Subscribe(&broker.Subscribe{Conn: c.id, Consumer: settledConsumer, Queue: queue, Settled: true})
			r.Credit(settledConsumer, 1<<30, rnd.IntN(3) == 0)
		default:
			for range 1 + rnd.IntN(6) {
				c.m.w.published++
				p := &broker.Publish{Conn: c.id, Flags: mode, Format: broker.FormatAMQP091, Key: []byte(queue),
					Body: fmt.Appendf(nil, "%s/%d.%d/%d", queue, c.m.id, c.id, c.m.w.published)}
				if rnd.IntN(2) == 0 {
					p.Exchange = []byte("amq.fanout")
				}
				if rnd.IntN(3) == 0 {
					p.Flags, p.TTL = mode|broker.FlagTTL, uint32(ttl)
				}
				if c.m.w.limited && rnd.IntN(3) == 0 { // takes room, and is gone when all are
					p.Flags, p.Exchange, p.Key = 0, nil, []byte(limitedQueue)
				}
				r.Publish(p)
			}
		}
	})
}
