package daemon

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
)

// mesh keeps one TCP connection with every other member: for what is outside the order, and
// because the kernel closes a dead process's end at once, which is evidence of its death.
//
// The member with the lower id dials. Both say hello, then frames follow:
//
//	hello  magic "QPDMESH1"  group hash u64  member u64  received u64
//	frame  size u32  payload            size 0 is an acknowledgement: received u64
//
// What was sent is kept until acknowledged, so that a connection that breaks between two
// living members loses nothing.
type mesh struct {
	self   broker.MemberID
	group  uint64
	log    *slog.Logger
	listen net.Listener
	take   func(from broker.MemberID, data []byte)
	dead   func(m broker.MemberID)
	// examined talks to a doctor, which connects as a member would.
	examined func(net.Conn) error

	ctx   context.Context // until close
	leave context.CancelFunc
	mu    sync.Mutex
	peers map[broker.MemberID]*meshPeer
	wg    sync.WaitGroup

	strangers greetings
}

// Limits of the mesh.
const (
	meshMagic     = "QPDMESH1"
	meshHelloSize = 32
	maxMeshFrame  = 1 << 20
	// maxMeshQueue is how many frames may wait for a member: the window of a transfer in its
	// smallest pieces, and assignments; a member that takes none for so long is cut off.
	maxMeshQueue = 1 << 17
	meshDial     = 2 * time.Second
	// Whoever connects has so long to say hello, and so many may be about to.
	meshHello    = 5 * time.Second
	maxStrangers = 128
	// meshPause is waited before a peer is dialled again, first and at most.
	meshPause, meshMaxPause = 10 * time.Millisecond, time.Second
	meshAckEvery            = 64
)

// meshPeer is one other member.
type meshPeer struct {
	m    *mesh
	id   broker.MemberID
	addr string

	ctx   context.Context // while it is in the view and takes what it is sent
	leave context.CancelFunc

	greeting sync.Mutex // one connection is made at a time

	mu       sync.Mutex
	cond     sync.Cond
	conn     net.Conn
	broken   net.Conn // could not be written to; its reader has not noticed yet
	queue    [][]byte // sent or to be sent, from acked on
	reading  bool     // a connection's reader has not finished
	acked    uint64   // frames that the peer has
	sent     uint64   // frames written to this connection or an earlier one
	received uint64   // frames of the peer's that were taken
	ackDue   bool
}

// gone tells that the peer has left. Who waits for cond is told by who calls leave.
func (p *meshPeer) gone() bool { return p.ctx.Err() != nil }

func newMesh(self broker.MemberID, group uint64, addr string, log *slog.Logger) (*mesh, error) {
	l, err := listenTCP(addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for other members: %w; give each broker of a host a --mesh-port of its own, or 0 for a free one", err)
	}
	m := &mesh{self: self, group: group, log: log, listen: l, peers: map[broker.MemberID]*meshPeer{}}
	m.ctx, m.leave = context.WithCancel(context.Background())
	return m, nil
}

func (m *mesh) start() {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		m.accept()
	}()
}

// welcome takes a connection that another member has dialled.
func (m *mesh) welcome(c net.Conn) error {
	defer context.AfterFunc(m.ctx, func() { c.Close() })()
	id, received, err := m.readHello(c)
	if errors.Is(err, errDoctor) {
		defer c.Close()
		return m.examined(c)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	p := m.peers[id]
	m.mu.Unlock()
	if p == nil {
		return fmt.Errorf("member %x is not in the view", uint64(id))
	}
	p.greeting.Lock()
	defer p.greeting.Unlock()
	if err := m.writeHello(c, p.count()); err != nil {
		return err
	}
	return p.adopt(c, received)
}

// errDoctor tells that who has said hello is no member, but examines one.
var errDoctor = errors.New("a doctor")

func (m *mesh) readHello(c net.Conn) (id broker.MemberID, received uint64, err error) {
	if err := c.SetDeadline(time.Now().Add(meshHello)); err != nil {
		return 0, 0, err
	}
	var b [meshHelloSize]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return 0, 0, err
	}
	if string(b[:8]) == exam.Magic {
		return 0, 0, errDoctor
	}
	if string(b[:8]) != meshMagic || binary.LittleEndian.Uint64(b[8:]) != m.group {
		return 0, 0, errors.New("not of this cluster")
	}
	return broker.MemberID(binary.LittleEndian.Uint64(b[16:])), binary.LittleEndian.Uint64(b[24:]), nil
}

