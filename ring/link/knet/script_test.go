package knet

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// script is a few machines and a network between them.
//
//	start nodes=(1,2) [mtu=1500] [cipher=aes256 hash=sha256] [key=text] [probe=false]
//	                                  start machines, or start them again
//	tick ms=500 [step=50]             let time pass
//	send from=1 [to=2] size=(10,3000) send ring packets
//	drop from=1 to=2 kind=data [skip=n] [count=n]
//	                                  lose such packets, one, after those to skip
//	path to=2 mtu=1400                lose all longer ones
//	twice / backwards / heal          deliver everything twice; in the order of the devil; as it was
//	trace from=1                      show packets that a node sends; 0: of none
//	stats node=1                      counters that are not 0
type script struct {
	t        *testing.T
	now      time.Duration
	nodes    map[wire.NodeID]*Machine
	pool     *wire.Pool
	wire     []flying
	drops    []*loss
	paths    map[wire.NodeID]int
	twice    bool
	backward bool
	trace    wire.NodeID
	salt     byte
	out      strings.Builder
}

type flying struct {
	from, to wire.NodeID
	data     []byte
}

type loss struct {
	from, to    wire.NodeID
	kind        string
	skip, count int
}

var kinds = map[kind]string{kindData: "data", kindPing: "ping", kindPong: "pong", kindProbe: "probe", kindProbeReply: "probe-reply"}

func address(n wire.NodeID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 5405)
}

const sharedKey = "a key that is as long as that of the longest cipher, and not a secret"

func (s *script) start(d *datadriven.TestData) {
	var ids []int
	mtu, cipher, hash, key, probe := 1500, "none", "none", sharedKey, true
	d.ScanArgs(s.t, "nodes", &ids)
	d.MaybeScanArgs(s.t, "mtu", &mtu)
	d.MaybeScanArgs(s.t, "cipher", &cipher)
	d.MaybeScanArgs(s.t, "hash", &hash)
	d.MaybeScanArgs(s.t, "key", &key)
	d.MaybeScanArgs(s.t, "probe", &probe)
	for _, id := range ids {
		c, err := NewCrypto(cipher, hash, []byte(key))
		if err != nil {
			s.t.Fatal(err)
		}
		cfg := Config{Node: wire.NodeID(id), Peers: map[wire.NodeID]netip.AddrPort{}, MTU: mtu, PingInterval: 500 * time.Millisecond,
			PingTimeout: time.Second, Crypto: c, Random: s.random, Blocks: s.pool}
		if probe {
			cfg.PMTUDInterval = 30 * time.Second
		}
		for _, n := range []wire.NodeID{1, 2, 3} {
			if n != cfg.Node {
				cfg.Peers[n] = address(n)
			}
		}
		m, err := New(cfg)
		if err != nil {
			s.t.Fatal(err)
		}
		s.nodes[cfg.Node] = m
	}
}

// random is none: scripts are to be the same each time.
func (s *script) random(b []byte) {
	for i := range b {
		s.salt++
		b[i] = s.salt
	}
}

// collect takes what a machine has ready.
func (s *script) collect(n wire.NodeID) {
	m := s.nodes[n]
	for _, e := range m.Events() {
		fmt.Fprintf(&s.out, "%v %d: %d up=%v\n", s.now, n, e.Node, e.Up)
	}
	for _, d := range m.Ready() {
		to := []wire.NodeID{d.To}
		if d.To == 0 {
			to = m.Up()
		}
		for _, x := range to {
			s.wire = append(s.wire, flying{n, x, bytes.Clone(d.Data)})
			if s.trace == n {
				fmt.Fprintf(&s.out, "  %d>%d %s\n", n, x, s.describe(n, d.Data))
			}
		}
	}
	m.Reset()
}

func (s *script) describe(from wire.NodeID, b []byte) string {
	size := len(b)
	b, err := s.nodes[from].cfg.Crypto.open(bytes.Clone(b))
	if err != nil {
		return err.Error()
	}
	h, err := parse(b)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s of %d, %d bytes", kinds[h.kind], h.node, size)
	switch h.kind {
	case kindData:
		d, _ := parseData(b)
		text += fmt.Sprintf(", seq %d, %d/%d", d.seq, d.fragment, d.fragments)
	case kindPing, kindPong:
		seq, timed := pingSeq(b)
		text += fmt.Sprintf(", seq %d, timed %v", seq, timed)
	default:
		text += fmt.Sprintf(", size %d", probeSize(b))
	}
	return text
}

// deliver lets everything arrive, and what comes of it.
func (s *script) deliver() {
	for n := range s.nodes {
		s.collect(n)
	}
	for range 100 {
		list := s.wire
		s.wire = nil
		if s.backward {
			slices.Reverse(list)
		}
		for _, f := range list {
			if s.lost(&f) {
				continue
			}
			s.arrive(f)
			if s.twice {
				s.arrive(f)
			}
		}
	}
	if len(s.wire) > 0 {
		s.t.Error("packets without an end")
	}
}

