package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	choice "github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/manage/metrics"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// queued is how much a sender keeps waiting: more than a rotation takes, and little enough to
// stay in the processor's cache.
const queued = 512 << 10

// rescheduleEvery is how often the scheduler is let in before a sleep, as a broker's engine does (daemon/engine.go).
const rescheduleEvery = 8 * time.Millisecond

// member is the loop of a broker's engine in miniature.
type member struct {
	task
	node    wire.NodeID
	machine *cpg.Machine
	link    link.Link
	packets []wire.Packet
	body    []byte
	poll    []unix.PollFd
	pass    *choice.Pass
	perCall int // packets that raw gives to the link at once

	members          int
	messages, volume uint64
	latencies        []time.Duration
	due              time.Duration // of the next message of latency; 0 if none is
	unsafe           []ownMessage  // delivered, and not yet known to be everywhere
	safe             []time.Duration

	way   *choice.Choice
	times choice.TokenTimes
	sent  time.Duration // that the token was, by the last hand; 0: it was not
	wakes int           // times that it slept

	scheduled time.Duration // when the scheduler took it up
}

// ownMessage is one that this member has sent, and got from the ring.
type ownMessage struct {
	number uint64
	sent   time.Duration
}

func (m *member) run() error {
	for m.members < m.task.members {
		m.turn(true)
	}
	switch m.mode {
	case "flood":
		m.flood()
	case "latency":
		m.latency()
	case "watch":
		for {
			m.turn(true)
		}
	case "follow":
		m.follow()
	default:
		return fmt.Errorf("unknown mode %q; there are flood, latency, watch, follow and raw", m.mode)
	}
	return nil
}

// turn takes what has come, and waits for it if there is nothing to do meanwhile.
func (m *member) turn(wait bool) {
	m.wait(wait)
	m.pass.Take(monotonic(), m.machine)
	for {
		k := m.link.Recv(m.packets)
		now := monotonic()
		for i := range k {
			m.step(now, &m.packets[i])
		}
		m.hand()
		if k < len(m.packets) {
			break
		}
	}
	m.machine.Tick(monotonic())
	m.hand()
	m.pass.Say(monotonic(), m.machine, true)
}

// step takes a packet; of a token it measures how long it was here.
func (m *member) step(now time.Duration, p *wire.Packet) {
	seq, token := wire.TokenSeq(p.Data)
	if !token {
		m.machine.Step(now, *p)
		p.Release()
		return
	}
	read, before := monotonic(), m.machine.Stats().Totem.Tokens
	at, exact := m.times.Came(read, p, seq, m.pass)
	m.machine.Step(now, *p)
	p.Release()
	m.sent = 0
	m.hand()
	if m.machine.Stats().Totem.Tokens != before {
		m.times.Visited(at, exact, read, m.sent)
	}
}

func (m *member) wait(wait bool) {
	if !wait {
		m.await(0)
		return
	}
	next := m.machine.Next()
	if next == 0 || m.due != 0 && m.due < next {
		next = m.due
	}
	m.await(max(0, min(next-monotonic(), time.Second)))
}

