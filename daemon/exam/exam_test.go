package exam

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TestProbes: what one node sends another notes, of each doctor by itself, and no more than it can keep.
func TestProbes(t *testing.T) {
	var p Probes
	const nonce = 1 << 40
	for _, d := range Datagrams(7, nonce, []wire.NodeID{9}) {
		if !p.Take(d.Data) || !p.Take(d.Data) {
			t.Errorf("%v is not taken for a probe", d)
		}
	}
	p.Take(Datagrams(8, nonce, nil)[0].Data)
	everyone, single := p.Heard(nonce)
	if !slices.Equal(everyone, []uint32{7, 8}) || !slices.Equal(single, []uint32{7}) {
		t.Errorf("%v, alone %v", everyone, single)
	}
	if everyone, single := p.Heard(nonce + 2); everyone != nil || single != nil {
		t.Errorf("of another doctor: %v, %v", everyone, single)
	}
	for i := range uint64(2 * keptProbes) {
		p.Take(Datagrams(7, 2*i, nil)[0].Data)
	}
	if len(p.list) != keptProbes {
		t.Errorf("%d are kept", len(p.list))
	}
	for _, other := range []wire.HoldCancel{{Node: 7, Ring: wire.RingID{Rep: 7, Seq: nonce}}, {Ring: wire.RingID{Seq: nonce}}} {
		if p.Take(other.Append(nil)) {
			t.Errorf("%+v is taken for a probe", other)
		}
	}
}

// said is a member that has no more to say than its name.
type said string

func (s said) Facts() (*Facts, error)                           { return &Facts{Cluster: string(s)}, nil }
func (said) Probe(uint64) error                                 { return errors.New("no ring") }
func (said) Heard(uint64) (everyone, alone []uint32, err error) { return nil, nil, nil }
func (said) Findings() (json.RawMessage, error)                 { return json.RawMessage(`[]`), nil }

// TestTalk asks everything, of a server that has read the hello as the members' port does.
func TestTalk(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer s.Close()
		hello := make([]byte, HelloBytes)
		if _, err := io.ReadFull(s, hello); err != nil || !strings.HasPrefix(string(hello), Magic) {
			t.Errorf("%q: %v", hello, err)
		}
		served <- Serve(s, said("orders"))
	}()
	c, err := Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if f, err := c.Facts(); err != nil || f.Cluster != "orders" {
		t.Errorf("%+v, %v", f, err)
	}
	if offset, trip, err := c.Clock(); err != nil || trip <= 0 || offset.Abs() > trip {
		t.Errorf("the same clock is off by %v, round trip %v: %v", offset, trip, err)
	}
	if err := c.Probe(2); err == nil || err.Error() != "no ring" {
		t.Error(err)
	}
	if list, err := c.Findings(); err != nil || string(list) != "[]" {
		t.Errorf("%s, %v", list, err)
	}
	c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// FuzzServe: whatever a doctor asks, it is answered or refused.
func FuzzServe(f *testing.F) {
	f.Add([]byte("{\"ask\":\"clock\"}\n{\"ask\":\"heard\",\"nonce\":4}\n"))
	f.Add([]byte("{\"ask\":\"findings\"}\n{}\n[]\n"))
	f.Add([]byte(strings.Repeat("x", maxQuestionBytes+1)))
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, far)
		}()
		go func() {
			_, _ = far.Write(in) // it ends when the server has had enough
			far.Close()
		}()
		_ = Serve(near, said("orders")) // an error is as good as an answer
		near.Close()
		<-done
	})
}
