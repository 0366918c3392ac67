package session

import (
	"encoding/binary"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

func TestDeaths091(t *testing.T) {
	in := amqp091.Properties{Flags: amqp091.FlagExpiration | amqp091.FlagHeaders | amqp091.FlagMessageId,
		Expiration: []byte("60"), Headers: amqp091.AppendInt(nil, "mine", 1), MessageId: []byte("id")}
	p := broker.Publish{Format: broker.FormatAMQP091, Exchange: []byte("x"), Key: []byte("k"), Props: in.Append(nil)}
	for i, step := range []struct{ queue, reason, want string }{
		{"q", "expired", "{mine:1 x-death:[{count:1 reason:expired queue:q time:100 exchange:x routing-keys:[k] original-expiration:60}]" +
			" x-first-death-queue:q x-first-death-reason:expired x-first-death-exchange:x}"},
		{"r", "rejected", "{mine:1 x-first-death-queue:q x-first-death-reason:expired x-first-death-exchange:x" +
			" x-death:[{count:1 reason:rejected queue:r time:101 exchange:x routing-keys:[k]}" +
			" {count:1 reason:expired queue:q time:100 exchange:x routing-keys:[k] original-expiration:60}]}"},
		{"q", "expired", "{mine:1 x-first-death-queue:q x-first-death-reason:expired x-first-death-exchange:x" +
			" x-death:[{count:2 reason:expired queue:q time:102 exchange:x routing-keys:[k]}" +
			" {count:1 reason:rejected queue:r time:101 exchange:x routing-keys:[k]}]}"},
	} {
		p.Props = Deaths{}.Rewrite(&p, step.queue, step.reason, int64(100+i), nil)
		var out amqp091.Properties
		if err := out.Decode(p.Props); err != nil {
			t.Fatal(err)
		}
		if got := showTable(out.Headers); got != step.want {
			t.Errorf("step %d:\n%s, want\n%s", i, got, step.want)
		}
		if out.Flags != amqp091.FlagHeaders|amqp091.FlagMessageId || string(out.MessageId) != "id" {
			t.Errorf("step %d: %+v", i, out)
		}
	}
}

func TestDeathsAreBounded(t *testing.T) {
	p := broker.Publish{Format: broker.FormatAMQP091, Props: []byte{0, 0}}
	for i := range 3 * maxDeaths {
		p.Props = Deaths{}.Rewrite(&p, string(rune('A'+i)), "rejected", 1, nil)
	}
	v, _ := amqp091.HeaderLookup(p.Props, "x-death")
	n := 0
	for a := amqp091.Array(v.Raw); len(a) > 0; n++ {
		_, a, _ = a.Next()
	}
	if n != maxDeaths {
		t.Errorf("%d deaths", n)
	}
}

func TestHeaderValue091(t *testing.T) {
	b := amqp091.AppendString(amqp091.AppendInt(amqp091.AppendBool(nil, "b", true), "n", -5), "s", "text")
	p := amqp091.Properties{Flags: amqp091.FlagHeaders | amqp091.FlagContentType, ContentType: []byte("t"), Headers: b}
	props := p.Append(nil)
	for name, want := range map[string]broker.Value{
		"b": {Kind: broker.ValueBool, Int: 1}, "n": {Kind: broker.ValueInt, Int: -5}, "s": {Kind: broker.ValueString, Str: "text"},
	} {
		if v, ok := HeaderValue(broker.FormatAMQP091, props, name); !ok || v != want {
			t.Errorf("%s: %+v, %v", name, v, ok)
		}
	}
	if _, ok := HeaderValue(broker.FormatAMQP091, props, "absent"); ok {
		t.Error("an absent header is found")
	}
	if n := testing.AllocsPerRun(100, func() { HeaderValue(broker.FormatAMQP091, props, "n") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDeaths100(t *testing.T) {
	section := func(code amqp100.Code, pairs ...string) (b []byte) {
		b = append(b, 0x00, 0x53, byte(code), 0xd1, 0, 0, 0, 0, 0, 0, 0, byte(len(pairs)))
		for _, s := range pairs {
			b = amqp100.AppendSymbol(b, s)
		}
		binary.BigEndian.PutUint32(b[4:], uint32(len(b)-8))
		return b
	}
	p := broker.Publish{Format: broker.FormatAMQP100, Exchange: []byte("x")}
	p.Props = append(section(amqp100.CodeMessageAnnotations, "x-mine", "1"), section(amqp100.CodeApplicationProperties, "k", "v")...)
	for _, queue := range []string{"q", "r"} {
		p.Props = Deaths{}.Rewrite(&p, queue, "expired", 1, nil)
	}
	var s amqp100.Sections
	if err := s.Scan(p.Props); err != nil {
		t.Fatal(err)
	}
	if err := amqp100.Check(s.MessageAnnotations); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"x-mine": "1", "x-first-death-queue": "q", "x-last-death-queue": "r",
		"x-first-death-exchange": "x", "x-last-death-reason": "expired",
	} {
		v := s.Annotations()
		found, ok := v.Lookup(name)
		if text, _ := found.Text(); !ok || string(text) != want {
			t.Errorf("%s: %q, %v", name, text, ok)
		}
	}
	if v, _ := s.Application().Lookup("k"); v == nil {
		t.Error("application properties are lost")
	}
	n := 0
	for it := s.Annotations().Items(); it.Next(); n++ {
	}
	if n != 7 {
		t.Errorf("%d annotations, want 7", n)
	}
}
