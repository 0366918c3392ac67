package totem

import (
	"errors"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Source is where a token visit takes new packets from.
type Source interface {
	// Packets is about how many packets are queued.
	Packets() int
	// Pack fills dst with the payload of the next packet and returns its length, 0 for none.
	Pack(dst []byte) int
}

// State is where a member is in the life of a ring.
type State uint8

// The states of section 9, and the one after a leave.
const (
	Gather State = iota
	Commit
	Recovery
	Operational
	Left
)

var stateNames = [...]string{"gather", "commit", "recovery", "operational", "left"}

func (s State) String() string { return stateNames[s] }

// Stats counts what happened, by cause.
type Stats struct {
	Malformed       uint64 // packets that do not decode
	Foreign         uint64 // packets of another ring
	Stale           uint64 // delayed packets of an older ring, repeated tokens
	Duplicates      uint64 // packets we had
	OutOfRange      uint64 // packets beyond the queue
	Tokens          uint64 // visits
	Passed          uint64 // of those, that somebody did in our place
	Packets         uint64 // new packets multicast by us
	Delivered       uint64 // packets delivered
	Retransmitted   uint64 // packets we multicast again for others
	Requested       uint64 // packets we asked others for
	TokenRepeats    uint64
	TokenLosses     uint64
	Heartbeats      uint64 // of those, that heartbeat_failures_allowed told
	Gathers         uint64
	Deaf            uint64 // times that we failed to receive and left the ring for it
	Rings           uint64 // rings we were in
	Damped          uint64 // causes for yet another ring that were left for later
	RecoveryPackets uint64 // old packets we sent in recovery
	Skipped         uint64 // old packets nobody could deliver
}

// sendBlockBytes holds a full UDP_SEGMENT buffer. Packets of several visits share a block.
const sendBlockBytes = 64 << 10

// sendBlocksKept is how many blocks stay ready for use: what we multicast in a visit (half of
// the largest window, 768 KB by default, 12 blocks) is held for up to three rotations until
// everybody has it; twice that for the ring before.
func sendBlocksKept(c *Config) int {
	visit := max(c.MaxMessages, c.MaxWindow/2) * c.NetMTU
	return 2 * 3 * (1 + visit/sendBlockBytes)
}

// Machine is one member. It belongs to one goroutine.
type Machine struct {
	cfg    Config
	self   wire.NodeID
	source Source
	out    *Output
	now    time.Duration
	state  State
	timers timers
	stats  Stats

	// Membership (section 9).
	ring      wire.RingID // the ring we are in or try to form
	oldRing   wire.RingID // the last ring we were operational in
	highRing  uint64      // the highest ring number heard of
	memb      nodeSet     // members of oldRing
	newMemb   nodeSet     // members of the ring being formed
	trans     nodeSet     // of memb, those in newMemb that come from oldRing
	proc      nodeSet     // whom we know of while gathering
	failed    nodeSet     // of those, whom we take for dead
	consensus nodeSet     // of those, who have the same two lists as we
	leaving   nodeSet     // who said goodbye since the last configuration
	elsewhere nodeSet     // of memb, who is not in oldRing any more
	damper    damper
	dice      dice      // by how much joins are put off
	deaf      bool      // we failed to receive: the next ring is ours alone
	join      wire.Join // decoding space
	joinFail  nodeSet
	joinProc  nodeSet
	scratch   nodeSet

	heard map[wire.NodeID]time.Duration // when a node's last join came; never gone through

	// The order of the current ring, and what is saved of the old one while another forms.
	queue     *queue // packets of oldRing
	recovered *queue // packets of the ring being formed
	aru       wire.Seq
	high      wire.Seq // highest place heard of
	delivered wire.Seq
	lastAru   wire.Seq // the token's aru at our last visit
	safe      wire.Seq // everybody has everything up to here
	lastSeq   wire.Seq // the token's seq at our last visit
	settled   bool     // the token came again after the ring was installed
	saved     bool     // oldAru and oldHigh are set, aru and high count for a forming ring
	oldAru    wire.Seq
	oldHigh   wire.Seq

	understood wire.Features // by all members of the ring
	frames     frames
	commit     wire.Commit
	commitRecv wire.Commit // decoding space
	recovery   recovery

	// The token.
	token     wire.Token // of the last visit, as passed on
	tokenRecv wire.Token // decoding space
	tokenSeq  wire.Seq   // of the last accepted
	discard   bool       // no token counts until recovery
	aruStuck  int        // visits at which we held the aru down without progress
	unchanged int        // visits without a new packet
	holding   bool       // we keep the token
	idle      bool       // we believe that somebody keeps the token
	slow      bool       // somebody keeps it though packets are asked for
	wanted    bool       // somebody asked for the token before it came to us
	resend    []byte     // what we passed on last
	resendTo  wire.NodeID
	flow      flow
	heartbeat time.Duration // 0: none

	// Packets to ourselves.
	selfJoin, selfCommit, selfToken bool

	local uint32 // our packets, ever
	pool  *wire.Pool
	block *wire.Block // the send block being filled
	used  int
}

// New starts a member: it gathers at once. source provides the packets to send, out takes
// what calls produce.
func New(cfg Config, source Source, out *Output, now time.Duration) (*Machine, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if source == nil || out == nil {
		return nil, errors.New("totem: a machine needs a source and an output")
	}
	m := &Machine{
		cfg: cfg, self: cfg.Node, source: source, out: out, now: now,
		queue: newQueue(), recovered: newQueue(),
		pool: wire.NewPool(max(sendBlockBytes, cfg.MaxNetMTU), sendBlocksKept(&cfg)),
	}
	if d, ok := cfg.Heartbeat(); ok {
		m.heartbeat = d
	}
	m.dice = seedDice(cfg.Node, cfg.RingSeq)
	m.flow.begin(&m.cfg)
	m.frames.reset(1, &m.cfg)
	m.ring = wire.RingID{Rep: m.self, Seq: cfg.RingSeq + 1}
	m.oldRing = m.ring
	m.highRing = m.ring.Seq
	m.memb = nodeSet{m.self}
	m.proc = nodeSet{m.self}
	m.enterGather()
	return m, nil
}

// SetOutput makes later calls append to another Output.
func (m *Machine) SetOutput(out *Output) { m.out = out }

// Step takes one received packet.
func (m *Machine) Step(now time.Duration, p wire.Packet) {
	m.now = max(m.now, now)
	if m.state == Left {
		return
	}
	h, err := wire.ParseHeader(p.Data)
	if err != nil {
		m.stats.Malformed++
		return
	}
	switch h.Type {
	case wire.TypeMcast:
		m.onMcast(p)
	case wire.TypeToken:
		m.onToken(p)
	case wire.TypeJoin:
		m.onJoin(p)
	case wire.TypeCommit:
		m.onCommit(p)
	case wire.TypeMergeDetect:
		m.onMergeDetect(p)
	case wire.TypeHoldCancel:
		m.onHoldCancel(p)
	}
}

// Tick does what is due and returns when it wants to be called next, 0 for never.
func (m *Machine) Tick(now time.Duration) time.Duration {
	m.now = max(m.now, now)
	for t := timer(0); t < timerCount; t++ {
		if m.state != Left && m.timers.due(t, m.now) {
			m.onTimer(t)
		}
	}
	return m.Next()
}

// Next is when Tick is wanted.
func (m *Machine) Next() time.Duration {
	if m.Pending() {
		return max(m.now, 1)
	}
	return m.timers.next()
}

func (m *Machine) onTimer(t timer) {
	switch t {
	case timerToken:
		m.onTokenLoss()
	case timerHeartbeat:
		m.onHeartbeat()
	case timerRetransmit:
		m.repeatToken()
	case timerHold:
		m.onHoldTimer()
	case timerWant:
		m.askForToken()
	case timerJoin:
		m.sendJoin()
	case timerSendJoin:
		m.sendJoinNow()
	case timerConsensus:
		m.onConsensusTimer()
	case timerMerge:
		m.sendMergeDetect()
	}
}

// Pending reports whether a packet to ourselves waits for Pump.
func (m *Machine) Pending() bool { return m.selfJoin || m.selfCommit || m.selfToken }

// Pump handles one packet to ourselves. A ring of one passes its token this way, so a caller
// that pumps in a loop bounds it.
func (m *Machine) Pump(now time.Duration) {
	m.now = max(m.now, now)
	switch {
	case m.state == Left:
		m.selfJoin, m.selfCommit, m.selfToken = false, false, false
	case m.selfJoin:
		m.selfJoin = false
		m.onOwnJoin()
	case m.selfCommit:
		m.selfCommit = false
		m.takeCommit(&m.commit)
	case m.selfToken:
		m.selfToken = false
		m.takeToken()
	}
}

// State tells where the member is.
func (m *Machine) State() State { return m.state }

// Ring is the ring we are in or try to form; Members are those of the last operational one.
func (m *Machine) Ring() wire.RingID { return m.ring }

// Members are the nodes of the last operational ring, ascending. Not to be modified.
func (m *Machine) Members() []wire.NodeID { return m.memb }

// Safe is the place on the current ring up to which every member has everything.
func (m *Machine) Safe() wire.Seq { return m.safe }

// Settled reports whether every member of the ring has installed it, so that whatever was
// delivered before has been delivered by all that came along. They install it within one
// rotation: the token's next visit is proof. Until then a failure could make some of them
// fall back to the old ring with less.
func (m *Machine) Settled() bool { return m.settled }

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

func (m *Machine) representative() bool { return m.ring.Rep == m.self }

// forming reports whether the order counts for a ring that is not operational yet.
func (m *Machine) forming() bool { return m.state == Commit || m.state == Recovery }
