package broker

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// args are the words of a command: name=value pairs, and flags.
type args map[string]string

func (a args) has(k string) bool { _, ok := a[k]; return ok }

func (a args) num(k string) uint64 {
	n, _ := strconv.ParseUint(a[k], 10, 64)
	return n
}

func (a args) u64(k string) *uint64 {
	if !a.has(k) {
		return nil
	}
	n := a.num(k)
	return &n
}

func (a args) str(k string) *string {
	if !a.has(k) {
		return nil
	}
	s := a[k]
	return &s
}

// command does one line: VERB [m=MEMBER] [c=CONN] …; the connection is made if it is new.
func (o *bench) command(t *testing.T, d *datadriven.TestData, line string) {
	words := strings.Fields(line)
	a := args{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		a[k] = v
	}
	m := o.members[0]
	if a.has("m") {
		m = o.members[a.num("m")-1]
	}
	conn := ConnID(1)
	if a.has("c") {
		conn = ConnID(a.num("c"))
	}
	if m.ports[conn] == nil {
		m.ports[conn] = m.b.Connect(conn)
	}
	var r Requests
	if !a.request(words[0], conn, &r) {
		if words[0] != "close" {
			d.Fatalf(t, "unknown command %q", words[0])
		}
		m.b.Disconnect(conn)
		delete(m.ports, conn)
		return
	}
	m.do(conn, &r)
}

func (m *benchMember) do(conn ConnID, r *Requests) {
	p := m.ports[conn]
	for i := range r.List {
		q := &r.List[i]
		switch q.Kind {
		case ReqSubmit:
			m.o.apply(m, r.Data(q))
		case ReqCredit:
			m.b.Credit(p, q)
		case ReqGet:
			if res := m.b.Get(p, m.o.now, q, string(r.Data(q))); res != nil {
				m.o.out.WriteString(codeName[res.Code] + ": " + res.Text + "\n")
			}
		case ReqSettle:
			m.b.SettleHold(p, m.o.now, q)
		case ReqQuery:
			res := m.b.Query(string(r.Data(q)))
			m.o.out.WriteString(codeName[res.Code] + ": queue=" + strconv.FormatBool(res.IsQueue) + " exchange=" + strconv.FormatBool(res.IsExchange) + "\n")
		}
	}
}

var exchangeTypes = map[string]ExchangeType{"direct": Direct, "fanout": Fanout, "topic": Topic, "headers": Headers}
var outcomes = map[string]Outcome{"accept": Accepted, "release": Released, "requeue": Requeued, "reject": Rejected}
var matches = map[string]Match{"all": MatchAll, "any": MatchAny, "all-with-x": MatchAllX, "any-with-x": MatchAnyX}

func (a args) request(verb string, conn ConnID, r *Requests) bool {
	switch verb {
	case "queue":
		r.QueueDeclare(&QueueDeclare{Conn: conn, Name: a["name"], Passive: a.has("passive"), Options: a.queueOptions()})
	case "delete":
		r.QueueDelete(&QueueDelete{Conn: conn, Name: a["name"], IfUnused: a.has("if-unused"), IfEmpty: a.has("if-empty")})
	case "purge":
		r.QueuePurge(&QueuePurge{Conn: conn, Name: a["name"]})
	case "exchange":
		r.ExchangeDeclare(&ExchangeDeclare{Conn: conn, Name: a["name"], Passive: a.has("passive"), Options: ExchangeOptions{
			Type: exchangeTypes[a["type"]], AutoDelete: a.has("auto-delete"), Internal: a.has("internal"), AlternateExchange: a["alternate"]}})
	case "delete-exchange":
		r.ExchangeDelete(&ExchangeDelete{Conn: conn, Name: a["name"], IfUnused: a.has("if-unused")})
	case "bind":
		r.Bind(a.bind(conn))
	case "unbind":
		r.Unbind(a.bind(conn))
	case "publish":
		r.Publish(a.publish(conn))
	case "subscribe":
		id := ConsumerID(a.num("id"))
		r.Subscribe(&Subscribe{Conn: conn, Consumer: id, Queue: a["queue"], Exclusive: a.has("exclusive"), Browse: a.has("browse"), Settled: a.has("settled")})
		if a.has("credit") {
			r.Credit(id, a.num("credit"), false)
		}
	case "cancel":
		r.Cancel(&Cancel{Conn: conn, Consumer: ConsumerID(a.num("id"))})
	case "credit":
		r.Credit(ConsumerID(a.num("id")), a.num("limit"), a.has("drain"))
	case "get":
		r.Get(ConsumerID(a.num("id")), a["queue"], a.has("settled"))
	case "query":
		r.Query(a["name"])
	default:
		o, ok := outcomes[verb]
		if ok {
			r.Settle(ConsumerID(a.num("id")), QueueID(a.num("queue")), Index(a.num("index")), o)
		}
		return ok
	}
	return true
}

func (a args) queueOptions() QueueOptions {
	o := QueueOptions{Durable: a.has("durable"), Exclusive: a.has("exclusive"), AutoDelete: a.has("auto-delete"),
		MessageTTL: a.u64("ttl"), Expires: a.u64("expires"), MaxLength: a.u64("max"), MaxLengthBytes: a.u64("max-bytes"),
		DeadLetter: a.str("dlx"), DeadLetterKey: a.str("dlk"), AlternateExchange: a["alternate"]}
	o.CountBodies = a.has("bodies")
	if a.has("reject") {
		o.Overflow = OverflowReject
	}
	return o
}

func (a args) bind(conn ConnID) *Bind {
	b := &Bind{Conn: conn, Exchange: a["exchange"], Target: a["queue"], Key: a["key"], Match: matches[a["match"]]}
	if a.has("to") {
		b.ToExchange, b.Target = true, a["to"]
	}
	for _, f := range strings.Split(a["headers"], ",") {
		k, _, ok := strings.Cut(f, ":")
		if !ok {
			continue
		}
		v, present := headerOf(0, []byte(strings.Replace(f, ":", "=", 1)), k)
		if !present || strings.HasSuffix(f, ":") {
			v = Value{Kind: ValueVoid}
		}
		b.Fields = append(b.Fields, Field{Name: k, Value: v})
		b.HasFields = true
	}
	return b
}

func (a args) publish(conn ConnID) *Publish {
	p := &Publish{Conn: conn, Format: FormatAMQP091, Exchange: []byte(a["exchange"]), Key: []byte(a["key"]),
		Body: []byte(a["body"]), Props: []byte(strings.ReplaceAll(a["headers"], ":", "="))}
	if a.has("ttl") {
		p.Flags |= FlagTTL
		p.TTL = uint32(a.num("ttl"))
	}
	if a.has("mandatory") {
		p.Flags |= FlagMandatory
	}
	return p
}
