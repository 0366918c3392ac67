package session

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// The scripts in testdata/091 drive one connection. Commands:
//
//	connect [users] [frame=N] [message=N] [show]           a new connection, start printed if show
//	open [frame-max=N] [heartbeat=S]                       the handshake, printing nothing
//	in                                                     lines of client frames, see clientFrame
//	answer                                                 lines of the member's answers, see answer
//	tick 30s                                               time passes
//	shut TEXT
//
// After each, requests, what is written and how the connection is are printed.
func TestScripts091(t *testing.T) {
	datadriven.Walk(t, "testdata/091", func(t *testing.T, path string) {
		s := &script091{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(d) })
	})
}

type script091 struct {
	t    *testing.T
	c    *Conn
	now  time.Duration
	pins int
}

type oneUser struct{}

func (oneUser) Verify(user, password string) bool { return user == "alice" && password == "secret" }

func (oneUser) Scram(string) (salt, storedKey, serverKey []byte, iterations int, ok bool) {
	return []byte("salt"), make([]byte, 32), make([]byte, 32), 4096, false
}

func config091() *Config {
	n := byte(0)
	return &Config{
		Product: "qpidd", Version: "1", Container: "test",
		Random: func(b []byte) {
			n++
			for i := range b {
				b[i] = n
			}
		},
		Hosts: func() []string { return []string{"a:5672", "b:5672"} },
	}
}

func (s *script091) run(d *datadriven.TestData) string {
	switch d.Cmd {
	case "connect":
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
		s.c, s.now = NewConn(cfg, 7, s.now), 0
		s.feed([]byte("AMQP\x00\x00\x09\x01"))
		if !d.HasArg("show") {
			s.c.out.Reset()
		}
	case "open":
		s.feed(handshake091(d.CmdArgs))
		s.c.out.Reset()
		return ""
	case "in":
		var b []byte
		for _, line := range splitLines(d.Input) {
			b = clientFrame(b, line)
		}
		s.feed(b)
	case "answer":
		var list []broker.Answer
		for _, line := range splitLines(d.Input) {
			list = append(list, s.answer(line))
		}
		s.c.Answer(s.now, list)
	case "tick":
		d, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now += d
		next := s.c.Tick(s.now)
		return s.report() + fmt.Sprintf("next %v\n", next)
	case "shut":
		s.c.Shut(s.now, d.CmdArgs[0].Key)
	default:
		s.t.Fatalf("no command %s", d.Cmd)
	}
	return s.report()
}

// handshake091 is a client's side of the handshake.
func handshake091(args []datadriven.CmdArg) []byte {
	tune := &amqp091.ConnectionTuneOk{FrameMax: 0}
	for _, a := range args {
		switch a.Key {
		case "frame-max":
			tune.FrameMax = uint32(mustNumber(a.Vals[0]))
		case "heartbeat":
			tune.Heartbeat = uint16(mustNumber(a.Vals[0]))
		}
	}
	caps, at := amqp091.BeginTable(nil, "capabilities")
	caps = amqp091.End(amqp091.AppendBool(caps, "consumer_cancel_notify", true), at)
	b := (&amqp091.ConnectionStartOk{
		ClientProperties: caps, Mechanism: []byte("PLAIN"), Response: []byte("\x00alice\x00secret"), Locale: []byte("en_US"),
	}).Append(nil, 0)
	b = tune.Append(b, 0)
	return (&amqp091.ConnectionOpen{VirtualHost: []byte("/")}).Append(b, 0)
}

func (s *script091) feed(b []byte) {
	for len(b) > 0 {
		n, want := s.c.Feed(s.now, b)
		if n == 0 {
			fmt.Printf("want %d of %d\n", want, len(b))
			return
		}
		b = b[n:]
	}
}

