package totem_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// script is a few machines whose packets wait until the script lets them through.
//
//	start nodes=(1,2,3) [plain=(1,2)] [key=value ...]
//	                                      start machines, some of which announce nothing
//	send node=1 [text ...]                queue packets; a line of input each
//	run [packets=n] [trace]               deliver what is on the way, in order, up to n packets
//	drop from=1 to=2 type=mcast [skip=n] [count=n]
//	                                      lose such packets, one, after those to skip
//	tick ms=50 [trace]                    let time pass, in steps, delivering as it does
//	suspect node=1 of=3 / leave node=1 / crash node=3 / heal
//	state                                 where everybody is
//	starving                              who says that packets do not come to whom
//
// Every command prints what was delivered, by node.
type script struct {
	now   time.Duration
	nodes map[wire.NodeID]*scripted
	ids   []wire.NodeID
	queue []flying
	drops []*loss
	out   strings.Builder
}

type scripted struct {
	id     wire.NodeID
	m      *totem.Machine
	out    *totem.Output
	queue  []string
	config totem.Config
}

type flying struct {
	from, to wire.NodeID
	data     []byte
}

type loss struct {
	from, to wire.NodeID
	kind     string
	skip     int
	count    int
}

// Packets and Pack make scripted a totem.Source with a packet for each line.
func (n *scripted) Packets() int { return len(n.queue) }

func (n *scripted) Pack(dst []byte) int {
	k := copy(dst, n.queue[0])
	n.queue = n.queue[1:]
	return k
}

func (s *script) start(cfg totem.Config) error {
	n := &scripted{id: cfg.Node, out: totem.NewOutput(), config: cfg}
	m, err := totem.New(cfg, n, n.out, s.now)
	if err != nil {
		return err
	}
	n.m = m
	s.nodes[n.id] = n
	if !slices.Contains(s.ids, n.id) {
		s.ids = append(s.ids, n.id)
		slices.Sort(s.ids)
	}
	s.collect(n)
	return nil
}

// collect takes what a machine has put out.
func (s *script) collect(n *scripted) {
	for range 1000 {
		if !n.m.Pending() {
			break
		}
		n.m.Pump(s.now)
	}
	for _, e := range n.out.Events {
		switch e.Kind {
		case totem.EventPacket:
			fmt.Fprintf(&s.out, "%v: %d from %v %s\n", n.id, e.Seq, e.From, e.Payload)
		case totem.EventTransitional:
			fmt.Fprintf(&s.out, "%v: transitional %v left %v\n", n.id, e.Config.Members, e.Config.Left)
		case totem.EventRegular:
			fmt.Fprintf(&s.out, "%v: ring %v members %v joined %v\n", n.id, e.Config.Ring, e.Config.Members, e.Config.Joined)
		}
	}
	if n.out.SaveRing {
		n.config.RingSeq = n.out.RingSeq
	}
	for _, d := range n.out.Send {
		for _, to := range s.ids {
			if to != n.id && (d.To == 0 || d.To == to) {
				s.queue = append(s.queue, flying{n.id, to, slices.Clone(d.Data)})
			}
		}
	}
	n.out.Reset()
}

func (s *script) lost(p flying) bool {
	h, _ := wire.ParseHeader(p.data)
	for _, l := range s.drops {
		if l.count > 0 && (l.from == 0 || l.from == p.from) && (l.to == 0 || l.to == p.to) && (l.kind == "" || l.kind == h.Type.String()) {
			if l.skip > 0 {
				l.skip--
				continue
			}
			l.count--
			return true
		}
	}
	return false
}

func (s *script) run(most int, trace bool) {
	for ; most > 0 && len(s.queue) > 0; most-- {
		p := s.queue[0]
		s.queue = s.queue[1:]
		lost := s.lost(p)
		if trace {
			mark := ""
			if lost {
				mark = " LOST"
			}
			fmt.Fprintf(&s.out, "  %v>%v %s%s\n", p.from, p.to, ringtest.Describe(p.data), mark)
		}
		if n := s.nodes[p.to]; n != nil && !lost {
			n.m.Step(s.now, wire.Packet{Data: p.data})
			s.collect(n)
		}
	}
}

