package daemon

import (
	"encoding/binary"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// inbox collects what a mesh takes, and checks that it comes in order.
type inbox struct {
	mu   sync.Mutex
	next uint64
	bad  bool
	grew chan struct{}
}

func (b *inbox) take(_ broker.MemberID, data []byte) {
	b.mu.Lock()
	b.bad = b.bad || binary.LittleEndian.Uint64(data) != b.next
	b.next++
	b.mu.Unlock()
	select {
	case b.grew <- struct{}{}:
	default:
	}
}

func (b *inbox) wait(t *testing.T, n uint64) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		have, bad := b.next, b.bad
		b.mu.Unlock()
		if bad {
			t.Fatal("frames came out of order, twice or not at all")
		}
		if have == n {
			return
		}
		select {
		case <-b.grew:
		case <-limit:
			t.Fatalf("%d of %d frames came", have, n)
		}
	}
}

// newTestMesh is a mesh that has not started.
func newTestMesh(t *testing.T, id broker.MemberID) (*mesh, *inbox) {
	t.Helper()
	m, err := newMesh(id, 7, "127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{grew: make(chan struct{}, 1)}
	m.take = in.take
	m.dead = func(broker.MemberID) {}
	return m, in
}

func testMesh(t *testing.T, id broker.MemberID) (*mesh, *inbox, chan broker.MemberID) {
	t.Helper()
	m, in := newTestMesh(t, id)
	dead := make(chan broker.MemberID, 100)
	m.dead = func(id broker.MemberID) {
		select {
		case dead <- id:
		default:
		}
	}
	m.start()
	return m, in, dead
}

func frame(i uint64, size int) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, i), make([]byte, size)...)
}

// TestMeshLosesNothing breaks the connection again and again while frames go both ways.
func TestMeshLosesNothing(t *testing.T) {
	a, inA, _ := testMesh(t, 1)
	b, inB, _ := testMesh(t, 2)
	defer a.close()
	defer b.close()
	all := map[broker.MemberID]string{1: a.listen.Addr().String(), 2: b.listen.Addr().String()}
	a.members(all)
	b.members(all)
	const frames = 20000
	for i := range uint64(frames) {
		a.send(2, frame(i, int(i%300)))
		b.send(1, frame(i, int(i%700)))
		if i%2500 == 1000 {
			inB.waitSome(t)
			a.peers[2].sever()
		}
		if i%2500 == 2000 {
			b.peers[1].sever()
		}
	}
	inA.wait(t, frames)
	inB.wait(t, frames)
}

func (b *inbox) waitSome(t *testing.T) {
	t.Helper()
	select {
	case <-b.grew:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes any more")
	}
}

// sever closes the connection under the mesh, as a network does.
func (p *meshPeer) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		p.conn.Close()
	}
}

func TestMeshSeesDeath(t *testing.T) {
	for _, id := range []broker.MemberID{1, 3} { // on either side of who dials
		a, _, dead := testMesh(t, 2)
		b, in, _ := testMesh(t, id)
		all := map[broker.MemberID]string{2: a.listen.Addr().String(), id: b.listen.Addr().String()}
		a.members(all)
		b.members(all)
		a.send(id, frame(0, 1))
		in.wait(t, 1)
		b.close()
		select {
		case got := <-dead:
			if got != id {
				t.Errorf("member %d is taken for dead, not %d", got, id)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("nobody noticed that member %d is gone", id)
		}
		a.close()
	}
}

func TestMeshRefusesStrangers(t *testing.T) {
	a, _, _ := testMesh(t, 1)
	defer a.close()
	for _, hello := range [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n              "),
		append([]byte(meshMagic), make([]byte, meshHelloSize-len(meshMagic))...),
	} {
		c, err := net.Dial("tcp", a.listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("a stranger is answered %d bytes", n)
		}
		c.Close()
	}
}

// TestMeshClosesAtOnce closes a mesh that dials: one peer that takes the connection and says
// nothing, and one between two attempts; and one that was dialled by who says nothing.
func TestMeshClosesAtOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a, _, _ := testMesh(t, 1)
	a.members(map[broker.MemberID]string{2: silent.Addr().String(), 3: ""})
	taken, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	mute, err := net.Dial("tcp", a.listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	a.mu.Lock()
	between := a.peers[3]
	a.mu.Unlock()
	paused := make(chan struct{})
	go func() {
		between.pause(time.Hour)
		close(paused)
	}()
	began := time.Now()
	a.close()
	select {
	case <-paused:
	case <-time.After(20 * time.Second):
		t.Error("a pause goes on")
	}
	if took := time.Since(began); took > meshHello/2 {
		t.Errorf("it took %v", took)
	}
}
