package session

import (
	"encoding/binary"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// maxDeaths bounds the deaths that a message carries; the oldest are dropped. Only a message
// that goes round through more queues than that ever loses one.
const maxDeaths = 32

// Deaths tells messages that are dead-lettered what they died of, with RabbitMQ's headers:
//
//	x-death  array of tables, the latest first, one for each queue and reason:
//	         count, reason, queue, time, exchange, routing-keys, original-expiration
//	x-first-death-queue, x-first-death-reason, x-first-death-exchange
//
// An AMQP 1.0 message gets the latter, and x-last-death- likewise, as message annotations.
type Deaths struct{}

// death is one of them.
type death struct {
	queue, reason string
	exchange, key []byte
	unixSeconds   int64
	count         int64
	expiration    []byte // nil: the message had none of its own
}

// Rewrite returns the properties that p is to be published with again, appended to dst.
func (Deaths) Rewrite(p *broker.Publish, queue, reason string, unixSeconds int64, dst []byte) []byte {
	d := death{
		queue: queue, reason: reason, exchange: p.Exchange, key: p.Key,
		unixSeconds: unixSeconds, count: 1,
	}
	if p.Format == broker.FormatAMQP100 {
		return d.annotate100(p.Props, dst)
	}
	return d.rewrite091(p.Props, dst)
}

// rewrite091 puts the death into the headers. The message's own time to live goes into its
// death, so that it does not expire again where it went.
func (d *death) rewrite091(props, dst []byte) []byte {
	var p amqp091.Properties
	if p.Decode(props) != nil {
		return append(dst, props...) // checked when it came in: this is not it
	}
	if p.Flags&amqp091.FlagExpiration != 0 {
		p.Flags &^= amqp091.FlagExpiration
		d.expiration = p.Expiration
	}
	p.Headers = d.headers(p.Headers)
	p.Flags |= amqp091.FlagHeaders
	return p.Append(dst)
}

func (d *death) headers(old amqp091.Table) amqp091.Table {
	b := make([]byte, 0, len(old)+512)
	first := true
	var deaths amqp091.Array
	for t := old; ; {
		name, v, rest, ok := t.Next()
		if !ok {
			break
		}
		t = rest
		switch string(name) {
		case "x-death":
			if v.Type == 'A' {
				deaths = amqp091.Array(v.Raw)
				continue
			}
		case "x-first-death-queue":
			first = false
		}
		b = amqp091.AppendValue(b, string(name), v)
	}
	b = d.deaths(b, deaths)
	if first {
		b = amqp091.AppendString(b, "x-first-death-queue", d.queue)
		b = amqp091.AppendString(b, "x-first-death-reason", d.reason)
		b = amqp091.AppendString(b, "x-first-death-exchange", string(d.exchange))
	}
	return b
}

// deaths appends x-death: d, with the count of an earlier death like it, then the others.
func (d *death) deaths(b []byte, old amqp091.Array) []byte {
	var kept []byte
	for n := 1; n < maxDeaths; {
		v, rest, ok := old.Next()
		if !ok {
			break
		}
		old = rest
		if v.Type != 'F' {
			continue
		}
		if t := amqp091.Table(v.Raw); isString(t, "queue", d.queue) && isString(t, "reason", d.reason) {
			count, _ := t.Lookup("count")
			earlier, _ := count.Int()
			d.count += earlier
			continue
		}
		kept = amqp091.AppendValue(kept, amqp091.Element, v)
		n++
	}
	b, array := amqp091.BeginArray(b, "x-death")
	b, table := amqp091.BeginTable(b, amqp091.Element)
	b = amqp091.AppendInt(b, "count", d.count)
	b = amqp091.AppendString(b, "reason", d.reason)
	b = amqp091.AppendString(b, "queue", d.queue)
	b = amqp091.AppendTime(b, "time", d.unixSeconds)
	b = amqp091.AppendString(b, "exchange", string(d.exchange))
	b, keys := amqp091.BeginArray(b, "routing-keys")
	b = amqp091.End(amqp091.AppendString(b, amqp091.Element, string(d.key)), keys)
	if d.expiration != nil {
		b = amqp091.AppendString(b, "original-expiration", string(d.expiration))
	}
	b = amqp091.End(b, table)
	return amqp091.End(append(b, kept...), array)
}

func isString(t amqp091.Table, name, want string) bool {
	v, _ := t.Lookup(name)
	b, ok := v.Bytes()
	return ok && string(b) == want
}

// annotate100 puts the death into the message annotations, with the other sections as they
// are (AMQP 1.0 part 3, 3.2.3).
func (d *death) annotate100(props, dst []byte) []byte {
	var s amqp100.Sections
	if s.Scan(props) != nil {
		return append(dst, props...)
	}
	dst = append(dst, s.Header...)
	dst = append(dst, s.DeliveryAnnotations...)
	// A described map with a size and a count of four bytes each.
	dst = append(dst, 0x00, 0x53, byte(amqp100.CodeMessageAnnotations), 0xd1, 0, 0, 0, 0, 0, 0, 0, 0)
	at := len(dst)
	dst, count := d.annotations(dst, s.Annotations())
	binary.BigEndian.PutUint32(dst[at-8:], uint32(len(dst)-at+4))
	binary.BigEndian.PutUint32(dst[at-4:], uint32(count))
	dst = append(dst, s.Properties...)
	return append(dst, s.ApplicationProperties...)
}

func (d *death) annotations(b []byte, old amqp100.Raw) (_ []byte, count int) {
	first := true
	if old != nil {
		for it := old.Items(); it.Next(); {
			switch text, _ := it.Key.Text(); string(text) {
			case "x-last-death-queue", "x-last-death-reason", "x-last-death-exchange":
				continue
			case "x-first-death-queue":
				first = false
			}
			b = append(append(b, it.Key...), it.Value...)
			count += 2
		}
	}
	prefixes := []string{"x-last-death-"}
	if first {
		prefixes = append(prefixes, "x-first-death-")
	}
	for _, prefix := range prefixes {
		b = amqp100.AppendString(amqp100.AppendSymbol(b, prefix+"queue"), d.queue)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, prefix+"reason"), d.reason)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, prefix+"exchange"), d.exchange)
		count += 6
	}
	return b, count
}
