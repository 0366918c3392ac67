package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// opened100 is an open connection with a session.
func opened100(t testing.TB, lines ...string) *Conn {
	t.Helper()
	c := NewConn(config091(), 7, 0)
	b := clientFrame100(append([]byte(nil), header100...), "0 open container-id=client")
	b = clientFrame100(b, "0 begin next-outgoing-id=0 incoming-window=2147483647 outgoing-window=100")
	for _, line := range lines {
		b = clientFrame100(b, line)
	}
	feedWhole(t, c, b)
	return c
}

func feedWhole(t testing.TB, c *Conn, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n, _ := c.Feed(0, b)
		if n == 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
		b = b[n:]
	}
}

// attached100 is a connection with an incoming link on handle 0 and an outgoing one, of
// consumer 0, on handle 1. One request more has the number 4.
func attached100(t testing.TB) *Conn {
	t.Helper()
	c := opened100(t, `0 attach name=a handle=0 role=sender target="target address=/queues/q"`,
		`0 attach name=b handle=1 role=receiver source="source address=/queues/q"`,
		"0 flow next-incoming-id=0 incoming-window=2147483647 next-outgoing-id=0 outgoing-window=100 handle=1 delivery-count=0 link-credit=2147483647")
	queue := &broker.Result{IsQueue: true}
	c.Answer(0, []broker.Answer{
		{Kind: broker.AnsResult, Number: 1, Result: queue}, {Kind: broker.AnsResult, Number: 2, Result: queue},
		{Kind: broker.AnsCompleted, Number: 2},
		{Kind: broker.AnsResult, Number: 3, Result: &broker.Result{}}, {Kind: broker.AnsCompleted, Number: 3},
	})
	if done, err := c.Done(); done {
		t.Fatal(err)
	}
	c.req.Reset()
	c.out.Reset()
	return c
}

type countedPins int

func (p *countedPins) Unpin() { *p-- }

// TestAllocs100 holds the whole path of messages to no allocation: in, completed, out,
// settled.
func TestAllocs100(t *testing.T) {
	c := attached100(t)
	p := c.proto.(*conn100)
	message := amqp100.AppendDataHead((&amqp100.Properties{Subject: []byte("s")}).Append((&amqp100.Header{Durable: true}).Append(nil)), 100)
	message = append(message, make([]byte, 100)...)
	record := broker.AppendPublish(nil, &broker.Publish{Format: broker.FormatAMQP100, Props: message[:10], Body: message[len(message)-105:]})
	const batch = 100
	var in []byte
	answers := make([]broker.Answer, 0, batch+1)
	var pins countedPins
	var delivery amqp100.Seq
	number, index := uint64(3), broker.Index(0)
	sent := 0
	run := func() {
		in = in[:0]
		for range batch {
			frame, at := amqp100.BeginFrame(in, amqp100.FrameAMQP, 0)
			transfer := amqp100.Transfer{DeliveryID: amqp100.Some(delivery), DeliveryTag: p.tag[:], MessageFormat: amqp100.Some(uint32(0))}
			in = amqp100.EndFrame(append(transfer.Append(frame), message...), at)
			delivery++
		}
		frame, at := amqp100.BeginFrame(in, amqp100.FrameAMQP, 0)
		d := amqp100.Disposition{Role: amqp100.Receiver, First: delivery - 2*batch, Last: amqp100.Some(delivery - batch - 1), Settled: true, State: acceptedState}
		in = amqp100.EndFrame(d.Append(frame), at)
		n, _ := c.Feed(0, in)
		if n != len(in) {
			t.Fatal("not all was taken")
		}
		answers = answers[:0]
		for range batch {
			index++
			pins++
			answers = append(answers, broker.Answer{Kind: broker.AnsDeliver, Queue: 1, Index: index, Record: record, Pin: &pins})
		}
		number += batch
		answers = append(answers, broker.Answer{Kind: broker.AnsCompleted, Number: number})
		c.Answer(0, answers)
		sent += len(c.req.List)
		c.req.Reset()
		c.out.Reset()
	}
	for range 100 { // up to the capacities of a steady state
		run()
	}
	sent = 0
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations for %d messages each way", n, batch)
	}
	if sent < 101*batch*2 || pins != 0 {
		t.Errorf("%d requests, %d pins", sent, pins)
	}
	if done, err := c.Done(); done {
		t.Fatal(err)
	}
}

