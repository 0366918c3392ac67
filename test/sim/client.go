package sim

import (
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
	held     map[broker.Index]hold
	order    []broker.Index // of deliveries
	consumer broker.ConsumerID
	credit   uint64
}

type hold struct {
	queue    broker.QueueID
	consumer broker.ConsumerID
	body     string
	again    bool
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
	c.ask(func(r *broker.Requests) { r.QueueDeclare(&broker.QueueDeclare{Conn: c.id, Name: queue}) })
}

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
		c.sent[c.number+1] = body
		c.ask(func(r *broker.Requests) {
			r.Publish(&broker.Publish{Conn: c.id, Format: broker.FormatAMQP091, Key: []byte(queue), Body: []byte(body + pad)})
		})
	}
}

func (c *client) consume(queue string) {
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
	indices := make([]broker.Index, 0, len(c.held))
	for i := range c.held {
		indices = append(indices, i)
	}
	slices.Sort(indices)
	c.ask(func(r *broker.Requests) {
		for _, i := range indices {
			h := c.held[i]
			how := w.net.Rand.IntN(10)
			switch {
			case !all && how < 3:
				continue
			case !all && how == 3:
				r.Settle(h.consumer, h.queue, i, broker.Requeued)
			case !all && how == 4:
				w.check.released(h.body)
				r.Settle(h.consumer, h.queue, i, broker.Released)
			default:
				w.check.accepted(h.body)
				r.Settle(h.consumer, h.queue, i, broker.Accepted)
			}
			delete(c.held, i)
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
		case broker.AnsResult:
			if a.Result.Code != broker.OK {
				// It was not done: nothing may rest on it.
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
	if _, twice := c.held[a.Index]; twice {
		c.m.w.t.Fatalf("seed %d: %s delivered to a client that holds it", c.m.w.seed, body)
	}
	c.order = append(c.order, a.Index)
	c.held[a.Index] = hold{a.Queue, a.Consumer, body, a.Deliveries > 0}
	c.m.w.check.delivered(c, a.Queue, body, a.Deliveries > 0)
	a.Pin.Unpin()
}
