package amqp091

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// methods lists every method of the spec, found by trying the numbers.
func methods() (list []Method) {
	for class := range 128 {
		for number := range 128 {
			if m := NewMethod(MethodID(class<<16 | number)); m != nil {
				list = append(list, m)
			}
		}
	}
	return list
}

// fill sets every field of a method to something telling.
func fill(m Method) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Bool:
			f.SetBool(i%2 == 0)
		case reflect.Slice:
			if f.Type() == reflect.TypeFor[Table]() {
				f.SetBytes(AppendInt(AppendString(nil, "a", "b"), "c", int64(i)))
			} else {
				f.SetBytes([]byte(v.Type().Field(i).Name))
			}
		default:
			f.SetUint(uint64(i + 1))
		}
	}
}

func TestEveryMethodReadsAsItWrites(t *testing.T) {
	list := methods()
	if len(list) != 66 {
		t.Errorf("%d methods, want 66", len(list))
	}
	for _, m := range list {
		fill(m)
		f, n, _, err := ReadFrame(m.Append(nil, 9), 4096)
		if err != nil || n == 0 || f.Channel != 9 {
			t.Fatalf("%v: %+v, %v", m.ID(), f, err)
		}
		id, arguments, err := f.Method()
		if err != nil || id != m.ID() || strings.Contains(id.String(), " ") {
			t.Fatalf("%v reads as %v: %v", m.ID(), id, err)
		}
		got := NewMethod(id)
		if err := got.Decode(arguments); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%v: %+v, want %+v: %v", id, got, m, err)
		}
		cutShort(t, m, arguments)
	}
}

func cutShort(t *testing.T, m Method, arguments []byte) {
	for i := range arguments {
		var e *Error
		err := NewMethod(m.ID()).Decode(arguments[:i])
		if !errors.As(err, &e) || e.Code != SyntaxError || e.Method != m.ID() {
			t.Errorf("%v cut to %d bytes: %v", m.ID(), i, err)
		}
	}
	if err := NewMethod(m.ID()).Decode(append(arguments[:len(arguments):len(arguments)], 0)); err == nil {
		t.Errorf("%v with a byte too many is taken", m.ID())
	}
}

func TestFrameIsRefusedBeforeItIsThere(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"type", []byte{4}, "unknown type 4"},
		{"size", []byte{1, 0, 0, 0xff, 0xff, 0xff, 0xff}, "larger than the negotiated 4096"},
		{"one over", []byte{1, 0, 0, 0, 0, 0x0f, 0xf9}, "larger than the negotiated 4096"},
		{"end", []byte{8, 0, 0, 0, 0, 0, 0, 0xcd}, "ends in octet 0xcd"},
	} {
		_, n, _, err := ReadFrame(c.data, 4096)
		if n != 0 || err == nil || !strings.HasPrefix(err.Error(), "FRAME_ERROR - ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
	}
	if _, n, want, err := ReadFrame([]byte{1, 0, 0, 0, 0, 0x0f, 0xf8}, 4096); n != 0 || want != 4096 || err != nil {
		t.Errorf("a frame of the negotiated size: %d, %d, %v", n, want, err)
	}
}

// nest wraps an empty table in depth-1 more, as fields or in arrays.
func nest(depth int, kind byte) Table {
	inner := []byte{}
	for i := range depth - 1 {
		b, at := begin(nil, "n", kind)
		if kind == 'A' && i%2 == 1 {
			b, at = begin(nil, Element, kind)
		}
		inner = End(append(b, inner...), at)
	}
	return inner
}

func TestTablesNestToALimit(t *testing.T) {
	if err := nest(MaxTableDepth, 'F').check(); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, depth := range []int{MaxTableDepth + 1, 1000, 3000} {
		if nest(depth, 'F').check() == nil {
			t.Errorf("nested %d deep is taken", depth)
		}
	}
	b := []byte{1, 'n'}
	for range 1000 {
		b = append(b, 'A', 0, 0, 16, 0)
	}
	b = append(b, make([]byte, 5000)...)
	if Table(b).check() == nil {
		t.Error("arrays nested without end are taken")
	}
}

func TestValues(t *testing.T) {
	raw := []byte("\x01tt\x01\x01bb\xff\x01BB\xff\x01ss\xff\xfe\x01uu\xff\xfe\x01II\xff\xff\xff\xfd" +
		"\x01ii\xff\xff\xff\xfd\x01ll\xff\xff\xff\xff\xff\xff\xff\xfc\x01TT\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x01ff\x3f\x80\x00\x00\x01dd\x3f\xf8\x00\x00\x00\x00\x00\x00\x01DD\x01\x00\x00\x00\x19\x01VV")
	table := Table(raw)
	if err := table.check(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"b": -1, "B": 255, "s": -2, "u": 65534, "I": -3, "i": 1<<32 - 3, "l": -4, "T": 7} {
		v, ok := table.Lookup(name)
		if got, isInt := v.Int(); !ok || !isInt || got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]float64{"f": 1, "d": 1.5, "D": 2.5} {
		v, _ := table.Lookup(name)
		if got, ok := v.Float(); !ok || got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	copied := []byte{}
	for rest := table; len(rest) > 0; {
		name, v, after, _ := rest.Next()
		copied = AppendValue(copied, string(name), v)
		rest = after
	}
	if !bytes.Equal(copied, raw) {
		t.Errorf("%x copies as %x", raw, copied)
	}
}

func TestPropertiesWithUnknownFlags(t *testing.T) {
	var p Properties
	for _, flags := range []byte{1, 2, 3} {
		if p.Decode([]byte{0, flags}) == nil {
			t.Errorf("flags %d are taken", flags)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	headers := AppendString(AppendInt(nil, "n", 5), "s", "text")
	p := Properties{Flags: FlagContentType | FlagHeaders, ContentType: []byte("text/plain"), Headers: headers}
	props := p.Append(nil)
	publish := (&BasicPublish{Exchange: []byte("x"), RoutingKey: []byte("k")}).Append(nil, 1)
	out := make([]byte, 0, 4096)
	var q Properties
	var m BasicPublish
	if n := testing.AllocsPerRun(100, func() {
		f, _, _, _ := ReadFrame(publish, 4096)
		_, arguments, _ := f.Method()
		if m.Decode(arguments) != nil || q.Decode(props) != nil {
			t.Fatal("does not decode")
		}
		if v, ok := HeaderLookup(props, "s"); !ok || string(v.Raw) != "text" {
			t.Fatal("header is not found")
		}
		d := BasicDeliver{DeliveryTag: 1, Exchange: m.Exchange, RoutingKey: m.RoutingKey}
		out = AppendContentHeader(d.Append(out[:0], 1), 1, 5, props)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