func splitLines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func mustNumber(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// splitWords splits a line at spaces that are not quoted, and unquotes.
func splitWords(line string) (list []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		i, quoted := 0, false
		for i < len(line) && (quoted || line[i] != ' ') {
			quoted = quoted != (line[i] == '"')
			i++
		}
		word := line[:i]
		if key, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(value, `"`) {
			text, err := strconv.Unquote(value)
			if err != nil {
				panic(word + ": " + err.Error())
			}
			word = key + "=" + text
		}
		list, line = append(list, word), line[i:]
	}
	return list
}

// clientFrame appends the frame of a line:
//
//	1 queue.declare queue=q durable arguments=x-message-ttl:60,x-queue-type:quorum
//	1 header size=5 delivery-mode=2 expiration=10 headers=k:v
//	1 body hello            1 zeros 1000            0 heartbeat            raw 0102ff
func clientFrame(b []byte, line string) []byte {
	w := splitWords(line)
	if w[0] == "raw" {
		raw, err := hex.DecodeString(w[1])
		if err != nil {
			panic(err)
		}
		return append(b, raw...)
	}
	channel := uint16(mustNumber(w[0]))
	switch w[1] {
	case "heartbeat":
		return amqp091.AppendHeartbeat(b)
	case "header":
		p := amqp091.Properties{}
		size := setFields(&p, w[2:], "size")
		for i := range reflect.TypeFor[amqp091.Properties]().NumField() - 1 {
			if !reflect.ValueOf(p).Field(i + 1).IsZero() {
				p.Flags |= 1 << (15 - i)
			}
		}
		return amqp091.AppendContentHeader(b, channel, uint64(mustNumber(size)), p.Append(nil))
	case "body", "zeros":
		body := []byte(w[2])
		if w[1] == "zeros" {
			body = make([]byte, mustNumber(w[2]))
		}
		b = amqp091.AppendBodyHead(b, channel, len(body))
		return append(append(b, body...), amqp091.FrameEnd)
	}
	m := methodNamed(w[1])
	setFields(m, w[2:], "")
	return m.Append(b, channel)
}

func methodNamed(name string) amqp091.Method {
	for class := range amqp091.MethodID(128) {
		for number := range amqp091.MethodID(128) {
			if id := class<<16 | number; id.String() == name {
				return amqp091.NewMethod(id)
			}
		}
	}
	panic("no method " + name)
}

// setFields fills the fields of a method or of properties; the one named apart is returned.
func setFields(to any, words []string, apart string) (value string) {
	v := reflect.ValueOf(to).Elem()
	for _, w := range words {
		key, text, ok := strings.Cut(w, "=")
		if key == apart {
			value = text
			continue
		}
		f := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, strings.ReplaceAll(key, "-", "")) })
		switch {
		case !f.IsValid():
			panic("no field " + key)
		case !ok:
			f.SetBool(true)
		case f.Type() == reflect.TypeFor[amqp091.Table]():
			f.SetBytes(tableOf(text))
		case f.Kind() == reflect.Slice:
			f.SetBytes([]byte(text))
		default:
			f.SetUint(uint64(mustNumber(text)))
		}
	}
	return value
}

// tableOf reads k:v,k:v; numbers are integers, true and false booleans, [v] an array of a string, the rest strings.
func tableOf(text string) (b []byte) {
	for _, field := range strings.Split(text, ",") {
		key, value, _ := strings.Cut(field, ":")
		switch n, err := strconv.Atoi(value); {
		case err == nil:
			b = amqp091.AppendInt(b, key, int64(n))
		case value == "true" || value == "false":
			b = amqp091.AppendBool(b, key, value == "true")
		case strings.HasPrefix(value, "["):
			var at int
			b, at = amqp091.BeginArray(b, key)
			if element := strings.Trim(value, "[]"); element != "" {
				b = amqp091.AppendString(b, amqp091.Element, element)
			}
			b = amqp091.End(b, at)
		default:
			b = amqp091.AppendString(b, key, value)
		}
	}
	return b
}

type pin091 struct{ s *script091 }

func (p pin091) Unpin() { p.s.pins-- }

