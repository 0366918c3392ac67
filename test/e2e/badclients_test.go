package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	azure "github.com/Azure/go-amqp"
	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

const negotiate = 500 * time.Millisecond

// open is an AMQP 0-9-1 connection as far as a peer has to come before its own mistakes.
func open091(t *testing.T, c net.Conn) {
	t.Helper()
	method := func(channel uint16, class, method uint16, arguments ...byte) []byte {
		payload := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), method)
		return frame091(1, channel, append(payload, arguments...))
	}
	steps := [][]byte{
		[]byte("AMQP\x00\x00\x09\x01"),
		method(0, 10, 11, slices.Concat([]byte{0, 0, 0, 0}, []byte{5}, []byte("PLAIN"), []byte{0, 0, 0, 4}, []byte("\x00a\x00b"), []byte{5}, []byte("en_US"))...),
		slices.Concat(method(0, 10, 31, 0, 0, 0, 2, 0, 0, 0, 0), method(0, 10, 40, 1, '/', 0, 0)),
		method(1, 20, 10, 0),
	}
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for i, step := range steps {
		if _, err := c.Write(step); err != nil {
			t.Fatal(err)
		}
		var head [7]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatalf("step %d of opening: %v", i, err)
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[3:]))+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func frame091(kind byte, channel uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(append(b, payload...), 0xce)
}

// nested is queue.declare with a table of tables, so deep.
func nested(depth int) []byte {
	table := []byte{0, 0, 0, 0}
	for range depth {
		inner := append([]byte{1, 't', 'F'}, table...)
		table = append(binary.BigEndian.AppendUint32(nil, uint32(len(inner))), inner...)
	}
	return frame091(1, 1, slices.Concat([]byte{0, 50, 0, 10, 0, 0, 1, 'q', 0}, table))
}

// TestBadClients has clients do what they must not. Each is refused, or held, in bounded time;
// a good client works all the while, and the broker is none the worse for it.
func TestBadClients(t *testing.T) {
	short(t)
	c := harness.Start(t, 2, fmt.Sprintf("--max-negotiate-time=%d", negotiate.Milliseconds()))
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("good"))
	s.RunOnce(s.Consuming, 0, s.Consume100("good", false))
	b := c.Brokers[0]
	noise := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, bad := range []struct {
		name string
		open bool // opens a connection first, and then
		says []byte
		keep bool // says nothing more is all that is wrong
	}{
		{name: "nothing at all"},
		{name: "garbage", says: noise},
		{name: "half a protocol header", says: []byte("AMQP\x00")},
		{name: "a header and silence", says: []byte("AMQP\x00\x00\x09\x01")},
		{name: "SASL and silence", says: []byte("AMQP\x03\x01\x00\x00")},
		{name: "AMQP 1.0 without SASL, and silence", says: []byte("AMQP\x00\x01\x00\x00")},
		{name: "SASL and garbage", says: append([]byte("AMQP\x03\x01\x00\x00"), noise...)},
		{name: "1.0 and garbage", says: append([]byte("AMQP\x00\x01\x00\x00"), noise...)},
		{name: "1.0 and a frame of 2 GB", says: append([]byte("AMQP\x00\x01\x00\x00"), 0x7f, 0xff, 0xff, 0xff, 2, 0, 0, 0)},
		{name: "HTTP", says: []byte("GET / HTTP/1.1\r\nHost: here\r\n\r\n")},
		{name: "TLS", says: []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
		{name: "garbage in an open connection", open: true, says: noise},
		{name: "a frame of 2 GB", open: true, says: []byte{1, 0, 1, 0x7f, 0xff, 0xff, 0xff}},
		{name: "a frame without its end", open: true, says: append(frame091(1, 1, make([]byte, 20))[:27], 0)},
		{name: "a table nested 1000 deep", open: true, says: nested(1000)},
		{name: "a table that is longer than its frame", open: true, says: frame091(1, 1, []byte{0, 50, 0, 10, 0, 0, 1, 'q', 0, 0x7f, 0, 0, 0})},
		{name: "half a frame", open: true, says: nested(3)[:20], keep: true},
	} {
		t.Run(bad.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", b.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if bad.open {
				open091(t, conn)
			}
			if _, err := conn.Write(bad.says); err != nil {
				t.Log(err) // it may be refused before it has said all
			}
			limit := negotiate + 4*time.Second
			if bad.keep {
				limit = negotiate
			}
			if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			said, err := io.ReadAll(conn)
			closed := !errors.Is(err, os.ErrDeadlineExceeded)
			t.Logf("closed %v after %v, with %.120q", closed, time.Since(started).Round(time.Millisecond), said)
			if closed == bad.keep {
				t.Errorf("closed: %v (%v)", closed, err)
			}
			s.Await(t, "a good client goes on", 100, 100, 0)
		})
	}
	s.Settle(t)
	if ends := s.Ends(); len(ends) > 0 {
		t.Errorf("good clients lost their brokers: %v", ends)
	}
}