func (m *mesh) writeHello(c net.Conn, received uint64) error {
	b := append(make([]byte, 0, meshHelloSize), meshMagic...)
	b = binary.LittleEndian.AppendUint64(b, m.group)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.self))
	b = binary.LittleEndian.AppendUint64(b, received)
	_, err := c.Write(b)
	return err
}

// members tells who is in the view and where; addr may be unknown yet.
func (m *mesh) members(list map[broker.MemberID]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return
	}
	for id, p := range m.peers {
		if _, ok := list[id]; !ok {
			delete(m.peers, id)
			p.drop()
		}
	}
	for id, addr := range list {
		if id == m.self {
			continue
		}
		p := m.peers[id]
		if p == nil {
			p = &meshPeer{m: m, id: id}
			p.ctx, p.leave = context.WithCancel(m.ctx)
			p.cond.L = &p.mu
			m.peers[id] = p
			m.wg.Add(1)
			go func() {
				defer m.wg.Done()
				p.write()
			}()
		}
		p.locate(addr)
	}
}

// send queues a frame for a member.
func (m *mesh) send(to broker.MemberID, data []byte) {
	m.mu.Lock()
	p := m.peers[to]
	m.mu.Unlock()
	if p != nil {
		p.send(data)
	}
}

func (m *mesh) close() {
	m.mu.Lock()
	m.leave()
	m.listen.Close()
	for id, p := range m.peers {
		delete(m.peers, id)
		p.drop()
	}
	m.mu.Unlock()
	m.wg.Wait()
}

// count is how many of the peer's frames were taken, for the hello of a new connection: what
// the old one still has in its buffers would come twice, so it is closed and read no more.
func (p *meshPeer) count() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
	}
	for p.reading {
		p.cond.Wait()
	}
	return p.received
}

func (p *meshPeer) drop() {
	p.mu.Lock()
	p.leave()
	if p.conn != nil {
		p.conn.Close()
	}
	p.cond.Broadcast()
	p.mu.Unlock()
}

// locate learns where the peer listens, and dials if that is this member's part.
func (p *meshPeer) locate(addr string) {
	p.mu.Lock()
	known := p.addr != ""
	if addr != "" {
		p.addr = addr
	}
	p.mu.Unlock()
	if !known && addr != "" && p.m.self < p.id {
		p.m.wg.Add(1)
		go func() {
			defer p.m.wg.Done()
			p.dial()
		}()
	}
}

// dial connects, again and again while the peer is in the view.
func (p *meshPeer) dial() {
	for wait := meshPause; !p.gone(); wait = min(2*wait, meshMaxPause) {
		p.mu.Lock()
		addr := p.addr
		p.mu.Unlock()
		if err := p.connect(addr); err == nil {
			return
		} else if refused(err) {
			p.m.dead(p.id)
		}
		p.pause(wait)
	}
}

