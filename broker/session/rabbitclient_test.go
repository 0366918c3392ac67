package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// These tests run RabbitMQ's own client against the session, over loopback.

func dial091(t *testing.T, m *testMember) (address string, conn *amqp.Connection, ch *amqp.Channel) {
	t.Helper()
	address = m.listen()
	conn, ch = again091(t, address)
	return address, conn, ch
}

func again091(t *testing.T, address string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, channel091Of(t, conn)
}

func channel091Of(t *testing.T, conn *amqp.Connection) *amqp.Channel {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func next091(t *testing.T, c <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-c:
		if !ok {
			t.Fatal("the consumer has ended")
		}
		return d
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is delivered")
	}
	panic("not reached")
}

func none091(t *testing.T, c <-chan amqp.Delivery) {
	t.Helper()
	select {
	case d := <-c:
		t.Fatalf("delivered: %q", d.Body)
	case <-time.After(30 * time.Millisecond):
	}
}

func publish091(t *testing.T, ch *amqp.Channel, exchange, key string, p amqp.Publishing) {
	t.Helper()
	must(t, ch.PublishWithContext(t.Context(), exchange, key, false, false, p))
}

func TestRabbitClientSizes(t *testing.T) {
	_, _, ch := dial091(t, newTestMember(t, realConfig()))
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	must(t, err)
	if !strings.HasPrefix(q.Name, "amq.gen-") {
		t.Errorf("queue %q", q.Name)
	}
	out, err := ch.Consume("", "", false, false, false, false, nil)
	must(t, err)
	must(t, ch.Confirm(false))
	for _, size := range []int{0, 1, 4096, 4097, 131064, 131065, 1 << 20, 5 << 20} {
		body := bytes.Repeat([]byte{byte(size + 1)}, size)
		c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", q.Name, true, false, amqp.Publishing{
			Headers:     amqp.Table{"n": int64(size), "nested": amqp.Table{"list": []any{"a", true, nil}}},
			ContentType: "text/plain", ContentEncoding: "none", DeliveryMode: amqp.Persistent, Priority: 3,
			CorrelationId: "c", ReplyTo: "r", Expiration: "60000", MessageId: "m", Timestamp: time.Unix(5, 0),
			Type: "t", UserId: "guest", AppId: "a", Body: body,
		})
		must(t, err)
		if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
			t.Fatalf("%d bytes: %v, %v", size, ok, err)
		}
		d := next091(t, out)
		if !bytes.Equal(d.Body, body) || d.Headers["n"] != int64(size) || d.Expiration != "60000" || d.AppId != "a" ||
			d.RoutingKey != q.Name || d.Redelivered || d.Timestamp.Unix() != 5 {
			t.Fatalf("%d bytes: %d bytes, %+v", size, len(d.Body), d.Headers)
		}
		must(t, d.Ack(false))
	}
}

func TestRabbitClientPrefetchAndRequeue(t *testing.T) {
	_, conn, ch := dial091(t, newTestMember(t, realConfig()))
	_, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	must(t, err)
	for i := range 10 {
		publish091(t, ch, "", "q", amqp.Publishing{Body: []byte{byte(i)}})
	}
	must(t, ch.Qos(3, 0, false))
	out, err := ch.Consume("q", "tag", false, false, false, false, nil)
	must(t, err)
	for i := range 3 {
		if d := next091(t, out); d.Body[0] != byte(i) || d.ConsumerTag != "tag" {
			t.Fatalf("got %v", d.Body)
		}
	}
	none091(t, out)
	must(t, ch.Ack(2, true))
	next091(t, out)
	next091(t, out)
	none091(t, out)
	must(t, ch.Nack(3, false, true))
	// The next may overtake it, as giving back takes its place in the order.
	d := next091(t, out)
	if d.Body[0] == 5 {
		must(t, d.Nack(false, true))
		for d = next091(t, out); d.Body[0] != 2; d = next091(t, out) {
			must(t, d.Nack(false, true))
		}
	}
	if d.Body[0] != 2 || !d.Redelivered {
		t.Errorf("requeued: %v, %v", d.Body, d.Redelivered)
	}
	must(t, ch.Cancel("tag", false))
	must(t, ch.Close())
	ch = channel091Of(t, conn)
	for i := range 8 {
		d, ok, err := ch.Get("q", true)
		must(t, err)
		if !ok || d.Body[0] != byte(2+i) || d.MessageCount != uint32(7-i) {
			t.Fatalf("%d: %v, %v, %d left", i, ok, d.Body, d.MessageCount)
		}
	}
	if _, ok, err := ch.Get("q", true); ok || err != nil {
		t.Errorf("an empty queue gives %v, %v", ok, err)
	}
}

