package session

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// The scripts in testdata/100 drive one connection. Commands:
//
//	connect [users] [sasl] [frame=N] [message=N] [open]    a new connection; open: up to there
//	in                                                     lines of client frames, see clientFrame100
//	answer                                                 lines of answers, see script091.answer
//	tick 30s                                               time passes
//	shut TEXT
//
// After each, requests, what is written and how the connection is are printed.
func TestScripts100(t *testing.T) {
	datadriven.Walk(t, "testdata/100", func(t *testing.T, path string) {
		s := &script100{script091: script091{t: t}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
	})
}

// script100 takes answers and pins from the 0-9-1 scripts.
type script100 struct{ script091 }

func (s *script100) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "connect":
		s.connect(d)
	case "in":
		var b []byte
		for _, line := range splitLines(d.Input) {
			b = clientFrame100(b, line)
		}
		s.feedAll(b)
	case "answer":
		var list []broker.Answer
		for _, line := range splitLines(d.Input) {
			list = append(list, s.answer100(line))
		}
		s.c.Answer(s.now, list)
	case "tick":
		d, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now += d
		next := s.c.Tick(s.now)
		return s.report100() + fmt.Sprintf("next %v\n", next)
	case "shut":
		s.c.Shut(s.now, d.CmdArgs[0].Key)
	default:
		s.t.Fatalf("no command %s", d.Cmd)
	}
	return s.report100()
}

func (s *script100) connect(d *datadriven.TestData) {
	cfg := config091()
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "users":
			cfg.Users = oneUser{}
		case "frame":
			cfg.FrameBytes = uint32(mustNumber(a.Vals[0]))
		case "message":
			cfg.MessageBytes = uint64(mustNumber(a.Vals[0]))
		}
	}
	s.c, s.now = NewConn(cfg, 7, 0), 0
	if d.HasArg("sasl") {
		s.feedAll(header100SASL)
		return
	}
	s.feedAll(header100)
	if d.HasArg("open") {
		s.feedAll(clientFrame100(clientFrame100(nil, "0 open container-id=client"), "0 begin next-outgoing-id=0 incoming-window=100 outgoing-window=100"))
		s.c.out.Reset()
	}
}

func (s *script100) feedAll(b []byte) {
	for len(b) > 0 {
		n, want := s.c.Feed(s.now, b)
		if n == 0 {
			s.t.Logf("want %d of %d", want, len(b))
			return
		}
		b = b[n:]
	}
}

// deliveries of these scripts are AMQP 1.0, with their body in a data section; format=091
// leaves that away.
func (s *script100) answer100(line string) broker.Answer {
	old, drained := strings.Contains(line, "format=091"), strings.HasPrefix(line, "drained")
	var common []string
	for word := range strings.FieldsSeq(line) {
		if word != "format=091" && !strings.HasPrefix(word, "query=") {
			common = append(common, word)
		}
	}
	a := s.answer(strings.Replace(strings.Join(common, " "), "drained", "completed", 1))
	if drained {
		a.Kind = broker.AnsDrained
	}
	for _, w := range splitWords(line) {
		if w == "query=queue" {
			a.Result.IsQueue = true
		}
		if kind, ok := strings.CutPrefix(w, "query="); ok && kind != "queue" {
			a.Result.IsExchange, a.Result.ExchangeType = true, map[string]broker.ExchangeType{"topic": broker.Topic, "direct": broker.Direct}[kind]
		}
	}
	if a.Record == nil || old {
		return a
	}
	var p broker.Publish
	if err := broker.ParsePublish(a.Record, &p); err != nil {
		s.t.Fatal(err)
	}
	p.Format, p.Props = broker.FormatAMQP100, nil
	p.Body = append(amqp100.AppendDataHead(nil, len(p.Body)), p.Body...)
	a.Record = broker.AppendPublish(nil, &p)
	return a
}

