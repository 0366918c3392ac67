package frame

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

var ways = []Route{
	{From: netip.MustParseAddrPort("10.0.0.1:5405"), To: netip.MustParseAddrPort("239.192.3.4:5405"), TTL: 1},
	{From: netip.MustParseAddrPort("[fd00::1]:5405"), To: netip.MustParseAddrPort("[ff15::3]:5405"), TTL: 1},
	{From: netip.MustParseAddrPort("192.168.255.255:65535"), To: netip.MustParseAddrPort("10.0.0.2:1"), TTL: 64},
}

// slowSum is RFC 1071 word by word.
func slowSum(b []byte) uint16 {
	s := uint32(0)
	for i, x := range b {
		if i%2 == 0 {
			s += uint32(x) << 8
		} else {
			s += uint32(x)
		}
		s = s>>16 + s&0xffff
	}
	return uint16(s>>16 + s&0xffff)
}

func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
		if got, want := fold(sum(0, b)), slowSum(b); got != want && !(got == 0xffff && want == 0) && !(got == 0 && want == 0xffff) {
			t.Fatalf("%#x, not %#x", got, want)
		}
	})
	if got := fold(sum(0, bytes.Repeat([]byte{0xff}, 1<<16))); got != 0xffff {
		t.Errorf("of ones it is %#x", got)
	}
}

// TestThereAndBack: what Put and Finish make, Parse takes, and it is what was put in.
func TestThereAndBack(t *testing.T) {
	for _, r := range ways {
		tpl := NewTemplate(r)
		for n := 0; n < 3000; n += 37 {
			payload := make([]byte, n)
			for i := range payload {
				payload[i] = byte(rand.Uint32())
			}
			b := make([]byte, MaxHeaderBytes)
			b = append(b[:tpl.Put(b, n)], payload...)
			if _, cause := Parse(b, Begun); cause != Taken {
				t.Fatalf("%v, %d bytes, begun: %s", r.To, n, cause)
			}
			tpl.Finish(b[:tpl.Length()], payload)
			p, cause := Parse(b, Unknown)
			if cause != Taken || p.From != r.From || p.To != r.To || !bytes.Equal(p.Payload, payload) {
				t.Fatalf("%v, %d bytes: %+v %s", r.To, n, p, cause)
			}
			if n == 0 {
				continue
			}
			b[len(b)-1-rand.IntN(n)] ^= 1 << rand.IntN(8)
			if _, cause := Parse(b, Unknown); cause != BadChecksum {
				t.Fatalf("a changed bit is %q", cause)
			}
		}
	}
}

// TestPadding: an Ethernet frame has 60 bytes at the least, and what pads it is no part of the packet.
func TestPadding(t *testing.T) {
	for _, r := range ways {
		tpl := NewTemplate(r)
		b := make([]byte, MaxHeaderBytes)
		b = append(b[:tpl.Put(b, 1)], 'x')
		tpl.Finish(b[:tpl.Length()], []byte{'x'})
		p, cause := Parse(append(b, make([]byte, 40)...), Unknown)
		if cause != Taken || string(p.Payload) != "x" {
			t.Errorf("%q %s", p.Payload, cause)
		}
	}
}

func TestFragmentsAreNotTaken(t *testing.T) {
	tpl := NewTemplate(ways[0])
	for _, field := range []uint16{0x2000, 1, 0x2001} {
		b := make([]byte, MaxHeaderBytes+100)
		tpl.Put(b, 100)
		binary.BigEndian.PutUint16(b[EthernetBytes+6:], field)
		if _, cause := Parse(b, Checked); cause != Fragment {
			t.Errorf("%#x is %q", field, cause)
		}
	}
}

func TestGroupMAC(t *testing.T) {
	for group, want := range map[string]MAC{
		"239.192.131.7":   {0x01, 0x00, 0x5e, 0x40, 0x83, 0x07},
		"ff15::1234:5678": {0x33, 0x33, 0x12, 0x34, 0x56, 0x78},
		"255.255.255.255": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		if got := GroupMAC(netip.MustParseAddr(group)); got != want {
			t.Errorf("%s is %x", group, got)
		}
	}
}

// FuzzParse: whatever comes, what is taken lies within it.
func FuzzParse(f *testing.F) {
	for _, r := range ways {
		b := make([]byte, MaxHeaderBytes+4)
		tpl := NewTemplate(r)
		f.Add(b[:tpl.Put(b, 4)+4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range []Checksum{Unknown, Checked, Begun} {
			p, cause := Parse(b, c)
			if cause == Taken && (!p.From.IsValid() || len(p.Payload) > len(b)) {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func BenchmarkSum(b *testing.B) {
	data := make([]byte, 1400)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sum(0, data)
	}
}