// await waits for packets.
func (m *member) await(most time.Duration) {
	if m.poll == nil {
		for _, fd := range m.link.FDs() {
			m.poll = append(m.poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	if now := monotonic(); most > 0 && now-m.scheduled >= rescheduleEvery {
		m.scheduled = now
		runtime.Gosched()
	}
	patience := unix.NsecToTimespec(int64(most))
	_, _ = unix.Ppoll(m.poll, &patience, nil) // interrupted: the next turn comes early
	if most > 0 {
		m.wakes++
	}
}

// hand sends what the machine wants sent, and looks at what it has delivered.
func (m *member) hand() {
	r := m.machine.Ready()
	m.link.Send(r.Send)
	for i := range r.Send {
		if _, token := wire.TokenSeq(r.Send[i].Data); token {
			m.sent = monotonic()
			break
		}
	}
	for i := range r.Events {
		e := &r.Events[i]
		if !e.Message {
			m.members = len(e.View.Members)
			if m.mode == "watch" || m.mode == "follow" {
				fmt.Println("view", m.members, int64(monotonic()))
			}
			continue
		}
		m.messages++
		for _, p := range e.Parts {
			m.volume += uint64(len(p))
		}
		if m.mode == "latency" && e.From == m.machine.Self() && len(m.latencies) < m.count {
			sent := time.Duration(binary.LittleEndian.Uint64(bytes.Join(e.Parts, nil))) // it may be in two packets
			m.latencies = append(m.latencies, monotonic()-sent)
			m.unsafe = append(m.unsafe, ownMessage{e.Number, sent})
		}
	}
	for len(m.unsafe) > 0 && m.unsafe[0].number <= r.Safe {
		m.safe, m.unsafe = append(m.safe, monotonic()-m.unsafe[0].sent), m.unsafe[1:]
	}
}

// flood sends all the time.
func (m *member) flood() {
	window := begin(m.warm, m.time)
	window.visits = func() uint64 { return m.machine.Stats().Totem.Tokens }
	for {
		for m.count > 0 && m.machine.Queued() < queued && m.machine.Multicast(m.body) == nil {
		}
		m.hand()
		m.turn(m.count == 0 || m.machine.Queued() >= queued)
		if window.passed(m.messages, m.volume) {
			return
		}
	}
}

// window is the time in which something is counted.
type window struct {
	start, end      time.Duration
	measure, rest   time.Duration
	messages, bytes uint64
	visits          func() uint64 // of the token; nil without a protocol
	before          uint64
	state           int
}

func (w *window) token() uint64 {
	if w.visits == nil {
		return 0
	}
	return w.visits()
}

func begin(warm, measure time.Duration) *window {
	return &window{start: monotonic() + warm, measure: measure, rest: warm}
}

// passed tells what was counted at the window's end; and is true when the others have measured
// too, some time later.
func (w *window) passed(messages, bytes uint64) bool {
	now := monotonic()
	switch {
	case w.state == 0 && now >= w.start:
		w.state, w.start, w.end = 1, now, now+w.measure
		w.messages, w.bytes, w.before = messages, bytes, w.token()
		fmt.Println("begin")
	case w.state == 1 && now >= w.end:
		w.state, w.end = 2, now+w.rest
		fmt.Printf("end {\"messages\":%d,\"bytes\":%d,\"nanoseconds\":%d,\"visits\":%d}\n",
			messages-w.messages, bytes-w.bytes, now-w.start, w.token()-w.before)
	case w.state == 2 && now >= w.end:
		return true
	}
	return false
}

// latency sends a message each interval.
func (m *member) latency() {
	fmt.Println("begin")
	sent := 0
	m.due = monotonic() + m.warm
	for len(m.safe) < m.count {
		now := monotonic()
		if sent < m.count && now >= m.due {
			binary.LittleEndian.PutUint64(m.body, uint64(now))
			if m.machine.Multicast(m.body) == nil {
				sent++
				m.due += m.time
			}
			m.hand()
		}
		if sent == m.count {
			m.due = 0
		}
		m.turn(true)
	}
	p50, p99, most := spread(m.latencies)
	safe50, safe99, _ := spread(m.safe)
	fmt.Printf("end {\"p50\":%d,\"p99\":%d,\"max\":%d,\"safe_p50\":%d,\"safe_p99\":%d}\n", p50, p99, most, safe50, safe99)
}

func spread(list []time.Duration) (p50, p99, most time.Duration) {
	slices.Sort(list)
	n := len(list)
	return list[n/2], list[n*99/100], list[n-1]
}

// follow takes so many messages, tells what the token's visits took meanwhile, and stays.
func (m *member) follow() {
	for m.messages < uint64(m.count) {
		m.turn(true)
	}
	fmt.Println("begin")
	messages, wakes, before := m.messages, m.wakes, m.times.Counted(m.way)
	for m.messages < messages+uint64(m.count) {
		m.turn(true)
	}
	now := m.times.Counted(m.way)
	mean := func(n, o *metrics.Times) (int, uint64) {
		count := n.Count() - o.Count()
		return int(n.Sum-o.Sum) / int(max(count, 1)), count
	}
	member, visits := mean(&now.Member, &before.Member)
	kernel, passes := mean(&now.Kernel, &before.Kernel)
	rotation, _ := mean(&now.Rotation, &before.Rotation)
	fmt.Printf("end {\"hop\":%d,\"visits\":%d,\"kernel_hop\":%d,\"passes\":%d,\"rotation\":%d,\"wakes\":%d,\"messages\":%d}\n",
		member, visits, kernel, passes, rotation, m.wakes-wakes, m.messages-messages)
	for {
		m.turn(true)
	}
}

// rawBatch is what a visit of the token sends at most.
const rawBatch = 64

// raw sends packets without a protocol, or counts those that come.
func (m *member) raw() error {
	var batch []wire.Datagram
	for i := range rawBatch {
		b := make([]byte, m.size)
		wire.PutMcast(b, m.node, wire.Seq(i+1), 0, wire.RingID{Rep: 1, Seq: 1}, false)
		batch = append(batch, wire.Datagram{Data: b})
	}
	window := begin(m.warm, m.time)
	for !window.passed(m.messages, m.volume) {
		if m.count > 0 {
			for at := 0; at < rawBatch; at += m.perCall {
				m.link.Send(batch[at : at+m.perCall])
			}
			m.messages, m.volume = m.messages+rawBatch, m.volume+uint64(rawBatch*m.size)
			continue
		}
		k := m.link.Recv(m.packets)
		for i := range k {
			m.volume += uint64(len(m.packets[i].Data))
			m.packets[i].Release()
		}
		m.messages += uint64(k)
		if k == 0 {
			m.await(10 * time.Millisecond)
		}
	}
	return nil
}
