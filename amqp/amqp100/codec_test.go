package amqp100

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// performative is what every generated type can do.
type performative interface {
	Decode(value []byte) error
	Append(b []byte) []byte
}

// full is one of each generated type, with every field set.
func full() map[Code]performative {
	null := Raw{codeNull}
	fields, at := BeginMap(nil)
	fields = EndCompound(AppendUint(AppendSymbol(fields, "k"), 7), at, 2)
	failure := &Error{Condition: ErrNotFound, Description: "no such queue", Info: fields}
	symbols := []string{"en", "de"}
	_ = null
	return map[Code]performative{
		CodeOpen: &Open{
			ContainerID: "c", Hostname: "h", MaxFrameSize: 512, ChannelMax: 9, IdleTimeOut: 1000,
			OutgoingLocales: symbols, IncomingLocales: symbols, OfferedCapabilities: []string{"x"},
			DesiredCapabilities: symbols, Properties: fields,
		},
		CodeBegin: &Begin{
			RemoteChannel: Some(uint16(0)), NextOutgoingID: 1, IncomingWindow: 256, OutgoingWindow: math.MaxUint32,
			HandleMax: 3, OfferedCapabilities: symbols, DesiredCapabilities: symbols, Properties: fields,
		},
		CodeAttach: &Attach{
			Name: strings.Repeat("long ", 60), Handle: 300, Role: Receiver, SndSettleMode: Settled, RcvSettleMode: Second,
			Source: (&Source{Address: Some("q")}).Append(nil), Target: (&Target{}).Append(nil), Unsettled: fields,
			IncompleteUnsettled: true, InitialDeliveryCount: Some(Seq(0)), MaxMessageSize: 1 << 40,
			OfferedCapabilities: symbols, DesiredCapabilities: symbols, Properties: fields,
		},
		CodeFlow: &Flow{
			NextIncomingID: Some(Seq(0)), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3, Handle: Some(Handle(0)),
			DeliveryCount: Some(Seq(5)), LinkCredit: Some(uint32(0)), Available: Some(uint32(6)), Drain: true, Echo: true, Properties: fields,
		},
		CodeTransfer: &Transfer{
			Handle: 1, DeliveryID: Some(Seq(2)), DeliveryTag: []byte{3}, MessageFormat: Some(uint32(0)), Settled: true, More: true,
			RcvSettleMode: Second, State: (&Received{SectionNumber: 1, SectionOffset: 500}).Append(nil), Resume: true, Aborted: true, Batchable: true,
		},
		CodeDisposition:    &Disposition{Role: Receiver, First: 1, Last: Some(Seq(2)), Settled: true, State: (&Accepted{}).Append(nil), Batchable: true},
		CodeDetach:         &Detach{Handle: 1, Closed: true, Error: failure},
		CodeEnd:            &End{Error: failure},
		CodeClose:          &Close{Error: failure},
		CodeError:          failure,
		CodeReceived:       &Received{SectionNumber: 0, SectionOffset: 0},
		CodeAccepted:       &Accepted{},
		CodeRejected:       &Rejected{Error: failure},
		CodeReleased:       &Released{},
		CodeModified:       &Modified{DeliveryFailed: true, UndeliverableHere: true, MessageAnnotations: fields},
		CodeSASLMechanisms: &SASLMechanisms{SASLServerMechanisms: symbols},
		CodeSASLInit:       &SASLInit{Mechanism: "PLAIN", InitialResponse: []byte{}, Hostname: "h"},
		CodeSASLChallenge:  &SASLChallenge{Challenge: []byte{}},
		CodeSASLResponse:   &SASLResponse{Response: bytes.Repeat([]byte{1}, 300)},
		CodeSASLOutcome:    &SASLOutcome{Code: uint8(SASLAuth), AdditionalData: []byte("v=")},
		CodeSource: &Source{
			Address: Some(""), Durable: DurableUnsettledState, ExpiryPolicy: "never", Timeout: 5, Dynamic: true,
			DynamicNodeProperties: fields, DistributionMode: "copy", Filter: fields,
			DefaultOutcome: (&Released{}).Append(nil), Outcomes: symbols, Capabilities: symbols,
		},
		CodeTarget: &Target{Address: Some("q"), Durable: 1, ExpiryPolicy: "never", Timeout: 5, Dynamic: true, DynamicNodeProperties: fields, Capabilities: symbols},
		CodeHeader: &Header{Durable: true, Priority: Some(uint8(0)), TTL: Some(uint32(0)), FirstAcquirer: true, DeliveryCount: 256},
		CodeProperties: &Properties{
			MessageID: AppendUlong(nil, 300), UserID: []byte("u"), To: []byte("t"), Subject: []byte("s"), ReplyTo: []byte("r"),
			CorrelationID: AppendBinary(nil, []byte("c")), ContentType: []byte("text/plain"), ContentEncoding: []byte("gzip"),
			AbsoluteExpiryTime: Some(int64(-1)), CreationTime: Some(int64(1 << 40)), GroupID: []byte("g"),
			GroupSequence: Some(uint32(7)), ReplyToGroupID: []byte("h"),
		},
	}
}