var types100 = map[amqp100.Code]any{
	amqp100.CodeOpen: &amqp100.Open{}, amqp100.CodeBegin: &amqp100.Begin{}, amqp100.CodeAttach: &amqp100.Attach{},
	amqp100.CodeFlow: &amqp100.Flow{}, amqp100.CodeTransfer: &amqp100.Transfer{}, amqp100.CodeDisposition: &amqp100.Disposition{},
	amqp100.CodeDetach: &amqp100.Detach{}, amqp100.CodeEnd: &amqp100.End{}, amqp100.CodeClose: &amqp100.Close{},
	amqp100.CodeError: &amqp100.Error{}, amqp100.CodeReceived: &amqp100.Received{}, amqp100.CodeAccepted: &amqp100.Accepted{},
	amqp100.CodeRejected: &amqp100.Rejected{}, amqp100.CodeReleased: &amqp100.Released{}, amqp100.CodeModified: &amqp100.Modified{},
	amqp100.CodeSource: &amqp100.Source{}, amqp100.CodeTarget: &amqp100.Target{}, amqp100.CodeHeader: &amqp100.Header{},
	amqp100.CodeProperties: &amqp100.Properties{}, amqp100.CodeSASLMechanisms: &amqp100.SASLMechanisms{},
	amqp100.CodeSASLInit: &amqp100.SASLInit{}, amqp100.CodeSASLChallenge: &amqp100.SASLChallenge{},
	amqp100.CodeSASLResponse: &amqp100.SASLResponse{}, amqp100.CodeSASLOutcome: &amqp100.SASLOutcome{},
}

type composite100 interface {
	Decode(value []byte) error
	Append(b []byte) []byte
}

// new100 is a composite of the standard's name, at its defaults.
func new100(name string) composite100 {
	for code, x := range types100 {
		if code.String() == name {
			v := reflect.New(reflect.TypeOf(x).Elem()).Interface().(composite100)
			_ = v.Decode([]byte{0x45}) // an empty list sets what absence means
			return v
		}
	}
	panic("no type " + name)
}

// build100 encodes "name field=value flag …".
func build100(words []string) []byte {
	x := new100(words[0])
	v := reflect.ValueOf(x).Elem()
	for _, w := range words[1:] {
		key, text, _ := strings.Cut(w, "=")
		f := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, strings.ReplaceAll(key, "-", "")) })
		if !f.IsValid() {
			panic(words[0] + " has no field " + key)
		}
		set100(f, text)
	}
	return x.Append(nil)
}

func set100(f reflect.Value, text string) {
	if set := f; f.Kind() == reflect.Struct {
		set.FieldByName("Set").SetBool(true)
		set100(f.FieldByName("Value"), text)
		return
	}
	switch {
	case f.Type() == reflect.TypeFor[amqp100.Raw]():
		f.SetBytes(raw100(text))
	case f.Type() == reflect.TypeFor[amqp100.Role]():
		f.SetBool(text == "receiver")
	case f.Kind() == reflect.Bool:
		f.SetBool(text != "false")
	case f.Kind() == reflect.String:
		f.SetString(text)
	case f.Type() == reflect.TypeFor[[]string]():
		f.Set(reflect.ValueOf(strings.Split(text, ",")))
	case f.Kind() == reflect.Slice:
		f.SetBytes([]byte(strings.ReplaceAll(text, "^@", "\x00")))
	case f.CanUint():
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			panic(err)
		}
		f.SetUint(n)
	default:
		panic("cannot set " + f.Type().String())
	}
}

// raw100 encodes a described value, a string in 'quotes', or filters KEY:TEXT.
func raw100(text string) amqp100.Raw {
	switch {
	case strings.HasPrefix(text, "'"):
		return amqp100.AppendString(nil, strings.Trim(text, "'"))
	case strings.HasPrefix(text, "0x"):
		b, err := hex.DecodeString(text[2:])
		if err != nil {
			panic(err)
		}
		return b
	case text == "coordinator":
		return append(amqp100.AppendDescriptor(nil, amqp100.CodeCoordinator), 0x45)
	case strings.HasPrefix(text, "filter:"):
		name, value, _ := strings.Cut(text[len("filter:"):], ":")
		b, at := amqp100.BeginMap(nil)
		b = append(amqp100.AppendSymbol(b, name), 0)
		b = amqp100.AppendString(amqp100.AppendSymbol(b, "apache.org:"+name+":string"), value)
		return amqp100.EndCompound(b, at, 2)
	}
	return build100(splitWords(text))
}

