package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// These tests run a client that is not ours against the session, over loopback.

func realConfig() *Config {
	return &Config{
		Product: "qpidd-cluster", Version: "test", Container: "c",
		Random: func(b []byte) { _, _ = rand.Read(b) },
		Hosts:  func() []string { return []string{"127.0.0.1:5672", "[::1]:5673"} },
	}
}

// dial opens a connection and a session that end with the test.
func dial(t *testing.T, address string, o *amqp.ConnOptions) (context.Context, *amqp.Conn, *amqp.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	c, err := amqp.Dial(ctx, "amqp://"+address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); cancel() })
	s, err := c.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, c, s
}

func sender(ctx context.Context, t *testing.T, s *amqp.Session, target string, o *amqp.SenderOptions) *amqp.Sender {
	t.Helper()
	snd, err := s.NewSender(ctx, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return snd
}

func receiver(ctx context.Context, t *testing.T, s *amqp.Session, source string, o *amqp.ReceiverOptions) *amqp.Receiver {
	t.Helper()
	r, err := s.NewReceiver(ctx, source, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func receive(ctx context.Context, t *testing.T, r *amqp.Receiver) *amqp.Message {
	t.Helper()
	m, err := r.Receive(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// condition is the error condition in err.
func condition(err error) string {
	var linkErr *amqp.LinkError
	if errors.As(err, &linkErr) && linkErr.RemoteErr != nil {
		return string(linkErr.RemoteErr.Condition)
	}
	var amqpErr *amqp.Error
	if errors.As(err, &amqpErr) {
		return string(amqpErr.Condition)
	}
	return fmt.Sprint(err)
}

func TestGoAMQPSendReceive(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, c, s := dial(t, m.listen(), &amqp.ConnOptions{MaxFrameSize: 1024})
	if hosts, ok := c.Properties()["failover-server-list"].([]any); !ok || len(hosts) != 2 {
		t.Errorf("hosts: %v", c.Properties())
	}
	for _, address := range []string{"q", "/queues/q", "/queues/%71"} {
		snd := sender(ctx, t, s, address, nil)
		r := receiver(ctx, t, s, address, &amqp.ReceiverOptions{Credit: 10})
		for _, size := range []int{0, 1, 900, 1024, 5000, 1 << 20} {
			body := bytes.Repeat([]byte{byte(size)}, size)
			out := amqp.NewMessage(body)
			out.Header = &amqp.MessageHeader{Durable: true, Priority: 7, TTL: time.Hour}
			subject := "s"
			out.Properties = &amqp.MessageProperties{Subject: &subject, MessageID: "m"}
			out.ApplicationProperties = map[string]any{"k": int64(1)}
			if err := snd.Send(ctx, out, nil); err != nil {
				t.Fatalf("%s, %d bytes: %v", address, size, err)
			}
			in := receive(ctx, t, r)
			if !bytes.Equal(in.GetData(), body) || *in.Properties.Subject != "s" || in.ApplicationProperties["k"] != int64(1) {
				t.Fatalf("%s, %d bytes: got %d", address, size, len(in.GetData()))
			}
			if h := in.Header; !h.Durable || h.Priority != 7 || h.TTL == 0 || !h.FirstAcquirer || h.DeliveryCount != 0 {
				t.Errorf("header %+v", h)
			}
			if err := r.AcceptMessage(ctx, in); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(snd.Close(ctx), r.Close(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all is accepted", func() bool { return m.depth("q") == 0 })
}

func TestGoAMQPMany(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, _, s := dial(t, m.listen(), nil)
	snd := sender(ctx, t, s, "q", nil)
	const count = 5000
	failed := make(chan error, 1)
	go func() {
		var receipts []amqp.SendReceipt
		for i := range count {
			receipt, err := snd.SendWithReceipt(ctx, amqp.NewMessage([]byte(fmt.Sprint(i))), nil)
			if err != nil {
				failed <- err
				return
			}
			receipts = append(receipts, receipt)
		}
		for _, receipt := range receipts {
			state, err := receipt.Wait(ctx)
			if _, ok := state.(*amqp.StateAccepted); err != nil || !ok {
				failed <- fmt.Errorf("%T %w", state, err)
				return
			}
		}
		failed <- nil
	}()
	r := receiver(ctx, t, s, "q", &amqp.ReceiverOptions{Credit: 300})
	for i := range count {
		in := receive(ctx, t, r)
		if string(in.GetData()) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, in.GetData())
		}
		if err := r.AcceptMessage(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is accepted", func() bool { return m.depth("q") == 0 })
}

func TestGoAMQPOutcomes(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, _, s := dial(t, m.listen(), nil)
	for _, mode := range []amqp.ReceiverSettleMode{amqp.ReceiverSettleModeFirst, amqp.ReceiverSettleModeSecond} {
		snd := sender(ctx, t, s, "q", &amqp.SenderOptions{RequestedReceiverSettleMode: mode.Ptr()})
		r := receiver(ctx, t, s, "q", &amqp.ReceiverOptions{Credit: 1, SettlementMode: mode.Ptr()})
		if err := snd.Send(ctx, amqp.NewMessage([]byte("x")), nil); err != nil {
			t.Fatal(err)
		}
		counts := []uint32{}
		for _, settle := range []func(*amqp.Message) error{
			func(in *amqp.Message) error { return r.ReleaseMessage(ctx, in) },
			func(in *amqp.Message) error {
				return r.ModifyMessage(ctx, in, &amqp.ModifyMessageOptions{DeliveryFailed: true})
			},
			func(in *amqp.Message) error { return r.ModifyMessage(ctx, in, nil) },
			func(in *amqp.Message) error { return r.RejectMessage(ctx, in, nil) },
		} {
			in := receive(ctx, t, r)
			counts = append(counts, in.Header.DeliveryCount)
			if in.Header.FirstAcquirer && in.Header.DeliveryCount > 0 {
				t.Errorf("header %+v", in.Header)
			}
			if err := settle(in); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(counts, []uint32{0, 0, 1, 1}) {
			t.Errorf("delivery counts %v", counts)
		}
		eventually(t, "it is gone", func() bool { return m.depth("q") == 0 })
		if err := errors.Join(snd.Close(ctx), r.Close(ctx)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoAMQPExchanges(t *testing.T) {
	m := newTestMember(t, realConfig())
	ctx, _, s := dial(t, m.listen(), nil)
	subject := func(text string) *amqp.Message {
		msg := amqp.NewMessage([]byte(text))
		msg.Properties = &amqp.MessageProperties{Subject: &text}
		return msg
	}
	a := []amqp.LinkFilter{amqp.NewLinkFilter("apache.org:legacy-amqp-topic-binding:string", 0x468C00000001, "a.#")}
	for _, source := range []struct {
		exchange, address string
		filter            []amqp.LinkFilter
	}{
		{exchange: "amq.topic", address: "amq.topic/a.*"},
		{exchange: "amq.topic", address: "/exchanges/amq.topic/a.%2A"},
		{exchange: "amq.topic", address: "amq.topic", filter: a},
		{exchange: "amq.direct", address: "amq.direct/a.b"},
		{exchange: "amq.fanout", address: "amq.fanout"},
		{exchange: "amq.topic", address: "amq.topic"},
	} {
		r := receiver(ctx, t, s, source.address, &amqp.ReceiverOptions{Filters: source.filter})
		for _, target := range []string{source.exchange, source.exchange + "/a.b", "/exchanges/" + source.exchange + "/a.b"} {
			snd := sender(ctx, t, s, target, nil)
			if err := snd.Send(ctx, subject("a.b"), nil); err != nil {
				t.Fatalf("%s to %s: %v", target, source.address, err)
			}
			in := receive(ctx, t, r)
			if err := errors.Join(r.AcceptMessage(ctx, in), snd.Close(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	snd := sender(ctx, t, s, "amq.topic/nobody", nil)
	receipt, err := snd.SendWithReceipt(ctx, subject("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := receipt.Wait(ctx); err != nil {
		t.Fatal(err)
	} else if _, ok := state.(*amqp.StateReleased); !ok {
		t.Errorf("a message without a queue is %T", state)
	}
}

func TestGoAMQPAnonymous(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, _, s := dial(t, m.listen(), nil)
	snd := sender(ctx, t, s, "", nil)
	if snd.Address() != "" {
		t.Skip("this client cannot leave the address out")
	}
	r := receiver(ctx, t, s, "q", nil)
	fromTopic := receiver(ctx, t, s, "amq.topic/k", nil)
	for _, to := range []string{"q", "/queues/q", "amq.topic/k", "/exchanges/amq.topic/k"} {
		msg := amqp.NewMessage([]byte(to))
		msg.Properties = &amqp.MessageProperties{To: &to}
		if err := snd.Send(ctx, msg, nil); err != nil {
			t.Skipf("this client cannot leave the address out: %v", err)
		}
		from := r
		if len(to) > 10 {
			from = fromTopic
		}
		in := receive(ctx, t, from)
		if string(in.GetData()) != to {
			t.Errorf("%s got %s", to, in.GetData())
		}
		if err := from.AcceptMessage(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoAMQPDynamic(t *testing.T) {
	m := newTestMember(t, realConfig())
	ctx, _, s := dial(t, m.listen(), nil)
	r := receiver(ctx, t, s, "", &amqp.ReceiverOptions{DynamicAddress: true})
	snd := sender(ctx, t, s, r.Address(), nil)
	if err := snd.Send(ctx, amqp.NewMessage([]byte("hi")), nil); err != nil {
		t.Fatal(err)
	}
	receive(ctx, t, r)
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is gone", func() bool { return m.depth(r.Address()) == -1 })
	dynamic := sender(ctx, t, s, "", &amqp.SenderOptions{DynamicAddress: true})
	if err := dynamic.Send(ctx, amqp.NewMessage(nil), nil); err != nil {
		t.Fatal(err)
	}
	if n := m.depth(dynamic.Address()); n != 1 {
		t.Errorf("%d in %s", n, dynamic.Address())
	}
	if err := dynamic.Close(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is gone", func() bool { return m.depth(dynamic.Address()) == -1 })
}

func TestGoAMQPRefused(t *testing.T) {
	cfg := realConfig()
	cfg.MessageBytes = 1000
	m := newTestMember(t, cfg)
	m.declare(&broker.QueueDeclare{Name: "q"})
	most := uint64(1)
	m.declare(&broker.QueueDeclare{Name: "full", Options: broker.QueueOptions{MaxLength: &most, Overflow: broker.OverflowReject}})
	ctx, _, s := dial(t, m.listen(), nil)
	if _, err := s.NewSender(ctx, "nobody", nil); condition(err) != "amqp:not-found" {
		t.Errorf("%v", err)
	}
	for _, address := range []string{"nobody", "/queues/nobody", "/exchanges/nobody", "nobody/key"} {
		if _, err := s.NewReceiver(ctx, address, nil); condition(err) != "amqp:not-found" {
			t.Errorf("%s: %v", address, err)
		}
	}
	selector := []amqp.LinkFilter{amqp.NewSelectorFilter("a = 1")}
	if _, err := s.NewReceiver(ctx, "q", &amqp.ReceiverOptions{Filters: selector}); condition(err) != "amqp:not-implemented" {
		t.Errorf("selector: %v", err)
	}
	snd := sender(ctx, t, s, "full", nil)
	if err := snd.Send(ctx, amqp.NewMessage(nil), nil); err != nil {
		t.Fatal(err)
	}
	if err := snd.Send(ctx, amqp.NewMessage(nil), nil); condition(err) != "amqp:resource-limit-exceeded" {
		t.Errorf("full queue: %v", err)
	}
	big := sender(ctx, t, s, "q", nil)
	if err := big.Send(ctx, amqp.NewMessage(make([]byte, 2000)), nil); err == nil {
		t.Error("a message over the limit was taken")
	}
}

func TestGoAMQPDrain(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, _, s := dial(t, m.listen(), nil)
	snd := sender(ctx, t, s, "q", nil)
	r := receiver(ctx, t, s, "q", &amqp.ReceiverOptions{Credit: -1})
	for range 3 {
		if err := errors.Join(snd.Send(ctx, amqp.NewMessage([]byte("x")), nil), r.IssueCredit(10)); err != nil {
			t.Fatal(err)
		}
		in := receive(ctx, t, r)
		if err := errors.Join(r.AcceptMessage(ctx, in), r.DrainCredit(ctx, nil), snd.Send(ctx, amqp.NewMessage([]byte("y")), nil)); err != nil {
			t.Fatal(err)
		}
		if in = r.Prefetched(); in != nil {
			t.Fatal("drained, and a message comes")
		}
		if err := r.IssueCredit(1); err != nil {
			t.Fatal(err)
		}
		if err := r.AcceptMessage(ctx, receive(ctx, t, r)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoAMQPSettledAndBrowse(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	ctx, _, s := dial(t, m.listen(), nil)
	snd := sender(ctx, t, s, "q", &amqp.SenderOptions{SettlementMode: amqp.SenderSettleModeSettled.Ptr()})
	for range 10 {
		if err := snd.Send(ctx, amqp.NewMessage([]byte("x")), nil); err != nil {
			t.Fatal(err)
		}
	}
	r := receiver(ctx, t, s, "q", &amqp.ReceiverOptions{RequestedSenderSettleMode: amqp.SenderSettleModeSettled.Ptr(), Credit: 3})
	for range 10 {
		receive(ctx, t, r)
	}
	eventually(t, "all is settled", func() bool { return m.depth("q") == 0 })
}

func TestGoAMQPCloseReleases(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "q"})
	address := m.listen()
	ctx, c, s := dial(t, address, nil)
	snd := sender(ctx, t, s, "q", nil)
	for i := range 20 {
		if err := snd.Send(ctx, amqp.NewMessage([]byte{byte(i)}), nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx2, _, s2 := dial(t, address, nil)
	for _, release := range []func(*amqp.Receiver) error{
		func(r *amqp.Receiver) error { return r.Close(ctx) },
		func(*amqp.Receiver) error { return s.Close(ctx) },
		func(*amqp.Receiver) error { return c.Close() },
	} {
		r := receiver(ctx, t, s, "q", &amqp.ReceiverOptions{Credit: 10})
		for range 10 {
			receive(ctx, t, r)
		}
		if err := release(r); err != nil {
			t.Fatal(err)
		}
		other := receiver(ctx2, t, s2, "q", &amqp.ReceiverOptions{Credit: 20})
		// A connection's end is answered before what it held is back: order is not asked for.
		seen := map[byte]bool{}
		for range 20 {
			seen[receive(ctx2, t, other).GetData()[0]] = true
		}
		if len(seen) != 20 {
			t.Fatalf("%d of 20 messages came back", len(seen))
		}
		if err := other.Close(ctx2); err != nil {
			t.Fatal(err)
		}
		if s, _ = c.NewSession(ctx, nil); s == nil {
			break
		}
	}
}

func TestGoAMQPSASL(t *testing.T) {
	cfg := realConfig()
	cfg.Users = oneUser{}
	address := newTestMember(t, cfg).listen()
	dial(t, address, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("alice", "secret")})
	for _, sasl := range []amqp.SASLType{amqp.SASLTypePlain("alice", "wrong"), amqp.SASLTypeAnonymous(), nil} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := amqp.Dial(ctx, "amqp://"+address, &amqp.ConnOptions{SASLType: sasl}); err == nil {
			t.Errorf("%v came in", sasl)
		}
		cancel()
	}
	open := newTestMember(t, realConfig()).listen()
	for _, sasl := range []amqp.SASLType{amqp.SASLTypePlain("any", "any"), amqp.SASLTypeAnonymous(), nil} {
		dial(t, open, &amqp.ConnOptions{SASLType: sasl})
	}
}
