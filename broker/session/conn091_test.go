package session

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// open091 returns a connection after its handshake, with channel 1 open.
func open091(t testing.TB, cfg *Config) *Conn {
	t.Helper()
	c := NewConn(cfg, 7, 0)
	feedAll(t, c, append([]byte("AMQP\x00\x00\x09\x01"), handshake091(nil)...))
	feedAll(t, c, (&amqp091.ChannelOpen{}).Append(nil, 1))
	if done, err := c.Done(); done {
		t.Fatal(err)
	}
	c.Requests().Reset()
	c.Output().Reset()
	return c
}

func feedAll(t testing.TB, c *Conn, b []byte) {
	t.Helper()
	for len(b) > 0 {
		n, _ := c.Feed(0, b)
		if n == 0 {
			t.Fatalf("%d bytes are not consumed", len(b))
		}
		b = b[n:]
	}
}

type noPin struct{}

func (noPin) Unpin() {}

// TestNothingIsAllocated091 runs messages in and out with buffers that are warm.
func TestNothingIsAllocated091(t *testing.T) {
	c := open091(t, config091())
	feedAll(t, c, (&amqp091.ConfirmSelect{}).Append(nil, 1))
	feedAll(t, c, (&amqp091.BasicConsume{Queue: []byte("q")}).Append(nil, 1))
	c.Answer(0, []broker.Answer{{Kind: broker.AnsResult, Number: 1, Result: &broker.Result{}}, {Kind: broker.AnsCompleted, Number: 1}})
	number := uint64(1)

	in := (&amqp091.BasicPublish{RoutingKey: []byte("q")}).Append(nil, 1)
	p := amqp091.Properties{Flags: amqp091.FlagDeliveryMode | amqp091.FlagContentType, DeliveryMode: 2, ContentType: []byte("text/plain")}
	props := p.Append(nil)
	in = amqp091.AppendContentHeader(in, 1, 256, props)
	in = append(append(amqp091.AppendBodyHead(in, 1, 256), make([]byte, 256)...), amqp091.FrameEnd)
	record := broker.AppendPublish(nil, &broker.Publish{
		Format: broker.FormatAMQP091, Key: []byte("q"), Props: props, Body: make([]byte, 256),
	})
	ack := (&amqp091.BasicAck{}).Append(nil, 1)
	tag := uint64(0)
	answers := make([]broker.Answer, 0, 2)
	run := func() {
		for range 8 {
			c.Feed(0, in)
			number++
			answers = append(answers[:0],
				broker.Answer{Kind: broker.AnsCompleted, Number: number},
				broker.Answer{Kind: broker.AnsDeliver, Consumer: 1, Queue: 1, Index: broker.Index(number), Record: record, Pin: noPin{}})
			c.Answer(0, answers)
			tag++
			binary.BigEndian.PutUint64(ack[11:], tag)
			c.Feed(0, ack)
		}
		c.Requests().Reset()
		c.Output().Reset()
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations for 8 messages in, out and acknowledged", n)
	}
	if done, err := c.Done(); done {
		t.Fatal(err)
	}
}

func TestUnackedStaysSmall(t *testing.T) {
	var u unacked091
	c := &consumer091{}
	u.push(unacked{tag: 1, consumer: c})
	for tag := uint64(2); tag < 100_000; tag++ {
		u.push(unacked{tag: tag, consumer: c})
		i := u.find(tag)
		if i < 0 || u.at(i).tag != tag {
			t.Fatalf("tag %d is at %d", tag, i)
		}
		u.drop(i)
		if u.find(tag) >= 0 {
			t.Fatalf("tag %d is there after it was settled", tag)
		}
	}
	if u.find(1) != 0 || len(u.ring) > 256 {
		t.Errorf("tag 1 at %d of a ring of %d", u.find(1), len(u.ring))
	}
}

// TestUnackedAtRandom compares with a map.
func TestUnackedAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var u unacked091
	c := &consumer091{}
	held := map[uint64]bool{}
	for tag := uint64(1); tag < 20_000; tag++ {
		if rng.IntN(4) > 0 { // others need no acknowledgement
			u.push(unacked{tag: tag, consumer: c})
			held[tag] = true
		}
		for range rng.IntN(3) {
			some := tag - uint64(rng.IntN(int(min(tag, 100))))
			i := u.find(some)
			if (i >= 0) != held[some] {
				t.Fatalf("tag %d: at %d, held %v", some, i, held[some])
			}
			if i >= 0 {
				u.drop(i)
				delete(held, some)
			}
		}
	}
	last := uint64(0)
	for e, ok := u.pop(); ok; e, ok = u.pop() {
		if e.tag <= last || !held[e.tag] {
			t.Fatalf("tag %d after %d, held %v", e.tag, last, held[e.tag])
		}
		last = e.tag
		delete(held, e.tag)
	}
	if len(held) != 0 {
		t.Errorf("%d lost", len(held))
	}
}