func TestRabbitClientGlobalPrefetch(t *testing.T) {
	_, _, ch := dial091(t, newTestMember(t, realConfig()))
	must(t, ch.Qos(2, 0, true))
	var outs []<-chan amqp.Delivery
	for _, name := range []string{"a", "b"} {
		_, err := ch.QueueDeclare(name, false, false, false, false, nil)
		must(t, err)
		out, err := ch.Consume(name, name, false, false, false, false, nil)
		must(t, err)
		outs = append(outs, out)
	}
	for i := range 20 {
		publish091(t, ch, "", string("ab"[i%2]), amqp.Publishing{Body: []byte("x")})
	}
	for n := 0; n < 20; {
		var got []amqp.Delivery
		for limit := time.After(100 * time.Millisecond); limit != nil; {
			select {
			case d := <-outs[0]:
				got = append(got, d)
			case d := <-outs[1]:
				got = append(got, d)
			case <-limit:
				limit = nil
			}
			if len(got) == 2 && n+2 >= 4 {
				limit = nil
			}
		}
		if len(got) == 0 || len(got) > 2 {
			t.Fatalf("%d delivered at once after %d", len(got), n)
		}
		n += len(got)
		for _, d := range got {
			must(t, d.Ack(false))
		}
	}
}

func TestRabbitClientRouting(t *testing.T) {
	_, conn, ch := dial091(t, newTestMember(t, realConfig()))
	must(t, ch.ExchangeDeclare("topic", "topic", true, false, false, false, amqp.Table{"alternate-exchange": "rest"}))
	must(t, ch.ExchangeDeclare("rest", "fanout", true, false, true, false, nil))
	must(t, ch.ExchangeDeclare("heads", "headers", true, false, false, false, nil))
	must(t, ch.ExchangeBind("heads", "to.heads", "topic", false, nil))
	for name, bind := range map[string]func(name string) error{
		"stars": func(q string) error { return ch.QueueBind(q, "*.orange.*", "topic", false, nil) },
		"other": func(q string) error { return ch.QueueBind(q, "", "rest", false, nil) },
		"all": func(q string) error {
			return ch.QueueBind(q, "", "heads", false, amqp.Table{"x-match": "all", "a": int32(1), "b": "two"})
		},
	} {
		_, err := ch.QueueDeclare(name, false, false, false, false, nil)
		must(t, err)
		must(t, bind(name))
	}
	publish091(t, ch, "topic", "quick.orange.fox", amqp.Publishing{})
	publish091(t, ch, "topic", "lazy", amqp.Publishing{})
	publish091(t, ch, "topic", "to.heads", amqp.Publishing{Headers: amqp.Table{"a": int64(1), "b": "two"}})
	publish091(t, ch, "heads", "", amqp.Publishing{Headers: amqp.Table{"a": int64(2), "b": "two"}})
	for _, name := range []string{"stars", "other", "all"} {
		q, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		must(t, err)
		if q.Messages != 1 {
			t.Errorf("%s has %d messages", name, q.Messages)
		}
	}
	must(t, ch.QueueUnbind("stars", "*.orange.*", "topic", nil))
	if n, err := ch.QueuePurge("stars", false); n != 1 || err != nil {
		t.Errorf("purged %d, %v", n, err)
	}
	if n, err := ch.QueueDelete("all", false, false, false); n != 1 || err != nil {
		t.Errorf("deleted with %d, %v", n, err)
	}
	must(t, ch.ExchangeDelete("topic", false, false))
	wantClose(t, conn, amqp.AccessRefused, "", func(ch *amqp.Channel) error {
		publish091(t, ch, "rest", "", amqp.Publishing{})
		_, err := ch.QueueDeclarePassive("other", false, false, false, false, nil)
		return err
	})
}

// wantClose has what do does end its channel with a code and a text.
func wantClose(t *testing.T, conn *amqp.Connection, code int, text string, do func(ch *amqp.Channel) error) {
	t.Helper()
	ch := channel091Of(t, conn)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	err := do(ch)
	var e *amqp.Error
	if !errors.As(err, &e) || errors.Is(err, amqp.ErrClosed) {
		select {
		case e = <-closed:
		case <-time.After(10 * time.Second):
			t.Fatalf("the channel stays open: %v", err)
		}
	}
	if e == nil || e.Code != code || text != "" && e.Reason != text {
		t.Errorf("closed with %v, want %d %s", e, code, text)
	}
}

