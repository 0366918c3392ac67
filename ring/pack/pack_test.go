package pack

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// receiver unpacks packets of one sender and keeps the messages.
type receiver struct {
	a    Assembler
	b    Batch
	msgs [][]byte
}

func (r *receiver) take(packet []byte) {
	r.b.Messages = r.b.Messages[:0]
	r.a.Unpack(1, wire.Little, slices.Clone(packet), nil, &r.b)
	for _, m := range r.b.Messages {
		r.msgs = append(r.msgs, slices.Concat(r.b.Parts[m.First:m.End]...))
	}
}

func (r *receiver) texts() string {
	s := ""
	for _, m := range r.msgs {
		s += fmt.Sprintf("%.4s/%d ", m, len(m))
	}
	return s
}

// pack drains a queue into packets of at most size bytes.
func drain(q *Queue, size int) (packets [][]byte) {
	buf := make([]byte, size)
	for n := q.Pack(buf); n > 0; n = q.Pack(buf) {
		packets = append(packets, slices.Clone(buf[:n]))
	}
	return packets
}

// TestRoundTrip: what is pushed comes out, whatever the sizes of messages and packets and
// however pushing and packing take turns.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(16, 1500).Draw(t, "packet")
		q := NewQueue(1 << 20)
		var r receiver
		var want [][]byte
		for i := range rapid.IntRange(1, 30).Draw(t, "messages") {
			m := bytes.Repeat([]byte{byte(i)}, rapid.IntRange(1, 4000).Draw(t, "length"))
			cut := rapid.IntRange(0, len(m)).Draw(t, "cut")
			if err := q.Push(m[:cut], m[cut:]); err != nil {
				t.Fatal(err)
			}
			want = append(want, m)
			buf := make([]byte, size)
			for range rapid.IntRange(0, 3).Draw(t, "packets") {
				if n := q.Pack(buf); n > 0 {
					r.take(buf[:n])
				}
			}
		}
		for _, p := range drain(q, size) {
			r.take(p)
		}
		if !slices.EqualFunc(r.msgs, want, bytes.Equal) {
			t.Fatalf("got %d messages, want %d", len(r.msgs), len(want))
		}
		if r.a.Counters != (Counters{}) || q.Used() != 0 {
			t.Fatalf("%+v, %d bytes left", r.a.Counters, q.Used())
		}
	})
}

// TestFullPackets: as long as there is more to send, packets are full, so that a link can
// hand them to the kernel as one buffer.
func TestFullPackets(t *testing.T) {
	q := NewQueue(1 << 20)
	for range 200 {
		_ = q.Push(make([]byte, 445))
	}
	packets := drain(q, 1410)
	for i, p := range packets[:len(packets)-1] {
		if len(p) != 1410 {
			t.Errorf("packet %d of %d has %d bytes", i, len(packets), len(p))
		}
	}
}

// TestRestart: the ring changes in the middle of a message. Who had its beginning and who
// comes anew both deliver it once, and everything after it.
func TestRestart(t *testing.T) {
	q := NewQueue(1 << 20)
	_ = q.Push([]byte("one "), make([]byte, 500))
	_ = q.Push([]byte("two "), make([]byte, 100))
	var old, fresh receiver
	buf := make([]byte, 200)
	old.take(buf[:q.Pack(buf)])
	old.take(buf[:q.Pack(buf)])
	q.Restart()
	for _, p := range drain(q, 200) {
		old.take(p)
		fresh.take(p)
	}
	want := "one /504 two /104 "
	if old.texts() != want || fresh.texts() != want {
		t.Errorf("old %q, fresh %q, want %q", old.texts(), fresh.texts(), want)
	}
}