// TestClientsCannotMakeItGrow sends what promises much and brings little.
func TestClientsCannotMakeItGrow(t *testing.T) {
	huge := amqp091.AppendContentHeader((&amqp091.BasicPublish{}).Append(nil, 1), 1, 100<<20, []byte{0, 0})
	table := []byte{1, 'n'}
	for range 1000 {
		table = append(table, 'F', 0, 0, 0x40, 0, 1, 'n')
	}
	deep := append(table, make([]byte, 0x4000)...)
	for name, in := range map[string][]byte{
		"a body that does not come": huge,
		"a frame too large":         {3, 0, 1, 0xff, 0xff, 0xff, 0xff},
		"half a frame":              {1, 0, 1, 0, 1, 0, 0, 0, 50},
		"a table without a bottom":  (&amqp091.QueueDeclare{Arguments: deep}).Append(nil, 1),
	} {
		var before, after runtime.MemStats
		c := open091(t, config091())
		runtime.ReadMemStats(&before)
		c.Feed(0, in)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

// TestGarbageEnds091 has every connection end by itself that says nothing of sense.
func TestGarbageEnds091(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		c := NewConn(config091(), 7, 0)
		b := []byte("AMQP\x00\x00\x09\x01")
		for range rng.IntN(200) {
			b = append(b, byte(rng.Uint32()))
		}
		c.Feed(0, b)
		for now, i := time.Duration(0), 0; ; i++ {
			if done, _ := c.Done(); done {
				break
			}
			if i > 3 {
				t.Fatalf("%x is still there after %v", b, now)
			}
			now = c.Tick(now)
		}
	}
}

// FuzzFeed091 feeds an open connection in two pieces, then answers what it asked for.
func FuzzFeed091(f *testing.F) {
	for _, line := range []string{
		"1 queue.declare queue=q durable arguments=x-message-ttl:1", "1 basic.consume queue=q",
		"1 basic.ack delivery-tag=1", "1 channel.close", "0 connection.close",
	} {
		f.Add(clientFrame(nil, line), uint16(3))
	}
	publish := clientFrame(clientFrame(clientFrame(nil, "1 basic.publish routing-key=q"), "1 header size=4"), "1 body text")
	f.Add(publish, uint16(20))
	record := broker.AppendPublish(nil, &broker.Publish{Format: broker.FormatAMQP091, Props: []byte{0, 0}, Body: []byte("x")})
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		c := open091(t, config091())
		first := data[:min(int(cut), len(data))]
		n, _ := c.Feed(0, first)
		if n > len(first) {
			t.Fatalf("%d of %d consumed", n, len(first))
		}
		c.Feed(0, data[n:])
		answers := []broker.Answer{}
		numbers := uint64(0)
		for i := range c.Requests().List {
			if k := c.Requests().List[i].Kind; k == broker.ReqSubmit || k == broker.ReqQuery {
				numbers++
				answers = append(answers, broker.Answer{
					Kind: broker.AnsResult, Number: numbers, Result: &broker.Result{Code: broker.Code(numbers % 9)},
				})
			}
		}
		for id := range broker.ConsumerID(4) {
			answers = append(answers, broker.Answer{Kind: broker.AnsDeliver, Consumer: id, Record: record, Pin: noPin{}})
		}
		answers = append(answers, broker.Answer{Kind: broker.AnsCompleted, Number: numbers})
		c.Answer(0, answers)
		c.Feed(0, clientFrame(nil, "0 connection.close"))
		next := c.Tick(time.Hour)
		c.Tick(next + time.Hour)
		if done, _ := c.Done(); !done {
			t.Fatal("the connection does not end")
		}
		for out := concat(c.Output().Vectors(nil)); len(out) > 0; {
			_, n, _, err := amqp091.ReadFrame(out, 1<<20)
			if n == 0 {
				t.Fatalf("written: %x: %v", out, err)
			}
			out = out[n:]
		}
	})
}

func concat(v [][]byte) (b []byte) {
	for _, part := range v {
		b = append(b, part...)
	}
	return b
}

type countedPin struct{ n *int }

func (p countedPin) Unpin() { *p.n-- }

// TestDropLetsGo has a session end that holds messages back and has others to write.
func TestDropLetsGo(t *testing.T) {
	c := open091(t, config091())
	feedAll(t, c, (&amqp091.BasicQos{PrefetchCount: 1, Global: true}).Append(nil, 1))
	feedAll(t, c, (&amqp091.BasicConsume{Queue: []byte("q")}).Append(nil, 1))
	pins := 0
	record := broker.AppendPublish(nil, &broker.Publish{
		Format: broker.FormatAMQP091, Props: []byte{0, 0}, Body: make([]byte, 10_000),
	})
	list := []broker.Answer{{Kind: broker.AnsResult, Number: 1, Result: &broker.Result{}}}
	for i := range broker.Index(3) {
		pins++
		list = append(list, broker.Answer{
			Kind: broker.AnsDeliver, Consumer: 1, Queue: 1, Index: i, Record: record, Pin: countedPin{&pins},
		})
	}
	c.Answer(0, list)
	if pins != 3 {
		t.Fatalf("%d pins before", pins)
	}
	c.Drop()
	if done, _ := c.Done(); pins != 0 || !done {
		t.Errorf("%d pins after, done %v", pins, done)
	}
}