func TestRabbitClientErrors(t *testing.T) {
	address, conn, ch := dial091(t, newTestMember(t, realConfig()))
	_, err := ch.QueueDeclare("q", true, false, false, false, nil)
	must(t, err)
	_, err = ch.QueueDeclare("mine", false, false, true, false, nil)
	must(t, err)
	wantClose(t, conn, 404, "NOT_FOUND - no queue 'x' in vhost '/'", func(ch *amqp.Channel) error {
		_, err := ch.Consume("x", "", false, false, false, false, nil)
		return err
	})
	wantClose(t, conn, 404, "NOT_FOUND - no queue 'x' in vhost '/'", func(ch *amqp.Channel) error {
		_, _, err := ch.Get("x", false)
		return err
	})
	wantClose(t, conn, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.QueueBind("q", "k", "x", false, nil)
	})
	wantClose(t, conn, 404, "NOT_FOUND - no exchange 'x' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.PublishWithContext(t.Context(), "x", "k", false, false, amqp.Publishing{})
	})
	wantClose(t, conn, 406, "", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("q", false, false, false, false, nil)
		return err
	})
	wantClose(t, conn, 406, "PRECONDITION_FAILED - unknown delivery tag 9", func(ch *amqp.Channel) error {
		return ch.Ack(9, false)
	})
	other, _ := again091(t, address)
	wantClose(t, other, 405, "", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("mine", false, false, true, false, nil)
		return err
	})
	_, err = ch.Consume("q", "", false, true, false, false, nil)
	must(t, err)
	wantClose(t, other, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", func(ch *amqp.Channel) error {
		_, err := ch.Consume("q", "", false, false, false, false, nil)
		return err
	})
}

func TestRabbitClientReturnAndOverflow(t *testing.T) {
	_, _, ch := dial091(t, newTestMember(t, realConfig()))
	must(t, ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "nowhere", true, false, amqp.Publishing{Body: []byte("b"), MessageId: "m"})
	must(t, err)
	if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if r := <-returns; r.ReplyCode != 312 || r.RoutingKey != "nowhere" || string(r.Body) != "b" || r.MessageId != "m" {
		t.Errorf("%+v", r)
	}
	_, err = ch.QueueDeclare("full", false, false, false, false, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	must(t, err)
	for i, want := range []bool{true, false} {
		c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "full", false, false, amqp.Publishing{})
		must(t, err)
		if ok, err := c.WaitContext(t.Context()); ok != want || err != nil {
			t.Errorf("message %d: %v, %v", i, ok, err)
		}
	}
}

func TestRabbitClientManyConfirms(t *testing.T) {
	_, _, ch := dial091(t, newTestMember(t, realConfig()))
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	must(t, err)
	must(t, ch.Confirm(false))
	const n = 5000
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, n))
	out, err := ch.Consume("q", "", false, false, false, false, nil)
	must(t, err)
	go func() {
		for i := range n {
			_ = ch.PublishWithContext(context.Background(), "", "q", false, false, amqp.Publishing{Body: fmt.Append(nil, i)})
		}
	}()
	for i := range n {
		d := next091(t, out)
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, d.Body)
		}
		if i%100 == 99 {
			must(t, d.Ack(true))
		}
	}
	for i := range n {
		if c := <-confirms; !c.Ack || c.DeliveryTag != uint64(i+1) {
			t.Fatalf("confirmation %d: %+v", i, c)
		}
	}
}

func TestRabbitClientConsumerCancelled(t *testing.T) {
	_, conn, ch := dial091(t, newTestMember(t, realConfig()))
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	must(t, err)
	cancels := ch.NotifyCancel(make(chan string, 1))
	out, err := ch.Consume("q", "tag", false, false, false, false, nil)
	must(t, err)
	_, err = channel091Of(t, conn).QueueDelete("q", false, false, false)
	must(t, err)
	if tag := <-cancels; tag != "tag" {
		t.Errorf("cancelled %q", tag)
	}
	if _, ok := <-out; ok {
		t.Error("a delivery after the end")
	}
}

func TestRabbitClientPassword(t *testing.T) {
	cfg := realConfig()
	cfg.Users = oneUser{}
	address := newTestMember(t, cfg).listen()
	conn, err := amqp.Dial("amqp://alice:secret@" + address + "/")
	must(t, err)
	defer conn.Close()
	_, err = amqp.Dial("amqp://alice:wrong@" + address + "/")
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != 403 {
		t.Errorf("a wrong password: %v", err)
	}
	_, err = amqp.Dial("amqp://alice:secret@" + address + "/other")
	if !errors.As(err, &e) {
		t.Errorf("another vhost: %v", err)
	}
}
