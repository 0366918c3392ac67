package amqp091

import (
	"bytes"
	"testing"
)

// FuzzReadFrame reads frames off arbitrary bytes. What was read writes back as it was.
func FuzzReadFrame(f *testing.F) {
	f.Add(AppendHeartbeat(nil))
	f.Add((&BasicAck{DeliveryTag: 7}).Append(nil, 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		frame, n, want, err := ReadFrame(data, limit)
		if err != nil || n == 0 {
			if n != 0 || want > limit || err == nil && want <= len(data) {
				t.Fatalf("n %d, want %d of %d, %v", n, want, len(data), err)
			}
			return
		}
		b, from := beginFrame(nil, frame.Type, frame.Channel)
		if b = endFrame(append(b, frame.Payload...), from); !bytes.Equal(b, data[:n]) {
			t.Fatalf("%x reads and writes as %x", data[:n], b)
		}
		if _, _, props, err := frame.ContentHeader(); err == nil {
			checkProperties(t, props)
		}
	})
}

// FuzzMethod decodes the payloads of method frames. What decodes writes back as it was, but
// for bits that have no meaning.
func FuzzMethod(f *testing.F) {
	frame, _, _, _ := ReadFrame((&QueueDeclare{Queue: []byte("q"), NoWait: true}).Append(nil, 1), 4096)
	f.Add(frame.Payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		in := Frame{Type: FrameMethod, Payload: payload}
		id, arguments, err := in.Method()
		if err != nil {
			return
		}
		m := NewMethod(id)
		if m == nil || m.Decode(arguments) != nil {
			return
		}
		out, n, _, err := ReadFrame(m.Append(nil, 0), len(payload)+FrameOverhead)
		if err != nil || n == 0 || len(out.Payload) != len(payload) {
			t.Fatalf("%v of %d bytes writes as %d: %v", id, len(payload), len(out.Payload), err)
		}
		_, again, _ := out.Method()
		if err := NewMethod(id).Decode(again); err != nil {
			t.Fatalf("%v does not read back: %v", id, err)
		}
	})
}

// FuzzProperties decodes property lists, and looks headers up in them unchecked.
func FuzzProperties(f *testing.F) {
	table := AppendString(AppendInt(nil, "n", -1), "s", "text")
	p := Properties{Flags: FlagHeaders | FlagExpiration, Headers: table, Expiration: []byte("10")}
	f.Add(p.Append(nil))
	f.Fuzz(checkProperties)
}

func checkProperties(t *testing.T, props []byte) {
	HeaderLookup(props, "s")
	var p Properties
	if p.Decode(props) != nil {
		return
	}
	if b := p.Append(nil); !bytes.Equal(b, props) {
		t.Fatalf("%x reads and writes as %x", props, b)
	}
	if !bytes.Equal(Headers(props), p.Headers) {
		t.Fatalf("%x: headers %x, %x", props, Headers(props), p.Headers)
	}
	walk(t, p.Headers)
}

// walk visits every value of a checked table: all of it must be there.
func walk(t *testing.T, table Table) {
	for len(table) > 0 {
		_, v, rest, ok := table.Next()
		if !ok {
			t.Fatalf("checked table breaks at %x", table)
		}
		visit(t, v)
		table = rest
	}
}

func visit(t *testing.T, v Value) {
	v.Int()
	v.Bool()
	v.Float()
	v.Bytes()
	v.TypeName()
	switch v.Type {
	case 'F':
		walk(t, Table(v.Raw))
	case 'A':
		for a := Array(v.Raw); len(a) > 0; {
			e, rest, ok := a.Next()
			if !ok {
				t.Fatalf("checked array breaks at %x", a)
			}
			visit(t, e)
			a = rest
		}
	}
}
