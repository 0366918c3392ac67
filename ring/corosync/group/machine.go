package group

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Config is what a machine is made with.
type Config struct {
	Self cpg.Member
	// QueueBytes limits what Push queues; 0 means 4 MiB.
	QueueBytes int
	// Stall is how long a member may keep the others waiting; 0 means 10 s.
	Stall time.Duration
}

const (
	defaultQueueBytes = 4 << 20
	defaultStall      = 10 * time.Second
	// maxMembers bounds all lists of members.
	maxMembers = 4 * wire.MaxMembers
	// maxHeld bounds the bytes delivered while flushes are awaited. Only what is on its way
	// then comes: a corosync's queue of 4 MB and a buffer of 1 MiB for each member.
	maxHeld = 1 << 30
	// lazy is how long a member that is not waited for may take to say what it has.
	lazy = 20 * time.Millisecond
)

// MaxMessage is the longest message. corosync drops without a word a message that does not fit
// its queue, but takes none from a quarter short of full on, which leaves 743 packets: a message
// must fit those at the smallest MTU there is.
const MaxMessage = 256 << 10

// What ends a machine.
var (
	// ErrLost says that corosync did not deliver what it took.
	ErrLost = errors.New("corosync has lost a message of this member's")
	// ErrExpelled says that the others have gone on without us.
	ErrExpelled = errors.New("this member was stopped or stuck, and the others have gone on without it")
	// ErrRemoved says that corosync took us out of the group.
	ErrRemoved = errors.New("corosync has taken this member out of the group")
	// ErrFlood says that more is delivered between views than anybody can have sent.
	ErrFlood = errors.New("too much was delivered between two views")
)

// peer is a member of the view.
type peer struct {
	cpg.Member
	next     uint32 // sequence number of its next message; 0: not known
	broken   bool   // a message of its was lost: what follows does not count
	reported uint64 // how many of the view's messages it has
}

// flush is what a member said after the last change.
type flush struct {
	from cpg.Member
	view uint64 // that it comes from
	have uint64
	sum  uint64
}

// held is a message that was delivered while flushes are awaited.
type held struct {
	from cpg.Member
	f    frame
	data []byte
}

// Machine is one process in one group. It belongs to one goroutine.
type Machine struct {
	cfg   Config
	self  cpg.Member
	now   time.Duration
	stats Stats
	err   error
	gone  bool

	ready, shown *Ready

	// What corosync says.
	ring    wire.RingID
	nodes   []wire.NodeID
	present []cpg.Member // ascending
	joined  []cpg.Member // who joined last
	turns   uint64       // configurations since

	// Until all agree on the next view.
	agreeing  bool
	said      bool // our flush is on its way
	state     uint64
	ringMoved bool // since the last view
	expelled  []cpg.Member
	flushes   []flush
	left      []cpg.Left // since the last view, who was in it
	held      []held
	heldBytes int

	// The view.
	view    uint64 // 0: none yet
	members []peer // ascending
	sum     uint64 // over what was delivered in it
	have    uint64 // how many messages were
	foreign uint64 // have when the last one of another member's came
	number  uint64 // of the last message, over our life
	base    uint64 // number when the view began
	safe    uint64

	// Sending.
	queue     queue
	sequence  uint32
	told      uint64 // have as we said last
	reporting bool   // a report of ours is on its way
	lazyAt    time.Duration
	watch     watch
	front     kind // that Front has shown
	head      []byte
	frame     frame // reused
}

// Stats counts what happened, by cause.
type Stats struct {
	Messages, Bytes, Views, Reports uint64
	Foreign                         uint64 // messages of processes that are no brokers of this provider
	NoMember                        uint64 // messages of processes that are not in the view
	Lost                            uint64 // gaps in a member's messages
	Expelled                        uint64
}