var codes091 = map[string]broker.Code{
	"OK": broker.OK, "NotFound": broker.NotFound, "AccessRefused": broker.AccessRefused,
	"ResourceLocked": broker.ResourceLocked, "PreconditionFailed": broker.PreconditionFailed,
	"NoRoute": broker.NoRoute, "Refused": broker.Refused, "NoMemory": broker.NoMemory, "NotAllowed": broker.NotAllowed,
	"Unavailable": broker.Unavailable, "InUse": broker.InUse,
}

// answer reads one answer:
//
//	completed 3
//	result 3 code=NotFound text="no queue 'q'" messages=2 consumers=1
//	deliver consumer=1 queue=5 index=9 deliveries=1 ready=2 exchange=x key=k body=text [redelivered]
//	return 3 exchange=x key=k body=text
//	empty consumer=1 code=OK             cancelled consumer=1
func (s *script091) answer(line string) (a broker.Answer) {
	w := splitWords(line)
	var p broker.Publish
	p.Format = broker.FormatAMQP091
	p.Props = []byte{0, 0}
	res := &broker.Result{}
	for _, word := range w[1:] {
		key, text, _ := strings.Cut(word, "=")
		n, _ := strconv.ParseUint(text, 10, 64)
		switch key {
		case "code":
			res.Code = codes091[text]
		case "text":
			res.Text = text
		case "messages":
			res.Messages = n
		case "consumers":
			res.Consumers = uint32(n)
		case "consumer":
			a.Consumer = broker.ConsumerID(n)
		case "queue":
			a.Queue = broker.QueueID(n)
		case "index":
			a.Index = broker.Index(n)
		case "deliveries":
			a.Deliveries = uint32(n)
		case "ready":
			a.Ready = n
		case "exchange":
			p.Exchange = []byte(text)
		case "key":
			p.Key = []byte(text)
		case "body":
			p.Body = []byte(text)
		case "zeros":
			p.Body = make([]byte, n)
		case "redelivered":
			p.Flags |= broker.FlagRedelivered
		default:
			a.Number = uint64(mustNumber(key))
		}
	}
	switch w[0] {
	case "completed":
		a.Kind = broker.AnsCompleted
	case "result":
		a.Kind, a.Result = broker.AnsResult, res
	case "return":
		res.Code = broker.NoRoute
		a.Kind, a.Result, a.Record, a.Pin = broker.AnsResult, res, broker.AppendPublish(nil, &p), pin091{s}
		s.pins++
	case "deliver":
		a.Kind, a.Record, a.Pin = broker.AnsDeliver, broker.AppendPublish(nil, &p), pin091{s}
		s.pins++
	case "empty":
		a.Kind, a.Result = broker.AnsEmpty, res
	case "cancelled":
		a.Kind = broker.AnsCancelled
	}
	return a
}

