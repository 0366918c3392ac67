package amqp100

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzFrame reads frames as a connection does; what was read must survive being written.
func FuzzFrame(f *testing.F) {
	for _, x := range full() {
		b, at := BeginFrame(nil, FrameAMQP, 1)
		f.Add(EndFrame(x.Append(b), at))
	}
	types := full()
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, size, whole, err := ParseFrame(data, 1<<20)
		if err != nil || !whole {
			return
		}
		if size > len(data) || len(frame.Body) > size {
			t.Fatalf("a frame of %d bytes in %d", size, len(data))
		}
		code, value, _, err := SplitDescribed(frame.Body)
		if err != nil || types[code] == nil {
			return
		}
		x := reflect.New(reflect.TypeOf(types[code]).Elem()).Interface().(performative)
		if x.Decode(value) != nil {
			return
		}
		encoded := x.Append(nil)
		_, value, _, err = SplitDescribed(encoded)
		if err != nil {
			t.Fatalf("%v written again: %v", code, err)
		}
		y := reflect.New(reflect.TypeOf(x).Elem()).Interface().(performative)
		if err := y.Decode(value); err != nil {
			t.Fatalf("%v read again: %v", code, err)
		}
		if !bytes.Equal(y.Append(nil), encoded) {
			t.Fatalf("%v changes:\n%+v\n%+v", code, x, y)
		}
	})
}

// FuzzSections scans messages: the sections must add up to the message.
func FuzzSections(f *testing.F) {
	f.Add(append(AppendDataHead((&Properties{Subject: []byte("s")}).Append((&Header{Durable: true}).Append(nil)), 3), "one"...))
	f.Add([]byte{codeDescribed, codeSmallUlong, byte(CodeAmqpValue), codeNull})
	f.Fuzz(func(t *testing.T, message []byte) {
		var s Sections
		if s.Scan(message) != nil {
			return
		}
		sum := len(s.Header) + len(s.DeliveryAnnotations) + len(s.MessageAnnotations) + len(s.Properties) +
			len(s.ApplicationProperties)
		if sum != s.BodyAt || sum+len(s.Body)+len(s.Footer) != len(message) {
			t.Fatalf("%d bytes before a body at %d, %d in all of %d", sum, s.BodyAt, sum+len(s.Body)+len(s.Footer), len(message))
		}
		var h Header
		var p Properties
		_, _ = s.DecodeHeader(&h), s.DecodeProperties(&p)
		_, _ = s.Application().Lookup("x")
		_, _ = s.Annotations().Lookup("x")
	})
}

// FuzzValue skips and checks values: whatever Check likes, all of Raw can read.
func FuzzValue(f *testing.F) {
	f.Add([]byte(AppendSymbols(nil, []string{"a", "b"})))
	f.Add([]byte{codeDescribed, codeSmallUlong, 1, codeList8, 3, 1, codeSmallInt, 0xff})
	f.Add([]byte{codeArray32, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, codeNull})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Skip(b)
		if err != nil {
			return
		}
		if n < 1 || n > len(b) {
			t.Fatalf("a value of %d bytes in %d", n, len(b))
		}
		v := Raw(b[:n])
		_ = Check(v)
		v.Bool()
		v.Uint()
		v.Int()
		v.Float()
		v.Text()
		v.Binary()
		v.UUID()
		v.Described()
		v.Lookup("x")
	})
}
