package knet

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Machine is one member's end of all links. It belongs to one goroutine.
type Machine struct {
	cfg    Config
	peers  []*peer // by node id
	up     []wire.NodeID
	seq    uint16 // of the last data packet; 0: none yet
	out    []wire.Datagram
	arena  []byte
	joins  assemblies
	events []Event
	cause  Cause
	stats  Stats
}

// Cause is why a packet was refused that its sender may have meant for us, in words.
type Cause string

// The causes.
const (
	NotAuthentic Cause = "they are not authentic: made with another key, cipher or hash, or with none"
	Malformed    Cause = "they are malformed: encrypted, or of another version"
	UnknownNode  Cause = "their node is not in the nodelist"
	WrongAddress Cause = "the nodelist has another address for their node"
	Compressed   Cause = "they are compressed; set knet_compression_model: none on every node"
)

// Refused is why a packet was refused since it was last asked, or empty.
func (m *Machine) Refused() Cause {
	c := m.cause
	m.cause = ""
	return c
}

// Event is a peer that has come up or gone down.
type Event struct {
	Node wire.NodeID
	Up   bool
}

// Stats counts packets by what became of them.
type Stats struct {
	NotAuthentic uint64 // by a key that is not ours, damaged, or without protection
	Malformed    uint64
	UnknownNode  uint64 // of nodes that are not in the nodelist
	WrongAddress uint64 // not from where the nodelist has their node
	Compressed   uint64
	OtherChannel uint64
	PeerDown     uint64 // data of a peer that is not up yet
	Duplicate    uint64
	OtherTarget  uint64 // for another node
	Pings, Pongs uint64 // received
	Late         uint64 // pongs
	NoPeer       uint64 // not sent: the peer is down, or all are
	TooLong      uint64 // not sent
}

// arenaBytes is room for what one call of Send makes: some messages of the greatest length.
const arenaBytes = 256 << 10

// most is what a message takes in the arena: fragments of the smallest size, and what goes with
// each.
const most = MaxMessageBytes + maxFragments*(dataBytes+Overhead)

// New makes a machine.
func New(cfg Config) (*Machine, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, arena: make([]byte, 0, arenaBytes), joins: assemblies{pool: cfg.Blocks}}
	for _, n := range slices.Sorted(maps.Keys(cfg.Peers)) {
		m.peers = append(m.peers, &peer{node: n, addr: cfg.Peers[n]})
	}
	return m, nil
}

// Up are the peers that packets for all go to. It changes with an event.
func (m *Machine) Up() []wire.NodeID { return m.up }

// Ready is what is to be sent: To names a peer, or 0 all of Up. It is valid until Reset.
func (m *Machine) Ready() []wire.Datagram { return m.out }

// Events are the changes of Up since Reset.
func (m *Machine) Events() []Event { return m.events }

// Stats counts.
func (m *Machine) Stats() Stats { return m.stats }

// MTU is the longest IP packet that reaches a peer, as far as is known; 0 if it is down.
func (m *Machine) MTU(node wire.NodeID) int {
	if p := m.peer(node); p != nil && p.up {
		return m.mtu(p)
	}
	return 0
}

// Reset forgets what was ready.
func (m *Machine) Reset() {
	clear(m.out)
	m.out, m.events, m.arena = m.out[:0], m.events[:0], m.arena[:0]
}

func (m *Machine) peer(n wire.NodeID) *peer {
	i, found := slices.BinarySearchFunc(m.peers, n, func(p *peer, n wire.NodeID) int { return int(p.node) - int(n) })
	if !found {
		return nil
	}
	return m.peers[i]
}

// space returns n bytes of the arena, or of a new one if it is full: what is ready stays.
func (m *Machine) space(n int) []byte {
	if cap(m.arena)-len(m.arena) < n {
		m.arena = make([]byte, 0, max(arenaBytes, n))
	}
	at := len(m.arena)
	m.arena = m.arena[:at+n]
	return m.arena[at : at+n : at+n]
}

// emit protects the n bytes behind Crypto's front in b, which came from space last, and has
// them sent.
func (m *Machine) emit(to wire.NodeID, b []byte, n int) {
	k := m.cfg.Crypto.seal(b, n, m.cfg.Random)
	m.arena = m.arena[:len(m.arena)-len(b)+k]
	m.out = append(m.out, wire.Datagram{To: to, Data: b[:k:k]})
}

// control has a packet sent that is no data.
func (m *Machine) control(to wire.NodeID, bytes int, put func(b []byte)) {
	b := m.space(bytes + Overhead)
	at := m.cfg.Crypto.front()
	put(b[at : at+bytes])
	m.emit(to, b, bytes)
}

// changed makes the list of peers that are up anew.
func (m *Machine) changed(p *peer) {
	m.up = m.up[:0]
	for _, p := range m.peers {
		if p.up {
			m.up = append(m.up, p.node)
		}
	}
	m.events = append(m.events, Event{Node: p.node, Up: p.up})
}

// Tick does what is due, and returns when it wants to be called next.
func (m *Machine) Tick(now time.Duration) (next time.Duration) {
	next = m.joins.expire(now)
	soon := func(t time.Duration) {
		if next == 0 || t < next {
			next = t
		}
	}
	for _, p := range m.peers {
		if now >= p.pingDue {
			p.pingDue = now + m.cfg.PingInterval
			m.ping(p, now, true)
		}
		soon(p.pingDue)
		if p.pongLast != 0 {
			if end := p.pongLast + p.timeout(&m.cfg, now); now >= end {
				m.lose(p, now)
			} else {
				// The timeout shrinks with time, by one PingTimeout a second.
				soon(min(end, now+m.cfg.PingTimeout))
			}
		}
		if p.up && m.cfg.PMTUDInterval > 0 {
			soon(m.search(p, now))
		}
	}
	return next
}

func (m *Machine) lose(p *peer, now time.Duration) {
	was := p.up
	p.down(now)
	m.joins.forget(p.node)
	if was {
		m.changed(p)
	}
}

func (m *Machine) ping(p *peer, now time.Duration, timed bool) {
	m.control(p.node, pingBytes, func(b []byte) { putPing(b, m.cfg.Node, now, m.seq, timed) })
}

// known checks where a packet came from.
func (m *Machine) known(h header, from netip.AddrPort) *peer {
	p := m.peer(h.node)
	switch {
	case p == nil:
		m.stats.UnknownNode++
		m.cause = UnknownNode
	case p.addr != from:
		m.stats.WrongAddress++
		m.cause = WrongAddress
		p = nil
	}
	return p
}