func TestRoundTrip(t *testing.T) {
	for code, x := range full() {
		encoded := x.Append([]byte("before"))
		got, value, rest, err := SplitDescribed(append(encoded, "after"...)[len("before"):])
		if err != nil || got != code || string(rest) != "after" {
			t.Fatalf("%v: split into %v, rest %q, %v", code, got, rest, err)
		}
		y := reflect.New(reflect.TypeOf(x).Elem()).Interface().(performative)
		if err := y.Decode(value); err != nil {
			t.Fatalf("%v: %v", code, err)
		}
		if !reflect.DeepEqual(x, y) {
			t.Errorf("%v:\n in %+v\nout %+v", code, x, y)
		}
		if err := Check(encoded[len("before"):]); err != nil {
			t.Errorf("%v: %v", code, err)
		}
		// Every cut, and every byte made another, is refused or read, without a panic.
		whole := encoded[len("before"):]
		for i := range whole {
			if _, _, _, err := SplitDescribed(whole[:i]); err == nil {
				t.Errorf("%v: the first %d of %d bytes were taken", code, i, len(whole))
			}
			bad := bytes.Clone(whole)
			bad[i] ^= 0xff
			if _, value, _, err := SplitDescribed(bad); err == nil {
				_ = y.Decode(value)
			}
		}
	}
}

// TestAbsent holds absence to the standard's defaults, and mandatory fields to presence.
func TestAbsent(t *testing.T) {
	mandatory := map[Code]bool{
		CodeOpen: true, CodeBegin: true, CodeAttach: true, CodeFlow: true, CodeTransfer: true, CodeDisposition: true,
		CodeDetach: true, CodeError: true, CodeReceived: true, CodeSASLMechanisms: true, CodeSASLInit: true,
		CodeSASLChallenge: true, CodeSASLResponse: true, CodeSASLOutcome: true,
	}
	for code, x := range full() {
		err := x.Decode([]byte{codeList0})
		if (err != nil) != mandatory[code] {
			t.Errorf("%v of an empty list: %v", code, err)
		}
		var d *DecodeError
		if err != nil && (!errors.As(err, &d) || !strings.Contains(err.Error(), code.String())) {
			t.Errorf("%v: the error does not name it: %v", code, err)
		}
	}
	var open Open
	if err := open.Decode([]byte{codeList8, 4, 1, codeString8, 1, 'c'}); err != nil {
		t.Fatal(err)
	}
	if open.MaxFrameSize != math.MaxUint32 || open.ChannelMax != math.MaxUint16 {
		t.Errorf("defaults: %+v", open)
	}
}

func TestSymbolicDescriptor(t *testing.T) {
	b := append(AppendSymbol([]byte{codeDescribed}, "amqp:accepted:list"), codeList0)
	if code, _, _, err := SplitDescribed(b); code != CodeAccepted || err != nil {
		t.Error(code, err)
	}
	if code, _, _, err := SplitDescribed(append(AppendSymbol([]byte{codeDescribed}, "x"), codeNull)); code != 0 || err != nil {
		t.Error(code, err)
	}
	if _, _, _, err := SplitDescribed([]byte{codeDescribed, codeTrue, codeNull}); err == nil {
		t.Error("a boolean descriptor was taken")
	}
}

func TestNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, math.MaxInt32, math.MinInt32} {
		for _, b := range [][]byte{AppendLong(nil, v), AppendInt(nil, int32(v)), AppendTimestamp(nil, v)} {
			if got, ok := Raw(b).Int(); !ok || got != v {
				t.Errorf("% x is %d, want %d", b, got, v)
			}
		}
		if v >= 0 {
			for _, b := range [][]byte{AppendUint(nil, uint32(v)), AppendUlong(nil, uint64(v))} {
				if got, ok := Raw(b).Uint(); !ok || got != uint64(v) {
					t.Errorf("% x is %d, want %d", b, got, v)
				}
			}
		}
	}
	if _, ok := Raw(AppendUlong(nil, math.MaxUint64)).Int(); ok {
		t.Error("a ulong over the largest long fits a long")
	}
	if f, ok := Raw(AppendFloat(nil, 0.5)).Float(); f != 0.5 || !ok {
		t.Error(f)
	}
	if f, ok := Raw(AppendDouble(nil, -2.5)).Float(); f != -2.5 || !ok {
		t.Error(f)
	}
	for _, b := range [][]byte{{codeBoolean, 1}, {codeTrue}} {
		if v, ok := Raw(b).Bool(); !v || !ok {
			t.Errorf("% x", b)
		}
	}
}

func TestNesting(t *testing.T) {
	deep := []byte{codeList0}
	for range 1000 {
		size := len(deep) + 4
		deep = append([]byte{codeList32, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size), 0, 0, 0, 1}, deep...)
	}
	if n, err := Skip(deep); n != len(deep) || err != nil {
		t.Errorf("skipping what is only deep: %v", err)
	}
	if err := Check(deep); !errors.Is(err, errDepth) {
		t.Errorf("1000 lists in one another: %v", err)
	}
	described := bytes.Repeat([]byte{codeDescribed, codeUlong0}, 1000)
	if _, err := Skip(append(described, codeNull)); !errors.Is(err, errDepth) {
		t.Errorf("1000 times described: %v", err)
	}
	if _, err := Skip(bytes.Repeat([]byte{codeDescribed}, 1000)); err == nil {
		t.Error("described descriptors were taken")
	}
}

func TestArrays(t *testing.T) {
	symbols := AppendSymbols(nil, []string{"a", "bb", ""})
	var got []string
	it := Raw(symbols).Items()
	for it.Next() {
		s, _ := it.Value.Text()
		got = append(got, string(s))
	}
	if it.Err() != nil || !reflect.DeepEqual(got, []string{"a", "bb", ""}) {
		t.Error(got, it.Err())
	}
	// Four thousand million nulls in eleven bytes.
	bomb := Raw{codeArray32, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, codeNull}
	if err := Check(bomb); err == nil {
		t.Error("an array of 2^32-1 nothings was taken")
	}
}