// TestUnsettled100 compares the list of unsettled deliveries with a map.
func TestUnsettled100(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	l := &link100{}
	var u unsettled100
	model := map[amqp100.Seq]bool{}
	next := amqp100.Seq(1<<32 - 500) // and past the wrap
	first := next
	for range 20000 {
		if rng.IntN(2) == 0 {
			if rng.IntN(5) > 0 { // else it was sent settled
				u.add(held100{link: l, id: next})
				model[next] = true
			}
			next++
			continue
		}
		from := first + amqp100.Seq(rng.IntN(int(next-first)+1))
		last := from + amqp100.Seq(rng.IntN(5))
		for i := u.from(from); i < len(u.list) && !last.Before(u.list[i].id); i++ {
			if u.list[i].link == nil {
				continue
			}
			if !model[u.list[i].id] || u.list[i].id.Before(from) {
				t.Fatalf("%d is not there", u.list[i].id)
			}
			delete(model, u.list[i].id)
			u.settle(i)
		}
		u.trim()
		for id := from; !last.Before(id); id++ {
			if model[id] {
				t.Fatalf("%d was passed over", id)
			}
		}
		if u.live != len(model) || len(u.list) > 2*(len(model)+squeezeAt)+squeezeAt {
			t.Fatalf("%d live, %d in the list, %d in the model", u.live, len(u.list), len(model))
		}
		if next-first > 2000 {
			first = next - 2000
		}
	}
}

// TestManyUnsettled holds a sitter's cost to one entry.
func TestManyUnsettled(t *testing.T) {
	var u unsettled100
	l := &link100{}
	u.add(held100{link: l, id: 0})
	for id := amqp100.Seq(1); id < 100_000; id++ {
		u.add(held100{link: l, id: id})
		u.settle(u.from(id))
		u.trim()
	}
	if cap(u.list) > 1000 || u.live != 1 || u.list[u.from(0)].link == nil {
		t.Errorf("%d entries for one delivery", cap(u.list))
	}
}