func (s *script) lost(f *flying) bool {
	if mtu := s.paths[f.to]; mtu != 0 && len(f.data)+overheadIPv4 > mtu {
		return true
	}
	what := s.describe(f.from, f.data)
	for _, l := range s.drops {
		if l.from != f.from || l.to != f.to || !strings.HasPrefix(what, l.kind+" ") || l.count == 0 {
			continue
		}
		if l.skip > 0 {
			l.skip--
			continue
		}
		l.count--
		return true
	}
	return false
}

func (s *script) arrive(f flying) {
	m := s.nodes[f.to]
	if m == nil {
		return
	}
	p, ok := m.Receive(s.now, address(f.from), wire.Packet{Data: bytes.Clone(f.data), Block: wire.NewBlock(nil)})
	if ok {
		if err := check(p.Data); err != nil {
			s.t.Errorf("from %d to %d: %v", f.from, f.to, err)
		}
		fmt.Fprintf(&s.out, "%d: %d bytes from %d\n", f.to, len(p.Data), f.from)
		p.Release()
	}
	s.collect(f.to)
}

// message is a ring packet that shows where it is cut wrongly.
func message(from, to wire.NodeID, size int) []byte {
	tok := wire.Token{From: from, Target: to}
	b := tok.Append(nil)
	for i := len(b); i < size; i++ {
		b = append(b, byte(i^i>>8))
	}
	return b[:max(size, len(b))]
}

func check(b []byte) error {
	var tok wire.Token
	if err := tok.Decode(b); err != nil {
		return err
	}
	if want := message(tok.From, wire.Target(b), len(b)); !bytes.Equal(b, want) {
		return fmt.Errorf("%d bytes were not sent so", len(b))
	}
	return nil
}

func (s *script) run(d *datadriven.TestData) string {
	s.out.Reset()
	arg := func(name string, v int) int { d.MaybeScanArgs(s.t, name, &v); return v }
	node := func(name string) wire.NodeID { return wire.NodeID(arg(name, 0)) }
	switch d.Cmd {
	case "start":
		s.start(d)
	case "tick":
		for end := s.now + time.Duration(arg("ms", 0))*time.Millisecond; s.now < end; {
			s.now += time.Duration(arg("step", 50)) * time.Millisecond
			for _, n := range []wire.NodeID{1, 2, 3} {
				if m := s.nodes[n]; m != nil {
					m.Tick(s.now)
					s.collect(n)
				}
			}
			s.deliver()
		}
	case "send":
		s.send(d, node("from"), node("to"))
	case "drop":
		l := &loss{from: node("from"), to: node("to"), skip: arg("skip", 0), count: arg("count", 1)}
		d.ScanArgs(s.t, "kind", &l.kind)
		s.drops = append(s.drops, l)
	case "path":
		s.paths[node("to")] = arg("mtu", 0)
	case "twice":
		s.twice = true
	case "backwards":
		s.backward = true
	case "heal":
		s.twice, s.backward, s.drops, s.paths = false, false, nil, map[wire.NodeID]int{}
	case "trace":
		s.trace = node("from")
	case "stats":
		m := s.nodes[node("node")]
		for _, f := range strings.Fields(strings.Trim(fmt.Sprintf("%+v", m.Stats()), "{}")) {
			if !strings.HasSuffix(f, ":0") {
				fmt.Fprintln(&s.out, f)
			}
		}
		for _, n := range m.Up() {
			fmt.Fprintf(&s.out, "%d is up, MTU %d\n", n, m.MTU(n))
		}
		fmt.Fprintf(&s.out, "%d packets incomplete\n", len(m.joins.list))
	default:
		d.Fatalf(s.t, "unknown command")
	}
	return s.out.String()
}

func (s *script) send(d *datadriven.TestData, from, to wire.NodeID) {
	var sizes []int
	d.ScanArgs(s.t, "size", &sizes)
	var list []wire.Datagram
	for _, n := range sizes {
		list = append(list, wire.Datagram{To: to, Data: message(from, to, n)})
	}
	for len(list) > 0 {
		n := s.nodes[from].Send(s.now, list)
		s.collect(from)
		list = list[n:]
	}
	s.deliver()
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, nodes: map[wire.NodeID]*Machine{}, paths: map[wire.NodeID]int{}, pool: wire.NewPool(MaxMessageBytes, 4)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.run(d)
		})
		s.now += time.Hour
		for _, m := range s.nodes {
			m.Tick(s.now)
		}
		if s.pool.Live() != 0 {
			t.Errorf("%d blocks are held", s.pool.Live())
		}
	})
}
