package broker

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// bench is one broker, or several that apply the same entries at the same pace, driven by a
// script. Proposals are applied at once, in the order in which they were made.
type bench struct {
	members []*benchMember
	index   Index
	now     time.Duration
	out     strings.Builder
	awaits  map[Index]*awaited // requests that another entry answers
}

type awaited struct {
	request string
	res     *Result
}

type benchMember struct {
	b       *Broker
	o       *bench
	id      MemberID
	log     *benchLog
	ports   map[ConnID]*Port
	numbers map[ConnID]uint64
	pending []byte
	mesh    []MeshOut
}

// benchLog is a log that counts references.
type benchLog struct {
	records [][]byte
	live    []int
	pins    int
	away    bool // the records are not in memory
}

func (l *benchLog) add(b []byte) Ref {
	l.records = append(l.records, append([]byte(nil), b...))
	l.live = append(l.live, 0)
	return Ref{Extent: uint32(len(l.records) - 1), Length: uint32(len(b))}
}

func (l *benchLog) Bytes(r Ref) []byte  { return l.records[r.Extent] }
func (l *benchLog) Retain(r Ref, n int) { l.live[r.Extent] += n }
func (l *benchLog) Pin(Ref) Pin         { l.pins++; return l }
func (l *benchLog) Unpin()              { l.pins-- }

// Sparse has every record carried forward whenever anybody asks.
func (l *benchLog) Sparse(Ref) bool          { return true }
func (l *benchLog) Carry(r Ref) (Ref, error) { return l.add(l.records[r.Extent]), nil }

func (l *benchLog) Drop(r Ref) {
	if l.live[r.Extent]--; l.live[r.Extent] < 0 {
		panic("record dropped more often than retained")
	}
}

func (l *benchLog) Append(_ Index, _ bool, parts ...[]byte) (Ref, error) {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return l.add(b), nil
}

func newBench(n int) *bench {
	o := &bench{now: time.Second, awaits: map[Index]*awaited{}}
	var ids []MemberID
	for i := range n {
		m := &benchMember{o: o, id: MemberID(i + 1), log: &benchLog{}, ports: map[ConnID]*Port{}, numbers: map[ConnID]uint64{}}
		m.b = New(Config{Self: m.id, Shards: 1 + i, Log: m.log, Headers: headerOf})
		o.members = append(o.members, m)
		ids = append(ids, m.id)
	}
	o.index++
	for _, m := range o.members {
		m.b.Members(&Entry{Index: o.index, Now: o.now}, ids)
	}
	return o
}

// headerOf reads headers of the form name=value,name=value.
func headerOf(_ Format, props []byte, name string) (Value, bool) {
	for _, f := range strings.Split(string(props), ",") {
		k, v, ok := strings.Cut(f, "=")
		if ok && k == name {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return Value{Kind: ValueInt, Int: n}, true
			}
			return Value{Kind: ValueString, Str: v}, true
		}
	}
	return Value{}, false
}

// run lets everything take effect.
func (o *bench) run() {
	for busy := true; busy; {
		busy = false
		for _, m := range o.members {
			if _, err := m.b.Carry(100); err != nil {
				panic(err)
			}
			more := m.b.Run(o.now)
			m.b.Collect(m)
			busy = busy || more || len(m.pending) > 0 || len(m.mesh) > 0
		}
		for _, m := range o.members {
			pending := m.pending
			m.pending = nil
			for len(pending) > 0 {
				h, err := ParseHeader(pending)
				if err != nil {
					panic(err)
				}
				o.apply(m, pending[:h.Size])
				pending = pending[h.Size:]
			}
			mesh := m.mesh
			m.mesh = nil
			for _, x := range mesh {
				if err := o.members[x.To-1].b.Mesh(o.now, m.id, x.Data); err != nil {
					panic(err)
				}
			}
		}
	}
}

// apply applies one entry on every member.
func (o *bench) apply(from *benchMember, entry []byte) {
	o.index++
	h, _ := ParseHeader(entry)
	for _, m := range o.members {
		e := Entry{Index: o.index, From: from.id, Now: o.now, Record: entry, Ref: m.log.add(entry)}
		if m == from && h.Conn != 0 {
			m.numbers[h.Conn]++
			e.Number = m.numbers[h.Conn]
		}
		res, err := m.b.Apply(&e)
		if res != nil && res.Answers != 0 {
			if a := o.awaits[res.Answers]; a != nil {
				a.res.Messages = res.Messages
				fmt.Fprintf(&o.out, "ok %s: %s\n", a.request, a.res.text())
				delete(o.awaits, res.Answers)
			}
			continue
		}
		if m != from {
			continue
		}
		if res != nil && res.Awaits {
			o.awaits[o.index] = &awaited{fmt.Sprintf("%d.%d", h.Conn, e.Number), res}
			continue
		}
		if err != nil {
			fmt.Fprintf(&o.out, "error: %v\n", err)
		} else if res != nil {
			fmt.Fprintf(&o.out, "%s %d.%d: %s\n", codeName[res.Code], h.Conn, e.Number, res.text())
		}
	}
}