// pause waits, or until the peer has left.
func (p *meshPeer) pause(d time.Duration) { pause(p.ctx, d) }

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (p *meshPeer) connect(addr string) error {
	d := net.Dialer{Timeout: meshDial}
	c, err := d.DialContext(p.ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(p.ctx, func() { c.Close() })()
	p.greeting.Lock()
	defer p.greeting.Unlock()
	if err := p.m.writeHello(c, p.count()); err != nil {
		c.Close()
		return err
	}
	id, received, err := p.m.readHello(c)
	if err == nil && id != p.id {
		err = fmt.Errorf("mesh: %s is member %x, not %x", addr, uint64(id), uint64(p.id))
	}
	if err != nil {
		c.Close()
		return err
	}
	return p.adopt(c, received)
}

// refused tells whether an error is evidence that nobody is there any more.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// adopt makes c the peer's connection, of which it has received so many frames so far.
func (p *meshPeer) adopt(c net.Conn, received uint64) error {
	_ = c.SetDeadline(time.Time{}) // it fails on a closed connection, which read finds out
	p.mu.Lock()
	if p.gone() || received < p.acked || received > p.acked+uint64(len(p.queue)) {
		p.mu.Unlock()
		c.Close()
		return fmt.Errorf("mesh: member %x has left, or names %d frames that it cannot have", uint64(p.id), received)
	}
	if p.conn != nil {
		p.conn.Close()
	}
	p.conn, p.reading = c, true
	p.ack(received)
	p.sent = received
	p.cond.Broadcast()
	p.mu.Unlock()
	p.m.wg.Add(1)
	go func() {
		defer p.m.wg.Done()
		p.read(c)
	}()
	return nil
}

// ack forgets what the peer has, with mu held.
func (p *meshPeer) ack(received uint64) {
	if received <= p.acked || received > p.acked+uint64(len(p.queue)) {
		return
	}
	n := received - p.acked
	clear(p.queue[:n])
	p.queue = p.queue[n:]
	p.acked = received
}

func (p *meshPeer) send(data []byte) {
	if len(data) > maxMeshFrame {
		panic("daemon: mesh frame is too long")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone() {
		return
	}
	if len(p.queue) >= maxMeshQueue {
		p.m.log.Error("a member takes nothing over the mesh; it is cut off", "member", fmt.Sprintf("%x", uint64(p.id)))
		p.leave()
		if p.conn != nil {
			p.conn.Close()
		}
		p.cond.Broadcast()
		p.m.dead(p.id)
		return
	}
	p.queue = append(p.queue, data)
	p.cond.Broadcast()
}

// read takes frames until the connection breaks, and then looks whether the peer is there.
func (p *meshPeer) read(c net.Conn) {
	err := p.frames(c)
	c.Close()
	p.mu.Lock()
	current := p.conn == c && !p.gone()
	if p.conn == c {
		p.conn = nil
	}
	p.reading = false
	p.cond.Broadcast()
	addr := p.addr
	p.mu.Unlock()
	if !current {
		return
	}
	p.m.log.Debug("mesh connection broke", "member", fmt.Sprintf("%x", uint64(p.id)), "cause", err)
	if p.m.self < p.id {
		p.dial()
		return
	}
	p.probe(addr)
}

// probe looks whether a peer that should dial is there, until it has dialled or the evidence
// is confirmed. One look is not enough: a process that ends closes its sockets one by one,
// and the one that listens may be the last.
func (p *meshPeer) probe(addr string) {
	d := net.Dialer{Timeout: meshDial}
	for wait := meshPause; ; wait = min(2*wait, meshMaxPause) {
		p.mu.Lock()
		over := p.gone() || p.conn != nil
		p.mu.Unlock()
		if over {
			return
		}
		if c, err := d.DialContext(p.ctx, "tcp", addr); err == nil {
			c.Close()
		} else if refused(err) {
			p.m.dead(p.id)
			return
		}
		p.pause(wait)
	}
}

func (p *meshPeer) frames(c net.Conn) error {
	r := bufio.NewReaderSize(c, 256<<10)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(head[:])
		if size > maxMeshFrame {
			return fmt.Errorf("frame of %d bytes", size)
		}
		if size == 0 {
			var b [8]byte
			if _, err := io.ReadFull(r, b[:]); err != nil {
				return err
			}
			p.mu.Lock()
			p.ack(binary.LittleEndian.Uint64(b[:]))
			p.mu.Unlock()
			continue
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		p.m.take(p.id, data)
		p.mu.Lock()
		if p.received++; p.received%meshAckEvery == 0 {
			p.ackDue = true
			p.cond.Broadcast()
		}
		p.mu.Unlock()
	}
}

// write sends what is queued, whenever there is a connection.
func (p *meshPeer) write() {
	var buf []byte
	for {
		p.mu.Lock()
		for !p.gone() && (p.conn == nil || p.conn == p.broken || p.sent == p.acked+uint64(len(p.queue)) && !p.ackDue) {
			p.cond.Wait()
		}
		if p.gone() {
			p.mu.Unlock()
			return
		}
		c := p.conn
		buf = buf[:0]
		if p.ackDue {
			p.ackDue = false
			buf = append(buf, 0, 0, 0, 0)
			buf = binary.LittleEndian.AppendUint64(buf, p.received)
		}
		for p.sent < p.acked+uint64(len(p.queue)) && len(buf) < maxMeshFrame {
			f := p.queue[p.sent-p.acked]
			buf = binary.LittleEndian.AppendUint32(buf, uint32(len(f)))
			buf = append(buf, f...)
			p.sent++
		}
		p.mu.Unlock()
		if _, err := c.Write(buf); err != nil {
			c.Close() // its reader finds out what that means
			p.mu.Lock()
			p.broken = c
			p.mu.Unlock()
		}
	}
}