// Ready lists what calls since the last Ready have produced. Parts of messages stay valid as long
// as what Message was given.
type Ready struct {
	Events []cpg.Event
	Safe   uint64 // the number up to which messages are held by all who came along since

	parts [][]byte
}

// New makes a machine that has not joined anything.
func New(cfg Config) *Machine {
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, defaultQueueBytes)
	cfg.Stall = cmp.Or(cfg.Stall, defaultStall)
	return &Machine{cfg: cfg, self: cfg.Self, ready: &Ready{}, shown: &Ready{}}
}

// Ready returns what has happened since it was called last, valid until it is called again.
func (m *Machine) Ready() *Ready {
	r := m.ready
	r.Safe = m.safe
	clear(m.shown.Events)
	clear(m.shown.parts)
	m.shown.Events, m.shown.parts = m.shown.Events[:0], m.shown.parts[:0]
	m.ready, m.shown = m.shown, r
	return r
}

// Err tells why the machine cannot go on.
func (m *Machine) Err() error { return m.err }

// Left tells whether corosync has taken us out of the group.
func (m *Machine) Left() bool { return m.gone }

// Self is this process.
func (m *Machine) Self() cpg.Member { return m.self }

// Stats returns the counters.
func (m *Machine) Stats() Stats { return m.stats }

func compareMembers(a, b cpg.Member) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.PID, b.PID))
}

func (m *Machine) peer(who cpg.Member) *peer {
	for i := range m.members {
		if m.members[i].Member == who {
			return &m.members[i]
		}
	}
	return nil
}

// Message takes a message, in one or two pieces.
func (m *Machine) Message(now time.Duration, from cpg.Member, one, two []byte) {
	m.now = now
	f := &m.frame
	n, err := f.parse(one)
	if err != nil && len(two) > 0 {
		// The pieces meet in what stands in front of the data.
		one, two = append(slices.Clone(one), two...), nil
		n, err = f.parse(one)
	}
	switch {
	case err != nil:
		m.stats.Foreign++
	case !slices.Contains(m.present, from) || slices.Contains(m.expelled, from):
		m.stats.NoMember++
	case f.kind == kindData && m.agreeing:
		m.hold(from, f, one[n:], two)
	case f.kind == kindData:
		m.deliver(from, f, one[n:], two)
	case f.kind == kindReport:
		m.onReport(from, f)
	case f.kind == kindFlush:
		m.onFlush(from, f)
	case f.kind == kindExpel:
		m.onExpel(f)
	}
}

// hold keeps a message for the next view.
func (m *Machine) hold(from cpg.Member, f *frame, one, two []byte) {
	if m.heldBytes += len(one) + len(two); m.heldBytes > maxHeld {
		m.err = ErrFlood
		return
	}
	data := append(append(make([]byte, 0, len(one)+len(two)), one...), two...)
	m.held = append(m.held, held{from, *f, data})
}

// release delivers what was held, to whom is in a view.
func (m *Machine) release() {
	list := m.held
	m.held, m.heldBytes = nil, 0
	for i := range list {
		if m.view != 0 {
			m.deliver(list[i].from, &list[i].f, list[i].data, nil)
		}
	}
}

// deliver takes a message at its place in the view.
func (m *Machine) deliver(from cpg.Member, f *frame, one, two []byte) {
	p := m.peer(from)
	if p == nil || p.broken {
		m.stats.NoMember++
		return
	}
	if p.next != 0 && p.next != f.sequence {
		m.stats.Lost++
		p.broken = true
		if from == m.self {
			m.err = ErrLost
		}
		return
	}
	p.next = f.sequence + 1
	m.number++
	m.have++
	m.sum = mix(mix(mix(m.sum, uint64(from.Node)), uint64(from.PID)), uint64(f.sequence))
	if from != m.self {
		m.foreign = m.have
	}
	if f.view == m.view {
		p.reported = max(p.reported, min(f.have, m.have))
	}
	m.secure()
	m.stats.Messages++
	m.stats.Bytes += uint64(len(one) + len(two))
	r := m.ready
	at := len(r.parts)
	r.parts = append(r.parts, one)
	if len(two) > 0 {
		r.parts = append(r.parts, two)
	}
	r.Events = append(r.Events, cpg.Event{Message: true, Number: m.number, From: from, Parts: r.parts[at:len(r.parts):len(r.parts)]})
}