// report prints and clears what the connection wants.
func (s *script091) report() string {
	var b strings.Builder
	for i := range s.c.req.List {
		b.WriteString("? " + showRequest(&s.c.req, &s.c.req.List[i]) + "\n")
	}
	s.c.req.Reset()
	var out []byte
	for _, v := range s.c.out.Vectors(nil) {
		out = append(out, v...)
	}
	s.c.out.Reset()
	for len(out) > 0 {
		f, n, _, err := amqp091.ReadFrame(out, 1<<20)
		if n == 0 {
			fmt.Fprintf(&b, "> %q %v\n", out, err)
			break
		}
		b.WriteString("> " + showFrame(&f) + "\n")
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

var kinds091 = map[broker.Kind]string{
	broker.KindPublish: "publish", broker.KindQueueDeclare: "queue-declare", broker.KindQueueDelete: "queue-delete",
	broker.KindQueuePurge: "queue-purge", broker.KindExchangeDeclare: "exchange-declare",
	broker.KindExchangeDelete: "exchange-delete", broker.KindBind: "bind", broker.KindUnbind: "unbind",
	broker.KindSubscribe: "subscribe", broker.KindCancel: "cancel",
}

var outcomes091 = map[broker.Outcome]string{
	broker.Accepted: "accepted", broker.Released: "released", broker.Requeued: "requeued", broker.Rejected: "rejected",
}

func showRequest(r *broker.Requests, q *broker.Request) string {
	switch q.Kind {
	case broker.ReqCredit:
		if q.Limit == noLimit {
			return fmt.Sprintf("credit consumer=%d unlimited", q.Consumer)
		}
		return fmt.Sprintf("credit consumer=%d limit=%d", q.Consumer, q.Limit)
	case broker.ReqGet:
		return fmt.Sprintf("get consumer=%d queue=%s settled=%v", q.Consumer, r.Data(q), q.Settled)
	case broker.ReqSettle:
		return fmt.Sprintf("settle consumer=%d queue=%d index=%d %s", q.Consumer, q.Queue, q.Index, outcomes091[q.Outcome])
	case broker.ReqQuery:
		return fmt.Sprintf("query %s", r.Data(q))
	}
	entry := r.Data(q)
	h, err := broker.ParseHeader(entry)
	if err != nil || int(h.Size) != len(entry) || h.Conn != 7 {
		return fmt.Sprintf("bad entry %v %v", h, err)
	}
	if h.Kind != broker.KindPublish {
		return fmt.Sprintf("%s %q", kinds091[h.Kind], entry[broker.HeaderBytes:])
	}
	var p broker.Publish
	if err := broker.ParsePublish(entry, &p); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("publish flags=%04b priority=%d ttl=%d exchange=%q key=%q props=%x body=%s",
		p.Flags, p.Priority, p.TTL, p.Exchange, p.Key, p.Props, showBody(p.Body))
}

func showBody(b []byte) string {
	if len(b) > 64 {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	return strconv.Quote(string(b))
}

func showFrame(f *amqp091.Frame) string {
	head := fmt.Sprintf("%d ", f.Channel)
	switch f.Type {
	case amqp091.FrameHeartbeat:
		return head + "heartbeat"
	case amqp091.FrameBody:
		return head + "body " + showBody(f.Payload)
	case amqp091.FrameHeader:
		return head + fmt.Sprintf("header size=%d props=%x", binary.BigEndian.Uint64(f.Payload[4:]), f.Payload[12:])
	}
	id, arguments, _ := f.Method()
	m := amqp091.NewMethod(id)
	if err := m.Decode(arguments); err != nil {
		return head + err.Error()
	}
	return head + id.String() + showFields(reflect.ValueOf(m).Elem())
}

func showFields(v reflect.Value) (text string) {
	for i := range v.NumField() {
		f := v.Field(i)
		name := " " + v.Type().Field(i).Name
		switch {
		case f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0:
		case f.Kind() == reflect.Bool:
			text += name
		case f.Type() == reflect.TypeFor[amqp091.Table]():
			text += name + "=" + showTable(f.Bytes())
		case f.Kind() == reflect.Slice:
			text += name + "=" + strconv.Quote(string(f.Bytes()))
		default:
			text += fmt.Sprintf("%s=%v", name, f)
		}
	}
	return text
}

func showTable(t amqp091.Table) string {
	var list []string
	for len(t) > 0 {
		name, v, rest, _ := t.Next()
		list = append(list, string(name)+":"+showValue(v))
		t = rest
	}
	return "{" + strings.Join(list, " ") + "}"
}

func showValue(v amqp091.Value) string {
	switch v.Type {
	case 'F':
		return showTable(v.Raw)
	case 'A':
		text := ""
		for a := amqp091.Array(v.Raw); len(a) > 0; {
			e, rest, _ := a.Next()
			text += " " + showValue(e)
			a = rest
		}
		return "[" + strings.TrimSpace(text) + "]"
	case 't':
		return strconv.FormatBool(v.Raw[0] != 0)
	case 'S':
		return string(v.Raw)
	}
	n, _ := v.Int()
	return fmt.Sprint(n)
}