var codeName = [...]string{"ok", "not-found", "access-refused", "locked", "precondition-failed", "no-route", "refused", "not-allowed", "unavailable", "no-memory", "in-use"}

func (r *Result) text() string {
	if r.Text != "" {
		return r.Text
	}
	return fmt.Sprintf("messages=%d consumers=%d", r.Messages, r.Consumers)
}

func (m *benchMember) Propose(b []byte) { m.pending = append(m.pending, b...) }

func (m *benchMember) Mesh(list []MeshOut) {
	for _, x := range list {
		m.mesh = append(m.mesh, MeshOut{x.To, append([]byte(nil), x.Data...)})
	}
}

func (m *benchMember) Refusals(list []Refusal) {
	for _, r := range list {
		fmt.Fprintf(&m.o.out, "refused %d.%d\n", r.Conn, r.Number)
	}
}

func (m *benchMember) Deliveries(list []Delivery) {
	for _, d := range list {
		a := &d.Answer
		switch a.Kind {
		case AnsDeliver:
			var p Publish
			if err := ParsePublish(a.Record, &p); err != nil {
				panic(err)
			}
			fmt.Fprintf(&m.o.out, "deliver %d.%d: %d %s", d.Conn, a.Consumer, a.Index, p.Body)
			if a.Deliveries > 0 {
				fmt.Fprintf(&m.o.out, " again=%d", a.Deliveries)
			}
			if p.Flags&FlagTTL != 0 {
				fmt.Fprintf(&m.o.out, " ttl=%d", a.TTLLeft)
			}
			m.o.out.WriteString("\n")
			a.Pin.Unpin()
		case AnsDrained:
			fmt.Fprintf(&m.o.out, "drained %d.%d: %d\n", d.Conn, a.Consumer, a.Number)
		case AnsEmpty:
			fmt.Fprintf(&m.o.out, "empty %d.%d\n", d.Conn, a.Consumer)
		case AnsCancelled:
			fmt.Fprintf(&m.o.out, "cancelled %d.%d\n", d.Conn, a.Consumer)
		}
	}
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		o := newBench(1)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			o.out.Reset()
			switch d.Cmd {
			case "members":
				n, _ := strconv.Atoi(d.CmdArgs[0].Key)
				o = newBench(n)
			case "wait":
				w, err := time.ParseDuration(d.CmdArgs[0].Key)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				o.now += w
				for _, m := range o.members {
					m.b.Tick(o.now)
				}
			case "describe":
				for _, m := range o.members {
					fmt.Fprintln(&o.out, m.b.Describe(d.CmdArgs[0].Key))
				}
				return o.out.String()
			default:
				for _, line := range append([]string{d.Cmd + " " + argLine(d)}, strings.Split(d.Input, "\n")...) {
					if line = strings.TrimSpace(line); line != "" {
						o.command(t, d, line)
						o.run()
					}
				}
			}
			o.run()
			o.checkEqual(t, d)
			return o.out.String()
		})
		for _, m := range o.members {
			if m.log.pins != 0 {
				t.Errorf("member %d: %d pins are left", m.id, m.log.pins)
			}
		}
	})
}

func argLine(d *datadriven.TestData) string {
	var s []string
	for _, a := range d.CmdArgs {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

func (o *bench) checkEqual(t *testing.T, d *datadriven.TestData) {
	for _, m := range o.members[1:] {
		if m.b.Hash() != o.members[0].b.Hash() {
			d.Fatalf(t, "members 1 and %d differ", m.id)
		}
	}
	// Another member that takes the snapshot is equal too.
	s := whole(o.members[0].b, o.now)
	c := New(Config{Self: 99, Shards: 3, Log: o.members[0].log, Headers: headerOf})
	held := append([]int(nil), o.members[0].log.live...)
	if err := c.RestoreWhole(s, o.now, Same); err != nil {
		d.Fatalf(t, "restore: %v", err)
	}
	o.members[0].log.live = held
	if c.Hash() != o.members[0].b.Hash() {
		d.Fatalf(t, "a restored member differs")
	}
}

// whole is a snapshot in one piece.
func whole(b *Broker, now time.Duration) []byte {
	data, s := b.Snapshot(nil, now, All)
	for !s.Done() {
		data = s.Next(data, len(data)+100)
	}
	return data
}

func (l *benchLog) Resident(Ref) bool { return !l.away }

func (l *benchLog) Fetch(Ref) {
	if !l.away {
		panic("all records are in memory")
	}
}
