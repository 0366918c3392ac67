package daemon

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// scarce is a listener that has no file descriptor left for some connections.
type scarce struct {
	net.Listener
	fail atomic.Int32
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.fail.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// TestMeshGoesOnAccepting has accept fail as it does where descriptors are used up: members
// that connect later are let in all the same.
func TestMeshGoesOnAccepting(t *testing.T) {
	a, in := newTestMesh(t, 2)
	s := &scarce{Listener: a.listen}
	s.fail.Store(2)
	a.listen = s
	a.start()
	defer a.close()
	b, _, _ := testMesh(t, 1)
	defer b.close()
	all := map[broker.MemberID]string{1: b.listen.Addr().String(), 2: a.listen.Addr().String()}
	a.members(all)
	b.members(all)
	b.send(2, frame(0, 1))
	in.wait(t, 1)
	if s.fail.Load() >= 0 {
		t.Error("accept has not failed")
	}
}

// TestMeshStrangersKeepNobodyOut opens more connections that say nothing than are allowed.
// The first are closed, and a member is let in before any of them has run out of time.
func TestMeshStrangersKeepNobodyOut(t *testing.T) {
	a, in, _ := testMesh(t, 2)
	defer a.close()
	const over = 10
	var mute []net.Conn
	for range maxStrangers + over {
		c, err := net.Dial("tcp", a.listen.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mute = append(mute, c)
	}
	began := time.Now()
	for _, c := range mute[:over] {
		if err := c.SetReadDeadline(began.Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a connection that said nothing ends with %v", err)
		}
	}
	b, _, _ := testMesh(t, 1)
	defer b.close()
	all := map[broker.MemberID]string{1: b.listen.Addr().String(), 2: a.listen.Addr().String()}
	a.members(all)
	b.members(all)
	b.send(2, frame(0, 1))
	in.wait(t, 1)
	if took := time.Since(began); took > meshHello {
		t.Errorf("it took %v", took)
	}
}