// TestClear: what is queued is forgotten, a part that receivers hold is called back.
func TestClear(t *testing.T) {
	q := NewQueue(1 << 20)
	_ = q.Push([]byte("gone"), make([]byte, 500))
	var r receiver
	buf := make([]byte, 200)
	r.take(buf[:q.Pack(buf)])
	q.Clear()
	_ = q.Push([]byte("next"))
	for _, p := range drain(q, 200) {
		r.take(p)
	}
	if r.texts() != "next/4 " {
		t.Errorf("delivered %q", r.texts())
	}
}

// packet makes a packet of messages.
func packet(fragmented, continuation uint8, msgs ...string) []byte {
	b := make([]byte, wire.PackingBytes+wire.PackingLenBytes*len(msgs))
	wire.PutPacking(b, fragmented, continuation, len(msgs))
	for i, m := range msgs {
		wire.PutPackingLen(b, i, len(m))
		b = append(b, m...)
	}
	return b
}

// TestThrowAway: the rules of section 3 for packets that do not fit together.
func TestThrowAway(t *testing.T) {
	for name, x := range map[string]struct {
		packets [][]byte
		want    string
	}{
		"in step": {[][]byte{packet(1, 0, "aaaa", "b"), packet(2, 1, "b"), packet(0, 2, "bb", "cccc")},
			"aaaa/4 bbbb/4 cccc/4 "},
		"newcomer: thrown away up to the end of a packet without a fragment": {[][]byte{
			packet(3, 2, "b"), packet(1, 3, "bb", "cc"), packet(0, 1, "cc", "dddd"), packet(0, 0, "eeee")},
			"eeee/4 "},
		"newcomer: the mismatching packet itself ends in no fragment": {[][]byte{
			packet(0, 7, "bb", "cccc"), packet(0, 0, "dddd")}, "dddd/4 "},
		"missing middle": {[][]byte{
			packet(1, 0, "a"), packet(0, 2, "aa", "bbbb"), packet(0, 0, "cccc")}, "cccc/4 "},
		"unexpected beginning": {[][]byte{
			packet(1, 0, "a"), packet(0, 0, "bbbb"), packet(0, 0, "cccc")}, "cccc/4 "},
	} {
		var r receiver
		for _, p := range x.packets {
			r.take(p)
		}
		if r.texts() != x.want {
			t.Errorf("%s: delivered %q, want %q", name, r.texts(), x.want)
		}
	}
}

// TestOverlong: a sender that never ends its message does not fill our memory.
func TestOverlong(t *testing.T) {
	var r receiver
	for i := range 40 {
		r.take(packet(uint8(i+1), uint8(i), string(make([]byte, 60000))))
	}
	if r.a.Overlong == 0 || r.a.peers[0].bytes > maxAssembledBytes {
		t.Errorf("%+v, %d bytes held", r.a.Counters, r.a.peers[0].bytes)
	}
	r.take(packet(0, 40, "end"))
	r.take(packet(0, 0, "next"))
	if r.texts() != "next/4 " {
		t.Errorf("delivered %q", r.texts())
	}
}

func TestLimits(t *testing.T) {
	q := NewQueue(2 << 20)
	if err := q.Push(make([]byte, MaxMessageBytes+1)); err != ErrTooLong {
		t.Error(err)
	}
	if err := q.Push(make([]byte, MaxMessageBytes)); err != nil {
		t.Error(err)
	}
	if err := q.Push(make([]byte, q.Room())); err != nil {
		t.Error(err)
	}
	if err := q.Push(make([]byte, q.Room()+1)); err != ErrFull {
		t.Error(err)
	}
}

// FuzzUnpack: no packets make an assembler panic or hold more than its limit.
func FuzzUnpack(f *testing.F) {
	f.Add(packet(1, 0, "aaaa", "b"), packet(0, 1, "b"))
	f.Add(packet(0, 7, "bb", "cccc"), packet(0, 0, "dddd"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var r receiver
		r.take(first)
		r.take(second)
		r.take(first)
		if r.a.peers != nil && r.a.peers[0].bytes > maxAssembledBytes {
			t.Error("holds too much")
		}
	})
}