// mix adds a number to a sum: FNV-1a, a word at a time.
func mix(sum, v uint64) uint64 {
	if sum == 0 {
		sum = 14695981039346656037
	}
	return (sum^v)*1099511628211 ^ sum>>32
}

// Push queues a message, which is copied.
func (m *Machine) Push(parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	switch {
	case m.gone:
		return cpg.ErrLeft
	case n > MaxMessage:
		return cpg.ErrTooLong
	case n > m.Room():
		return cpg.ErrFull
	}
	m.queue.push(parts...)
	return nil
}

// Room is the length of the longest message that Push would take now.
func (m *Machine) Room() int {
	return max(0, min(m.cfg.QueueBytes-m.queue.bytes, MaxMessage))
}

// Queued tells whether messages wait to be sent.
func (m *Machine) Queued() bool { return !m.queue.empty() }

// Open tells whether a message could go out at once, without being queued: Head is what stands
// in front of it, and SentData tells that it has gone.
func (m *Machine) Open() bool { return !m.agreeing && m.view != 0 && m.queue.empty() && !m.gone }

// Head is the head of the next message, valid until the next call.
func (m *Machine) Head() []byte {
	f := frame{kind: kindData, sequence: m.sequence + 1, view: m.view, have: m.have}
	m.head = f.append(m.head[:0])
	return m.head
}

// SentData tells that a message with Head has been sent.
func (m *Machine) SentData() {
	m.sequence++
	m.say()
}

// say notes that the others will learn what we have.
func (m *Machine) say() { m.told, m.lazyAt = m.have, 0 }

// Front is the next message to be sent, in two parts that are valid until the next call.
func (m *Machine) Front() (head, data []byte, ok bool) {
	m.front = m.choose()
	f := frame{kind: m.front, view: m.view, have: m.have}
	switch m.front {
	case kindData:
		return m.Head(), m.queue.front(), true
	case kindFlush:
		f.sum, f.state, f.expelled = m.sum, m.state, m.expelled
	case kindExpel:
		f.view, f.have, f.target = m.watch.view(m), m.watch.at, m.watch.who
	case kindReport:
	default:
		return nil, nil, false
	}
	m.head = f.append(m.head[:0])
	return m.head, nil, true
}

// choose is the kind of message that is sent next; 0 is none.
func (m *Machine) choose() kind {
	switch {
	case m.gone || m.err != nil || !slices.Contains(m.present, m.self):
		return 0
	case m.agreeing && !m.said && m.ring.Rep != 0:
		return kindFlush
	case m.watch.expel:
		return kindExpel
	case m.watch.poke:
		return kindReport
	case m.agreeing:
		return 0
	case !m.queue.empty():
		return kindData
	case m.wantsReport():
		return kindReport
	}
	return 0
}

// Sent tells that what Front returned has been sent.
func (m *Machine) Sent(now time.Duration) {
	m.now = now
	switch m.front {
	case kindData:
		m.queue.pop()
		m.SentData()
	case kindFlush:
		m.said = true
	case kindExpel:
		m.watch = watch{}
	case kindReport:
		m.reporting = true
		m.stats.Reports++
		if m.watch.poke {
			m.watch.poke, m.watch.poking = false, true
		}
		m.say()
	}
}

// String describes the machine, for people.
func (m *Machine) String() string {
	switch {
	case m.gone:
		return "left"
	case m.agreeing:
		return fmt.Sprintf("agreeing on a view of %d", len(m.present))
	}
	return fmt.Sprintf("in a view of %d", len(m.members))
}