func (s *script) tick(d time.Duration, trace bool) {
	const step = 5 * time.Millisecond
	for end := s.now + d; s.now < end; {
		s.now += step
		for _, id := range s.ids {
			if n := s.nodes[id]; n != nil {
				n.m.Tick(s.now)
				s.collect(n)
			}
		}
		s.run(2000, trace)
	}
}

func (s *script) state() {
	for _, id := range s.ids {
		if n := s.nodes[id]; n != nil {
			st := n.m.Stats()
			fmt.Fprintf(&s.out, "%v: %v ring %v members %v safe %d; asked %d, resent %d, recovery %d\n", id, n.m.State(),
				n.m.Ring(), n.m.Members(), n.m.Safe(), st.Requested, st.Retransmitted, st.RecoveryPackets)
			if n.config.HeartbeatFailuresAllowed > 0 {
				fmt.Fprintf(&s.out, "%v: tokens lost %d, of which %d by the heartbeat\n", id, st.TokenLosses, st.Heartbeats)
			}
			if n.config.MaxNetMTU > 0 {
				fmt.Fprintf(&s.out, "%v: packets of %d bytes\n", id, n.m.PayloadBytes())
			}
		}
	}
}

func (s *script) starving() {
	for _, id := range s.ids {
		if n := s.nodes[id]; n != nil {
			who, yes := n.m.Starving()
			fmt.Fprintf(&s.out, "%v: %v %v, deaf %d\n", id, yes, who, n.m.Stats().Deaf)
		}
	}
}

// command runs one command of a script.
func (s *script) command(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	node := func(key string) wire.NodeID {
		var v int
		if d.HasArg(key) {
			d.ScanArgs(t, key, &v)
		}
		return wire.NodeID(v)
	}
	number := func(key string, v int) int {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &v)
		}
		return v
	}
	var err error
	switch n := s.nodes[node("node")]; d.Cmd {
	case "start":
		arg, _ := d.Arg("nodes")
		plain, _ := d.Arg("plain")
		for _, v := range arg.Vals {
			var id int
			fmt.Sscan(v, &id)
			err = s.start(totem.Config{
				Node: wire.NodeID(id), Token: time.Second, Plain: slices.Contains(plain.Vals, v),
				MaxMessages: number("max_messages", 17), WindowSize: number("window", 50), RingSeq: uint64(number("ringseq", 0)),
				MaxNetMTU: number("maxnetmtu", 0), SendJoin: time.Duration(number("send_join", 0)) * time.Millisecond,
				HeartbeatFailuresAllowed: number("heartbeat", 0), CancelTokenHoldOnRetransmit: d.HasArg("cancel_hold"),
			})
		}
	case "send":
		n.queue = append(n.queue, strings.Fields(d.Input)...)
		n.m.Kick(s.now)
		s.collect(n)
	case "run":
		s.run(number("packets", 5000), d.HasArg("trace"))
	case "drop":
		kind := ""
		if d.HasArg("type") {
			d.ScanArgs(t, "type", &kind)
		}
		s.drops = append(s.drops, &loss{node("from"), node("to"), kind, number("skip", 0), number("count", 1)})
	case "heal":
		s.drops = nil
	case "tick":
		s.tick(time.Duration(number("ms", 0))*time.Millisecond, d.HasArg("trace"))
	case "suspect":
		n.m.Suspect(s.now, node("of"))
		s.collect(n)
	case "leave":
		n.m.Leave(s.now)
		s.collect(n)
	case "crash":
		delete(s.nodes, n.id)
	case "state":
		s.state()
	case "starving":
		s.starving()
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
	if err != nil {
		return err.Error()
	}
	return s.out.String()
}

// TestScripts runs testdata; -rewrite writes what comes out into the files.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{now: time.Second, nodes: map[wire.NodeID]*scripted{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.command(t, d)
		})
	})
}