// TestReaderThatDoesNotRead takes nothing of what it asked for. The broker keeps little of it
// in memory besides the messages themselves, and others get what they want.
func TestReaderThatDoesNotRead(t *testing.T) {
	short(t)
	const (
		messages = 500
		size     = 100 << 10
		stored   = messages * size
		most     = 100 << 20 // besides
	)
	c := harness.Start(t, 2)
	s := load.NewStage(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*load.Patience)
	defer cancel()
	publishBodies(ctx, t, s, 1, messages, size)
	before := c.Brokers[0].ResidentBytes(t)
	for range 5 {
		conn, err := c.Brokers[0].Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		open091(t, conn)
		queue := append([]byte{byte(len(s.Queue))}, s.Queue...)
		// basic.consume without acknowledgements: 0, queue, tag, flags, arguments; a browser would
		// not take the messages from the others.
		if _, err := conn.Write(frame091(1, 1, slices.Concat([]byte{0, 60, 0, 20, 0, 0}, queue, []byte{0, 0, 0, 0, 0, 0}))); err != nil {
			t.Fatal(err)
		}
	}
	s.Run(s.Publishing, 0, s.Publish091("good"))
	s.Await(t, "others go on", 5000, 0, 0)
	s.StopPublishing()
	after := c.Brokers[0].ResidentBytes(t)
	t.Logf("%d MB were queued; the broker had %d MB, and has %d MB", stored>>20, before>>20, after>>20)
	if after > before+most {
		t.Errorf("it grew by %d MB", (after-before)>>20)
	}
}

func publishBodies(ctx context.Context, t *testing.T, s *load.Stage, at, messages, size int) {
	t.Helper()
	ch, end, err := load.Dial091(ctx, s.Brokers[at])
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), size)
	var last *rabbit.DeferredConfirmation
	for range messages {
		if last, err = ch.PublishWithDeferredConfirmWithContext(ctx, "", s.Queue, true, false, rabbit.Publishing{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := last.WaitContext(ctx); err != nil || !ok {
		t.Fatalf("the last message was confirmed: %v, %v", ok, err)
	}
}

// TestFloods publishes as fast as sockets take it, without waiting for confirms: what no queue
// wants, so that the memory limit does not end it. A flood is held back at its socket, and
// others get through.
func TestFloods(t *testing.T) {
	short(t)
	const (
		during = 3 * time.Second
		most   = 300 << 20
	)
	c := harness.Start(t, 2)
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 1, s.Publish100("good"))
	s.RunOnce(s.Consuming, 1, s.Consume091("good", false))
	s.Await(t, "a good client works", 100, 100, 0)
	for i := range 4 {
		s.RunOnce(s.Publishing, i%2, flood)
	}
	s.Ledger.Watch()
	peak := watchMemory(t, c, during, most)
	s.Await(t, "a good client goes on", 500, 500, 0)
	t.Logf("at most %d MB; the good publisher waited %v at most for a confirm", peak>>20, s.Ledger.Gaps())
	s.Settle(t)
}

// watchMemory returns the most that a broker had in memory meanwhile.
func watchMemory(t *testing.T, c *harness.Cluster, during time.Duration, most int64) (peak int64) {
	t.Helper()
	harness.Always(t, during, "memory is bounded", func() error {
		for i, b := range c.Brokers {
			if peak = max(peak, b.ResidentBytes(t)); peak > most {
				return fmt.Errorf("broker %d has %d MB", i, peak>>20)
			}
		}
		return nil
	})
	return peak
}

// flood publishes under a key that no queue has.
func flood(ctx context.Context, b *harness.Broker) error {
	ch, end, err := load.Dial091(ctx, b)
	if err != nil {
		return err
	}
	defer end()
	body := bytes.Repeat([]byte("f"), 16<<10)
	for ctx.Err() == nil {
		if err := ch.PublishWithContext(ctx, "", "nobody", false, false, rabbit.Publishing{Body: body}); err != nil {
			return err
		}
	}
	return nil
}

// TestMemoryLimit fills the memory that messages may have. Publishers are refused then, on
// every member; when there is room again, they are not.
func TestMemoryLimit(t *testing.T) {
	short(t)
	const (
		limit = 64 << 20
		most  = limit + 150<<20
	)
	c := harness.Start(t, 2, fmt.Sprintf("--memory-limit=%d", limit))
	s := load.NewStage(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), load.Patience)
	defer cancel()
	s.RunOnce(ctx, 0, fill)
	s.RunOnce(ctx, 1, fill)
	s.Wait()
	if ends := s.Ends(); len(ends) != 2 {
		t.Fatalf("both should have been refused: %v", ends)
	} else {
		for _, err := range ends {
			if refused := (*azure.Error)(nil); !errors.As(err, &refused) || refused.Condition != azure.ErrCondResourceLimitExceeded {
				t.Errorf("a publisher was told %v", err)
			}
		}
	}
	watchMemory(t, c, 100*time.Millisecond, most)
	ch, end, err := load.Dial091(ctx, c.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	n, err := ch.QueueDelete("full", false, false, false)
	t.Logf("%d messages of %d KB were in the queue (%v)", n, fillBytes>>10, err)
	if n*fillBytes < limit/2 || n*fillBytes > limit {
		t.Errorf("%d MB of messages were accepted, the limit is %d MB", n*fillBytes>>20, limit>>20)
	}
	s.Run(s.Publishing, 1, s.Publish100("good"))
	s.RunOnce(s.Consuming, 1, s.Consume091("good", false))
	s.Await(t, "publishers go on", 500, 500, 0)
	s.Settle(t)
}

const fillBytes = 64 << 10

// fill publishes to a queue of its own until it is refused.
func fill(ctx context.Context, b *harness.Broker) error {
	session, end, err := load.Dial100(ctx, b)
	if err != nil {
		return err
	}
	defer end()
	sender, err := session.NewSender(ctx, "full", &azure.SenderOptions{TargetCapabilities: []string{"create-on-demand"}})
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("f"), fillBytes)
	for {
		if err := sender.Send(ctx, azure.NewMessage(body), nil); err != nil {
			return err
		}
	}
}