// TestHostile100 feeds what no client sends, and bounds what it costs.
func TestHostile100(t *testing.T) {
	deep := []byte{0x45}
	for range 1000 {
		size := len(deep) + 4
		deep = append([]byte{0xd0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 0, 0, 0, 1}, deep...)
	}
	described := append(bytes.Repeat([]byte{0, 0x44}, 1000), 0x40)
	frame := func(body ...[]byte) []byte {
		b, at := amqp100.BeginFrame(nil, amqp100.FrameAMQP, 0)
		return amqp100.EndFrame(append(b, bytes.Join(body, nil)...), at)
	}
	for name, b := range map[string][]byte{
		"deep properties of open":   frame([]byte{0, 0x53, 0x10, 0xd0, 0, 0, 0x40, 0, 0, 0, 0, 10, 0xa1, 1, 'c', 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40}, deep),
		"described a thousand fold": frame(described),
		"a frame of nothing":        bytes.Repeat([]byte{0}, 100),
		"a huge frame":              {0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0},
		"a huge list":               frame([]byte{0, 0x53, 0x10, 0xd0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
		"many fields":               frame([]byte{0, 0x53, 0x10, 0xd0, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 0x40, 0x40, 0x40, 0x40}),
	} {
		c := NewConn(config091(), 7, 0)
		feedWhole(t, c, header100)
		before := allocated()
		c.Feed(0, b)
		if done, err := c.Done(); !done || err == nil {
			t.Errorf("%s: %v %v", name, done, err)
		}
		if n := allocated() - before; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestPartialMessages bounds what unfinished messages take, over all links.
func TestPartialMessages(t *testing.T) {
	c := attached100(t)
	p := c.proto.(*conn100)
	c.cfg.MessageBytes = 100_000
	b := clientFrame100(nil, "0 transfer handle=0 delivery-id=0 more zeros=60000")
	feedWhole(t, c, b)
	if p.partial < 60_000 {
		t.Fatal(p.partial)
	}
	feedWhole(t, c, clientFrame100(nil, "0 transfer handle=0 more zeros=60000"))
	if p.partial != 0 || p.sessions[0].links[0].state != linkDetaching {
		t.Errorf("%d bytes are kept of a message over the limit", p.partial)
	}
}

// TestHalfFrames feeds a conversation byte by byte: it must go as in one piece.
func TestHalfFrames(t *testing.T) {
	lines := []string{"0 open container-id=client", "0 begin next-outgoing-id=0 incoming-window=10 outgoing-window=10",
		`0 attach name=a handle=0 role=sender target="target"`, "0 transfer handle=0 delivery-id=0 body=one to=q", "0 detach handle=0 closed"}
	b := append([]byte(nil), header100...)
	for _, line := range lines {
		b = clientFrame100(b, line)
	}
	whole := NewConn(config091(), 7, 0)
	feedWhole(t, whole, b)
	pieces := NewConn(config091(), 7, 0)
	held := []byte{}
	for i := range b {
		held = append(held, b[i])
		n, want := pieces.Feed(time.Duration(i), held)
		if n == 0 && want != 0 && want <= len(held) {
			t.Fatalf("%d bytes are there, %d are wanted", len(held), want)
		}
		held = held[n:]
	}
	if !bytes.Equal(whole.out.Buffer(), pieces.out.Buffer()) || !bytes.Equal(whole.req.Bytes, pieces.req.Bytes) {
		t.Error("byte by byte it goes another way")
	}
}

// FuzzFeed100 feeds anything to an open connection with links, and answers its requests.
func FuzzFeed100(f *testing.F) {
	for _, line := range []string{
		"0 transfer handle=0 delivery-id=0 body=x", "0 disposition role=receiver first=0 last=5 settled state=accepted",
		"0 flow next-incoming-id=0 incoming-window=100 next-outgoing-id=0 outgoing-window=100 handle=1 delivery-count=0 link-credit=3 drain",
		`0 attach name=c handle=2 role=receiver source="source address=x/k filter=filter:legacy-amqp-topic-binding:a durable=1"`,
		`0 attach name=c handle=2 role=sender target="target dynamic"`, "0 detach handle=1 closed", "0 end", "0 close",
		"1 begin next-outgoing-id=5 incoming-window=1 outgoing-window=0", "0 transfer handle=0 delivery-id=1 more zeros=50",
	} {
		f.Add(clientFrame100(nil, line), []byte{1, 2, 3, 0})
	}
	var pub broker.Publish
	f.Fuzz(func(t *testing.T, data, script []byte) {
		c := attached100(t)
		var pins countedPins
		number, index := uint64(3), broker.Index(0)
		for _, step := range append(script[:min(len(script), 20)], 0) {
			part := data[:min(len(data), int(step)*8)]
			if step == 0 {
				part = data
			}
			n, want := c.Feed(0, part)
			if n > len(part) || n == 0 && len(part) == len(data) && want > 0 && want <= len(data) {
				t.Fatalf("took %d of %d and wants %d", n, len(part), want)
			}
			data = data[n:]
			var answers []broker.Answer
			for i := range c.req.List {
				q := &c.req.List[i]
				switch q.Kind {
				case broker.ReqSubmit, broker.ReqQuery:
					number++
					result := &broker.Result{Code: broker.Code(int(step) % 9), IsQueue: step%2 == 0, IsExchange: step%3 == 0, ExchangeType: broker.Topic}
					if q.Kind == broker.ReqSubmit && broker.ParsePublish(c.req.Data(q), &pub) == nil && result.Code == broker.NoRoute {
						pins++
						answers = append(answers, broker.Answer{Kind: broker.AnsResult, Number: number, Result: result, Record: bytes.Clone(c.req.Data(q)), Pin: &pins})
						continue
					}
					answers = append(answers, broker.Answer{Kind: broker.AnsResult, Number: number, Result: result})
				case broker.ReqCredit:
					for range min(q.Limit, 3) {
						index++
						pins++
						record := broker.AppendPublish(nil, &broker.Publish{Format: broker.Format(1 + index%2), Body: make([]byte, int(step)*100)})
						answers = append(answers, broker.Answer{Kind: broker.AnsDeliver, Consumer: q.Consumer, Queue: 1, Index: index, Record: record, Pin: &pins})
					}
					answers = append(answers, broker.Answer{Kind: broker.AnsDrained, Consumer: q.Consumer})
				}
			}
			answers = append(answers, broker.Answer{Kind: broker.AnsCompleted, Number: number})
			c.req.Reset()
			c.Answer(0, answers)
			c.out.Reset()
		}
		c.Shut(0, "bye")
		c.Feed(0, clientFrame100(nil, "0 close"))
		c.Tick(time.Hour)
		c.out.Reset()
		if done, _ := c.Done(); !done || pins != 0 {
			t.Fatalf("done %v, %d pins", done, pins)
		}
	})
}

func BenchmarkPublish100(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := attached100(b)
			message := append(amqp100.AppendDataHead((&amqp100.Header{Durable: true}).Append(nil), size), make([]byte, size)...)
			var in []byte
			id, number := amqp100.Seq(0), uint64(3)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				frame, at := amqp100.BeginFrame(in[:0], amqp100.FrameAMQP, 0)
				transfer := amqp100.Transfer{DeliveryID: amqp100.Some(id), DeliveryTag: []byte("1234"), MessageFormat: amqp100.Some(uint32(0))}
				in = amqp100.EndFrame(append(transfer.Append(frame), message...), at)
				id++
				c.Feed(0, in)
				if id%64 == 0 {
					number += 64
					c.Answer(0, []broker.Answer{{Kind: broker.AnsCompleted, Number: number}})
					c.req.Reset()
					c.out.Reset()
				}
			}
		})
	}
}

func BenchmarkDeliver100(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := attached100(b)
			var pins countedPins
			body := append(amqp100.AppendDataHead(nil, size), make([]byte, size)...)
			record := broker.AppendPublish(nil, &broker.Publish{Format: broker.FormatAMQP100, Props: (&amqp100.Header{Durable: true}).Append(nil), Body: body})
			list := make([]broker.Answer, 64)
			index := broker.Index(0)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				list[index%64] = broker.Answer{Kind: broker.AnsDeliver, Queue: 1, Index: index, Record: record, Pin: &pins}
				if index++; index%64 == 0 {
					c.Answer(0, list)
					frame, at := amqp100.BeginFrame(nil, amqp100.FrameAMQP, 0)
					d := amqp100.Disposition{Role: amqp100.Receiver, First: amqp100.Seq(index - 64), Last: amqp100.Some(amqp100.Seq(index - 1)), Settled: true, State: acceptedState}
					c.Feed(0, amqp100.EndFrame(d.Append(frame), at))
					c.req.Reset()
					c.out.Reset()
				}
			}
		})
	}
}