// clientFrame100 appends the frame of a line:
//
//	0 attach name=a handle=0 role=sender source="source address=x" target="target address=q"
//	0 transfer handle=0 delivery-id=0 body=text subject=s durable     0 transfer handle=0 zeros=1000
//	sasl sasl-init mechanism=PLAIN initial-response=^@alice^@secret   0 empty     raw 0102ff     header
func clientFrame100(b []byte, line string) []byte {
	w := splitWords(line)
	switch w[0] {
	case "raw":
		raw, err := hex.DecodeString(w[1])
		if err != nil {
			panic(err)
		}
		return append(b, raw...)
	case "header":
		return append(b, header100...)
	case "sasl":
		b, at := amqp100.BeginFrame(b, amqp100.FrameSASL, 0)
		return amqp100.EndFrame(append(b, build100(w[1:])...), at)
	}
	b, at := amqp100.BeginFrame(b, amqp100.FrameAMQP, uint16(mustNumber(w[0])))
	if w[1] == "empty" {
		return amqp100.EndFrame(b, at)
	}
	words, payload := message100Of(w[1:])
	b = append(b, build100(words)...)
	return amqp100.EndFrame(append(b, payload...), at)
}

// message100Of takes the words that make a message out of those of a transfer.
func message100Of(words []string) (rest []string, message []byte) {
	header, properties := []string{"header"}, []string{"properties"}
	var body []byte
	for _, w := range words {
		key, text, _ := strings.Cut(w, "=")
		switch key {
		case "durable", "ttl", "priority":
			header = append(header, w)
		case "subject", "to", "message-id", "content-type":
			properties = append(properties, w)
		case "body":
			body = append(amqp100.AppendDataHead(body, len(text)), text...)
		case "zeros":
			n := mustNumber(text)
			body = append(amqp100.AppendDataHead(body, n), make([]byte, n)...)
		case "rawbody":
			body = raw100("0x" + text)
		default:
			rest = append(rest, w)
		}
	}
	if words[0] == "attach" || words[0] == "open" {
		return words, nil
	}
	if len(header) > 1 {
		message = append(message, build100(header)...)
	}
	if len(properties) > 1 {
		message = append(message, build100(properties)...)
	}
	return rest, append(message, body...)
}

// report100 prints and clears what the connection wants.
func (s *script100) report100() string {
	var b strings.Builder
	for i := range s.c.req.List {
		b.WriteString("? " + showRequest100(&s.c.req, &s.c.req.List[i]) + "\n")
	}
	s.c.req.Reset()
	var out []byte
	for _, v := range s.c.out.Vectors(nil) {
		out = append(out, v...)
	}
	if len(out) != s.c.out.Size() {
		s.t.Fatalf("%d bytes, and the output says %d", len(out), s.c.out.Size())
	}
	s.c.out.Reset()
	for len(out) > 0 {
		if string(out[:4]) == "AMQP" {
			fmt.Fprintf(&b, "> %q\n", out[:headerBytes])
			out = out[headerBytes:]
			continue
		}
		f, n, whole, err := amqp100.ParseFrame(out, 1<<30)
		if !whole {
			fmt.Fprintf(&b, "> %q %v\n", out, err)
			break
		}
		b.WriteString("> " + showFrame100(&f) + "\n")
		out = out[n:]
	}
	if s.pins != 0 {
		fmt.Fprintf(&b, "%d pins kept\n", s.pins)
	}
	if done, err := s.c.Done(); done {
		fmt.Fprintf(&b, "done: %v\n", err)
	}
	return b.String()
}

