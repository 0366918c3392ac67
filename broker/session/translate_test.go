package session

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/Azure/go-amqp"
	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestTranslateClients sends with a client of each version and receives with the other.
func TestTranslateClients(t *testing.T) {
	m := newTestMember(t, realConfig())
	m.declare(&broker.QueueDeclare{Name: "to091"})
	m.declare(&broker.QueueDeclare{Name: "to100"})
	address := m.listen()
	ctx, _, s := dial(t, address, nil)
	old, err := rabbit.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	ch, err := old.Channel()
	if err != nil {
		t.Fatal(err)
	}

	err = ch.PublishWithContext(ctx, "", "to100", false, false, rabbit.Publishing{
		ContentType: "text/plain", DeliveryMode: rabbit.Persistent, Priority: 3, CorrelationId: "corr", MessageId: "id",
		ReplyTo: "reply", Expiration: "60000", Type: "type", AppId: "app", Body: []byte("from 0-9-1"),
		Headers: rabbit.Table{"text": "v", "number": int32(-5), "yes": true, "x-mine": "a", "nested": rabbit.Table{"left": "out"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := receive(ctx, t, receiver(ctx, t, s, "to100", nil))
	want := map[string]any{"text": "v", "number": int32(-5), "yes": true}
	switch p := in.Properties; {
	case string(in.GetData()) != "from 0-9-1", *p.ContentType != "text/plain", p.MessageID != "id", p.CorrelationID != "corr",
		*p.ReplyTo != "reply", *p.Subject != "type", *p.GroupID != "app":
		t.Errorf("%+v %s", p, in.GetData())
	case !in.Header.Durable, in.Header.Priority != 3, in.Header.TTL == 0:
		t.Errorf("%+v", in.Header)
	case !reflect.DeepEqual(in.ApplicationProperties, want):
		t.Errorf("%v", in.ApplicationProperties)
	case in.Annotations["x-mine"] != "a", in.Annotations["x-routing-key"] != "to100", in.Annotations["x-exchange"] != "":
		t.Errorf("%v", in.Annotations)
	}

	out := amqp.NewMessage([]byte("from "))
	out.Data = append(out.Data, []byte("1.0"))
	subject, replyTo, contentType := "subject", "/queues/a%20b", "text/html"
	out.Header = &amqp.MessageHeader{Durable: true, Priority: 3}
	out.Properties = &amqp.MessageProperties{Subject: &subject, ReplyTo: &replyTo, ContentType: &contentType, MessageID: uint64(7), CorrelationID: amqp.UUID{1, 2, 3}}
	out.ApplicationProperties = map[string]any{"text": "v", "number": int32(-5), "yes": true, "big": uint64(1 << 40)}
	out.Annotations = amqp.Annotations{"x-mine": []any{"a", int64(1)}, "other": "left out"}
	if err := sender(ctx, t, s, "to091", nil).Send(ctx, out, nil); err != nil {
		t.Fatal(err)
	}
	got, ok, err := ch.Get("to091", true)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	table := rabbit.Table{"text": "v", "number": int32(-5), "yes": true, "big": int64(1 << 40), "x-mine": []any{"a", int64(1)}, "x-message-id-type": "ulong", "x-correlation-id-type": "uuid"}
	switch {
	case string(got.Body) != "from 1.0", got.ContentType != "text/html", got.Type != "subject", got.ReplyTo != "a b",
		got.MessageId != "7", got.CorrelationId != "01020300-0000-0000-0000-000000000000", got.DeliveryMode != 2, got.Priority != 3:
		t.Errorf("%+v", got)
	case !reflect.DeepEqual(got.Headers, table):
		t.Errorf("%v", got.Headers)
	}
}

// TestTranslateBodies sends bodies there and back again.
func TestTranslateBodies(t *testing.T) {
	section := func(code amqp100.Code, value ...byte) []byte {
		return append(amqp100.AppendDescriptor(nil, code), value...)
	}
	data := func(s string) []byte { return append(amqp100.AppendDataHead(nil, len(s)), s...) }
	for _, tc := range []struct {
		name       string
		stored     []byte
		body, back string
		encoded    bool
	}{
		{name: "data", stored: data("abc"), body: "abc", back: string(data("abc"))},
		{name: "two data", stored: append(data("ab"), data("c")...), body: "abc", back: string(data("abc"))},
		{name: "none", stored: nil, body: "", back: string(data(""))},
		{name: "string", stored: section(amqp100.CodeAmqpValue, 0xa1, 1, 'x'), body: "x", back: string(data("x"))},
		{name: "binary", stored: section(amqp100.CodeAmqpValue, 0xa0, 1, 'x'), body: "x", back: string(data("x"))},
		{name: "number", stored: section(amqp100.CodeAmqpValue, 0x52, 1), encoded: true},
		{name: "list", stored: section(amqp100.CodeAmqpSequence, 0x45), encoded: true},
		{name: "footer", stored: append(data("abc"), section(amqp100.CodeFooter, 0xc1, 1, 0)...), body: "abc", back: string(data("abc"))},
		{name: "nonsense", stored: []byte{1, 2, 3}, body: "\x01\x02\x03", encoded: true, back: string(data("\x01\x02\x03"))},
	} {
		p := broker.Publish{Format: broker.FormatAMQP100, Body: tc.stored}
		props, body := propsTo091(&p, nil)
		if tc.encoded && tc.body == "" {
			tc.body, tc.back = string(tc.stored), string(tc.stored)
		}
		var m amqp091.Properties
		if err := m.Decode(props); err != nil || string(body) != tc.body || (string(m.Type) == encodedType) != tc.encoded {
			t.Errorf("%s: %q, type %q, %v", tc.name, body, m.Type, err)
		}
		p = broker.Publish{Format: broker.FormatAMQP091, Props: props, Body: body}
		message := append(sectionsTo100(&p, nil), body...)
		var s amqp100.Sections
		if err := s.Scan(message); err != nil || string(s.Body) != tc.back {
			t.Errorf("%s: back is %q, %v", tc.name, s.Body, err)
		}
	}
}

func TestTranslateIDs(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	for _, id := range []amqp100.Raw{
		nil, amqp100.AppendString(nil, "id"), amqp100.AppendString(nil, ""), amqp100.AppendUlong(nil, 1<<63), amqp100.AppendUUID(nil, [16]byte{1, 15: 9}),
		amqp100.AppendBinary(nil, []byte{0, 255}), amqp100.AppendString(nil, long),
	} {
		properties := amqp100.Properties{MessageID: id, CorrelationID: id}
		p := broker.Publish{Format: broker.FormatAMQP100, Props: properties.Append(nil)}
		props, _ := propsTo091(&p, nil)
		var m amqp091.Properties
		if err := m.Decode(props); err != nil {
			t.Fatal(err)
		}
		back := propertiesTo100(&m, false)
		if !bytes.Equal(back.MessageID, id) || !bytes.Equal(back.CorrelationID, id) {
			t.Errorf("%q came back as %q and %q", id, back.MessageID, back.CorrelationID)
		}
	}
}

func TestHeaderValue100(t *testing.T) {
	b, at := amqp100.BeginMap(append((&amqp100.Header{}).Append(nil), amqp100.AppendDescriptor(nil, amqp100.CodeApplicationProperties)...))
	b = amqp100.AppendString(amqp100.AppendString(b, "text"), "v")
	b = amqp100.AppendUint(amqp100.AppendString(b, "number"), 7)
	b = amqp100.AppendBool(amqp100.AppendString(b, "yes"), true)
	b = amqp100.AppendDouble(amqp100.AppendString(b, "half"), 0.5)
	b = amqp100.AppendNull(amqp100.AppendString(b, "null"))
	b = append(amqp100.AppendString(b, "list"), 0x45)
	b = amqp100.EndCompound(b, at, 12)
	for name, want := range map[string]broker.Value{
		"text": {Kind: broker.ValueString, Str: "v"}, "number": {Kind: broker.ValueInt, Int: 7}, "yes": {Kind: broker.ValueBool, Int: 1},
		"half": {Kind: broker.ValueFloat, Float: 0.5}, "null": {Kind: broker.ValueVoid}, "list": {Kind: broker.ValueOther},
	} {
		if v, ok := headerValue100(b, name); !ok || v != want {
			t.Errorf("%s: %+v %v", name, v, ok)
		}
	}
	for _, props := range [][]byte{b, nil, b[:3], {0, 0, 0}} {
		if v, ok := headerValue100(props, "other"); ok {
			t.Errorf("%+v", v)
		}
	}
	if n := testing.AllocsPerRun(100, func() { headerValue100(b, "list") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzTranslate translates anything, both ways: what comes out must be well formed.
func FuzzTranslate(f *testing.F) {
	f.Add((&amqp100.Properties{MessageID: amqp100.AppendUlong(nil, 5)}).Append(nil), amqp100.AppendDataHead(nil, 0))
	f.Add(append(binaryFlags(amqp091.FlagHeaders|amqp091.FlagType), 0, 0, 0, 5, 1, 'a', 't', 1, 0), []byte("body"))
	f.Fuzz(func(t *testing.T, props, body []byte) {
		p := broker.Publish{Format: broker.FormatAMQP100, Props: props, Body: body, Key: []byte("k")}
		translated, _ := propsTo091(&p, []byte("before"))
		var m amqp091.Properties
		if err := m.Decode(translated[len("before"):]); err != nil {
			t.Fatal(err)
		}
		p.Format = broker.FormatAMQP091
		sections := append(sectionsTo100(&p, nil), body...)
		var s amqp100.Sections
		if err := s.Scan(sections); err != nil {
			t.Fatal(err)
		}
		for _, section := range []amqp100.Raw{s.Properties, s.Application(), s.Annotations()} {
			if err := amqp100.Check(section); section != nil && err != nil {
				t.Fatal(err)
			}
		}
		headerValue100(props, "k")
	})
}

func binaryFlags(flags uint16) []byte { return []byte{byte(flags >> 8), byte(flags)} }
