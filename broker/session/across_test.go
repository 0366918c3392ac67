package session

import (
	"bytes"
	"testing"
	"time"

	amqp100 "github.com/Azure/go-amqp"
	amqp "github.com/rabbitmq/amqp091-go"
)

// TestAcrossVersions sends by one version and receives by the other, both ways.
func TestAcrossVersions(t *testing.T) {
	m := newTestMember(t, realConfig())
	address, _, ch := dial091(t, m)
	_, err := ch.QueueDeclare("q", false, false, false, false, nil)
	must(t, err)
	ctx, _, s := dial(t, address, nil)
	for _, size := range []int{0, 10, 200_000} {
		body := bytes.Repeat([]byte{7}, size)
		out := amqp100.NewMessage(body)
		subject, contentType, correlation := "s", "text/plain", "c"
		out.Header = &amqp100.MessageHeader{Durable: true, Priority: 5}
		out.Properties = &amqp100.MessageProperties{
			MessageID: "m", Subject: &subject, ContentType: &contentType, CorrelationID: correlation,
		}
		out.ApplicationProperties = map[string]any{"n": int64(3), "s": "text", "b": true}
		must(t, sender(ctx, t, s, "q", nil).Send(ctx, out, nil))
		var d amqp.Delivery
		for ok := false; !ok; {
			d, ok, err = ch.Get("q", true)
			must(t, err)
		}
		if !bytes.Equal(d.Body, body) || d.MessageId != "m" || d.ContentType != contentType || d.CorrelationId != correlation ||
			d.DeliveryMode != amqp.Persistent || d.Headers["n"] != int64(3) || d.Headers["s"] != "text" || d.Headers["b"] != true {
			t.Errorf("1.0 to 0-9-1, %d bytes: %d bytes, %+v", size, len(d.Body), d)
		}
		publish091(t, ch, "", "q", amqp.Publishing{
			Body: body, MessageId: "m", ContentType: contentType, CorrelationId: correlation, DeliveryMode: amqp.Persistent,
			Priority: 5, Timestamp: time.Unix(9, 0), Headers: amqp.Table{"n": int64(3), "s": "text", "b": true},
		})
		r := receiver(ctx, t, s, "q", nil)
		in := receive(ctx, t, r)
		p := in.Properties
		if !bytes.Equal(in.GetData(), body) || p.MessageID != "m" || *p.ContentType != contentType || p.CorrelationID != correlation ||
			!in.Header.Durable || in.Header.Priority != 5 || in.ApplicationProperties["n"] != int64(3) ||
			in.ApplicationProperties["s"] != "text" || in.ApplicationProperties["b"] != true {
			t.Errorf("0-9-1 to 1.0, %d bytes: %d bytes, %+v %+v", size, len(in.GetData()), in.Properties, in.ApplicationProperties)
		}
		must(t, r.AcceptMessage(ctx, in))
		must(t, r.Close(ctx))
	}
}