func showRequest100(r *broker.Requests, q *broker.Request) string {
	entry := r.Data(q)
	var p broker.Publish
	if q.Kind == broker.ReqCredit && q.Drain {
		return showRequest(r, q) + " drain"
	}
	if q.Kind != broker.ReqSubmit || broker.ParsePublish(entry, &p) != nil {
		return showRequest(r, q)
	}
	return fmt.Sprintf("publish flags=%04b priority=%d ttl=%d exchange=%q key=%q %s",
		p.Flags, p.Priority, p.TTL, p.Exchange, p.Key, showMessage100(append(p.Props[:len(p.Props):len(p.Props)], p.Body...)))
}

func showFrame100(f *amqp100.Frame) string {
	if len(f.Body) == 0 {
		return fmt.Sprintf("%d empty", f.Channel)
	}
	code, value, payload, err := amqp100.SplitDescribed(f.Body)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%d %s", f.Channel, showComposite100(code, value))
	if f.Type == amqp100.FrameSASL {
		text = "sasl " + text[2:]
	}
	if code != amqp100.CodeTransfer {
		return text
	}
	return fmt.Sprintf("%s %d bytes %s", text, len(payload), showMessage100(payload))
}

func showComposite100(code amqp100.Code, value amqp100.Raw) string {
	if types100[code] == nil {
		return fmt.Sprintf("%v(%x)", code, []byte(value))
	}
	x := new100(code.String())
	defaults := reflect.ValueOf(new100(code.String())).Elem()
	if err := x.Decode(value); err != nil {
		return err.Error()
	}
	var b strings.Builder
	b.WriteString(code.String())
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); !reflect.DeepEqual(f.Interface(), defaults.Field(i).Interface()) || v.Type().Field(i).Name == "Handle" {
			fmt.Fprintf(&b, " %s=%s", v.Type().Field(i).Name, showField100(f))
		}
	}
	return b.String()
}

func showField100(f reflect.Value) string {
	switch x := f.Interface().(type) {
	case amqp100.Raw:
		return showRaw100(x)
	case *amqp100.Error:
		return fmt.Sprintf("%s(%s)", x.Condition, x.Description)
	case amqp100.Role:
		return map[amqp100.Role]string{amqp100.Sender: "sender", amqp100.Receiver: "receiver"}[x]
	case []byte:
		return fmt.Sprintf("%q", x)
	case string:
		return fmt.Sprintf("%q", x)
	}
	if f.Kind() == reflect.Struct {
		return showField100(f.FieldByName("Value"))
	}
	return fmt.Sprint(f.Interface())
}

func showRaw100(v amqp100.Raw) string {
	if code, value, ok := v.Described(); ok {
		return "(" + showComposite100(code, value) + ")"
	}
	if text, ok := v.Text(); ok {
		return fmt.Sprintf("%q", text)
	}
	if n, ok := v.Int(); ok {
		return fmt.Sprint(n)
	}
	if k := v.Kind(); k == amqp100.KindMap || k == amqp100.KindList {
		var parts []string
		for it := v.Items(); it.Next(); {
			part := showRaw100(it.Value)
			if k == amqp100.KindMap {
				part = showRaw100(it.Key) + ":" + part
			}
			parts = append(parts, part)
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprintf("0x%x", []byte(v))
}

func showMessage100(m []byte) string {
	var parts []string
	for len(m) > 0 {
		code, value, rest, err := amqp100.SplitDescribed(m)
		if err != nil {
			return strings.Join(append(parts, fmt.Sprintf("…%d", len(m))), " ")
		}
		if data, ok := value.Binary(); ok && len(data) > 40 {
			parts = append(parts, fmt.Sprintf("(data of %d)", len(data)))
		} else if ok {
			parts = append(parts, fmt.Sprintf("(data %s)", data))
		} else if types100[code] == nil {
			parts = append(parts, fmt.Sprintf("(%v %s)", code, showRaw100(value)))
		} else {
			parts = append(parts, "("+showComposite100(code, value)+")")
		}
		m = rest
	}
	return strings.Join(parts, " ")
}