func TestSections(t *testing.T) {
	var message []byte
	message = (&Header{Durable: true}).Append(message)
	message = (&Properties{Subject: []byte("s")}).Append(message)
	at := len(message)
	message = append(AppendDataHead(message, 3), "one"...)
	message = append(AppendDataHead(message, 3), "two"...)
	footer, mapAt := BeginMap(append(message, codeDescribed, codeSmallUlong, byte(CodeFooter)))
	message = EndCompound(footer, mapAt, 0)

	var s Sections
	if err := s.Scan(message); err != nil {
		t.Fatal(err)
	}
	if s.BodyAt != at || s.BodyCode != CodeData || len(s.Body) != 16 || s.Footer == nil {
		t.Errorf("%+v", s)
	}
	var h Header
	var p Properties
	if err := errors.Join(s.DecodeHeader(&h), s.DecodeProperties(&p)); err != nil || !h.Durable || string(p.Subject) != "s" {
		t.Error(h, p, err)
	}
	if err := s.Scan(message[:at]); err != nil || s.BodyAt != at || s.Body != nil {
		t.Error("all before the body:", err)
	}
	for name, bad := range map[string][]byte{
		"repeated":      append((&Header{}).Append(nil), (&Header{}).Append(nil)...),
		"out of order":  append((&Properties{}).Append(nil), (&Header{}).Append(nil)...),
		"mixed body":    append(AppendDataHead(nil, 0), codeDescribed, codeSmallUlong, byte(CodeAmqpValue), codeNull),
		"two values":    {codeDescribed, codeSmallUlong, 0x77, codeNull, codeDescribed, codeSmallUlong, 0x77, codeNull},
		"not a section": (&Accepted{}).Append(nil),
		"not described": {codeNull},
		"data of list":  {codeDescribed, codeSmallUlong, 0x75, codeList0},
		"cut":           message[:len(message)-1],
	} {
		if err := s.Scan(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestFrames(t *testing.T) {
	b, at := BeginFrame(nil, FrameAMQP, 7)
	b = EndFrame(append(b, "body"...), at)
	for i := range b {
		if _, size, whole, err := ParseFrame(b[:i], 100); whole || err != nil || size > len(b) || size <= i {
			t.Fatal(i, size, whole, err)
		}
	}
	f, size, whole, err := ParseFrame(append(b, 1), 100)
	if f.Channel != 7 || string(f.Body) != "body" || size != len(b) || !whole || err != nil {
		t.Fatal(f, size, whole, err)
	}
	for name, bad := range map[string][]byte{
		"oversized":     {0, 0, 1, 0, 2, 0, 0, 0},
		"doff over":     {0, 0, 0, 8, 3, 0, 0, 0},
		"doff under":    {0, 0, 0, 8, 1, 0, 0, 0},
		"size under":    {0, 0, 0, 7, 2, 0, 0, 0},
		"unknown frame": {0, 0, 0, 8, 2, 2, 0, 0},
	} {
		if _, _, _, err := ParseFrame(bad, 100); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAllocs(t *testing.T) {
	all := full()
	var transfer Transfer
	var flow Flow
	var disposition Disposition
	var header Header
	var properties Properties
	var sections Sections
	message := append(AppendDataHead(all[CodeProperties].Append(all[CodeHeader].Append(nil)), 3), "one"...)
	application, at := BeginMap(nil)
	application = EndCompound(AppendString(AppendString(application, "key"), "value"), at, 2)
	out := make([]byte, 0, 4096)
	for code, x := range map[Code]performative{CodeTransfer: &transfer, CodeFlow: &flow, CodeDisposition: &disposition} {
		encoded := all[code].Append(nil)
		n := testing.AllocsPerRun(100, func() {
			_, value, _, err := SplitDescribed(encoded)
			if err != nil || x.Decode(value) != nil {
				t.Fatal("malformed")
			}
			out = x.Append(out[:0])
		})
		if n != 0 {
			t.Errorf("%v: %v allocations", code, n)
		}
	}
	n := testing.AllocsPerRun(100, func() {
		if sections.Scan(message) != nil || sections.DecodeHeader(&header) != nil || sections.DecodeProperties(&properties) != nil {
			t.Fatal("malformed")
		}
		if _, ok := Raw(application).Lookup("key"); !ok {
			t.Fatal("lost")
		}
	})
	if n != 0 {
		t.Errorf("sections: %v allocations", n)
	}
}

func BenchmarkTransfer(b *testing.B) {
	frame, at := BeginFrame(nil, FrameAMQP, 0)
	frame = (&Transfer{Handle: 0, DeliveryID: Some(Seq(70000)), DeliveryTag: []byte("12345678"), MessageFormat: Some(uint32(0))}).Append(frame)
	frame = append(AppendDataHead(frame, 100), make([]byte, 100)...)
	frame = EndFrame(frame, at)
	var transfer Transfer
	var sections Sections
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		f, _, _, _ := ParseFrame(frame, 1<<20)
		_, value, payload, _ := SplitDescribed(f.Body)
		if transfer.Decode(value) != nil || sections.Scan(payload) != nil {
			b.Fatal("malformed")
		}
	}
}
