package knet

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Packets of corosync 3.1.7 with libknet 1.25.
var captured = map[kind]string{
	kindPing:       "01810002000000cc080000000000005ea7d92300000000005901",
	kindPong:       "01820001010000d008000000000000cf352c0b00000000000101",
	kindProbeReply: "01840003010000dc05",
	kindData:       "010000020000006500000001000070c003000002000000030000000000000001000000ffffffff0100000001000000760000000000000000000000000000000000000000000000",
}

func packet(t testing.TB, k kind) []byte {
	b, err := hex.DecodeString(captured[k])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCaptured(t *testing.T) {
	for k, node := range map[kind]wire.NodeID{kindPing: 2, kindPong: 1, kindProbeReply: 3, kindData: 2} {
		if h, err := parse(packet(t, k)); err != nil || h != (header{k, node}) {
			t.Errorf("%v, %v", h, err)
		}
	}
	if seq, timed := pingSeq(packet(t, kindPing)); seq != 0x59 || !timed {
		t.Errorf("ping with seq %d, timed %v", seq, timed)
	}
	if n := probeSize(packet(t, kindProbeReply)); n != 1500 {
		t.Errorf("size %d", n)
	}
	b := packet(t, kindData)
	d, err := parseData(b)
	if err != nil || d.seq != 0x65 || d.fragments != 1 || d.compressed || d.channel != 0 || wire.Target(d.part) != 3 {
		t.Errorf("%+v, %v", d, err)
	}
	var tok wire.Token
	if err := tok.Decode(d.part); err != nil || tok.From != 2 || tok.Ring != (wire.RingID{Rep: 1, Seq: 0x76}) {
		t.Errorf("%+v, %v", tok, err)
	}
	// What we make of the same is the same, but for the fields that nobody reads.
	again := make([]byte, len(b))
	putData(again, 2, 0x65, false, 1, 0)
	again[4] = b[4]
	copy(again[dataBytes:], d.part)
	if !bytes.Equal(again, b) {
		t.Errorf("%x\n%x", again, b)
	}
}

func TestPackets(t *testing.T) {
	b := make([]byte, pingBytes)
	putPing(b, 300, 12345678901, 777, false)
	if seq, timed := pingSeq(b); seq != 777 || timed || pongTime(b) != 12345678901 {
		t.Errorf("%d, %v, %v", seq, timed, pongTime(b))
	}
	for name, b := range map[string][]byte{
		"empty": {}, "short": {1, 0, 0, 1}, "version": {2, 0x81, 0, 1, 0, 0}, "type": {1, 0x85, 0, 1, 0, 0, 0},
		"ping": packet(t, kindPing)[:25], "probe": packet(t, kindProbeReply)[:8], "no data": packet(t, kindData)[:14],
	} {
		if h, err := parse(b); err == nil {
			t.Errorf("%s: %+v", name, h)
		}
	}
	for _, fragment := range [][2]byte{{2, 0}, {2, 3}, {255, 1}} {
		b := packet(t, kindData)
		b[11], b[12] = fragment[0], fragment[1]
		if d, err := parseData(b); err == nil {
			t.Errorf("%+v", d)
		}
	}
}

// TestFilter: what was seen is seen, whatever way the sequence goes.
func TestFilter(t *testing.T) {
	var f filter
	for _, x := range []struct {
		seq   uint16
		fresh bool
	}{
		{65000, true}, {65000, false}, {64990, true}, {64990, false}, {65001, true}, {65000, false},
		{65535, true}, {1, true}, {65535, false}, {1, false}, {2, true}, {3000, true}, {65001, false}, {64990, false}, {65535, false},
		{4000, true}, {4000, false}, {65535 - 90, true},
		{30000, true}, {4000, true}, {4000, false}, // far away is a new beginning
	} {
		if got := f.fresh(x.seq); got != x.fresh {
			t.Fatalf("%d: fresh %v", x.seq, got)
		}
		f.mark(x.seq)
	}
}

func TestCrypto(t *testing.T) {
	key := []byte(sharedKey)
	random := func(b []byte) { copy(b, "0123456789abcdef") }
	for _, cipher := range []string{"none", "aes128", "aes192", "aes256"} {
		for _, hash := range []string{"md5", "sha1", "sha256", "sha384", "sha512"} {
			c, err := NewCrypto(cipher, hash, key)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 50 {
				plain := bytes.Repeat([]byte{byte(n)}, n+1)
				b := make([]byte, len(plain)+Overhead)
				copy(b[c.front():], plain)
				b = b[:c.seal(b, len(plain), random)]
				if n == c.room(len(b)) || c.room(len(b)) < len(plain) || cipher != "none" && bytes.Contains(b, plain) && n > 2 {
					t.Fatalf("%s, %s: %d bytes in %d: %x", cipher, hash, len(plain), len(b), b)
				}
				if got, err := c.open(bytes.Clone(b)); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%s, %s: %x, %v", cipher, hash, got, err)
				}
				for i := range b {
					bad := bytes.Clone(b)
					bad[i] ^= 1
					if _, err := c.open(bad); err == nil {
						t.Fatalf("%s, %s: byte %d does not count", cipher, hash, i)
					}
					if _, err := c.open(bytes.Clone(b[:i])); err == nil {
						t.Fatalf("%s, %s: %d bytes are enough", cipher, hash, i)
					}
				}
			}
		}
	}
	for _, x := range [][3]string{{"aes256", "none", sharedKey}, {"des", "sha1", sharedKey}, {"aes256", "crc", sharedKey}, {"aes256", "sha1", "short"}, {"none", "sha1", ""}} {
		if _, err := NewCrypto(x[0], x[1], []byte(x[2])); err == nil || !strings.Contains(err.Error(), x[0]) {
			t.Errorf("%v: %v", x, err)
		}
	}
	if c, err := NewCrypto("none", "none", nil); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{Node: 1, Peers: map[wire.NodeID]netip.AddrPort{2: address(2)}, MTU: 1500}
	}
	if _, err := New(good()); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no node":    func(c *Config) { c.Node = 0 },
		"node":       func(c *Config) { c.Node = 65536 },
		"peer":       func(c *Config) { c.Peers[65536] = address(3) },
		"ourselves":  func(c *Config) { c.Peers[1] = address(1) },
		"no address": func(c *Config) { c.Peers[3] = netip.AddrPort{} },
		"mtu":        func(c *Config) { c.MTU = 575 },
		"mtu of v6":  func(c *Config) { c.Peers[3], c.MTU = netip.MustParseAddrPort("[fd00::3]:5405"), 1279 },
		"interval":   func(c *Config) { c.PingInterval = -1 },
	} {
		c := good()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// pair is a machine whose only peer, 2, is up.
func pair(t testing.TB, c *Crypto) (*Machine, *wire.Pool) {
	pool := wire.NewPool(MaxMessageBytes, 4)
	m, err := New(Config{Node: 1, Peers: map[wire.NodeID]netip.AddrPort{2: address(2)}, MTU: 1500, Crypto: c, Random: func(b []byte) { clear(b) }, Blocks: pool})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		now := time.Duration(i+1) * time.Second
		m.Tick(now)
		m.Reset()
		b := make([]byte, pingBytes+Overhead)
		putPing(b[c.front():], 2, now, 0, true)
		putHeader(b[c.front():], kindPong, 2)
		m.Receive(now, address(2), wire.Packet{Data: b[:c.seal(b, pingBytes, m.cfg.Random)]})
	}
	if len(m.Up()) != 1 {
		t.Fatal("the peer is not up")
	}
	m.Reset()
	return m, pool
}

// TestTurn: the sequence skips 0, and all peers are told where it is before they take what is
// new for something old.
func TestTurn(t *testing.T) {
	m, _ := pair(t, nil)
	untimed := 0
	for range 70000 {
		m.Send(4*time.Second, []wire.Datagram{{Data: packet(t, kindData)}})
		for _, d := range m.Ready() {
			switch h, _ := parse(d.Data); h.kind {
			case kindData:
				if got, _ := parseData(d.Data); got.seq == 0 {
					t.Fatal("a packet with seq 0")
				}
			case kindPing:
				untimed++
			}
		}
		m.Reset()
	}
	if untimed != 8 || m.seq != 70000-65535 {
		t.Errorf("%d pings, seq %d", untimed, m.seq)
	}
}

// TestAllocations: a message costs none, but for encryption's.
func TestAllocations(t *testing.T) {
	c, err := NewCrypto("aes256", "sha256", []byte(sharedKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, crypto := range map[string]*Crypto{"none": nil, "aes256": c} {
		m, _ := pair(t, crypto)
		list := []wire.Datagram{{Data: message(1, 0, 60000)}, {Data: message(1, 0, 1000)}}
		got := testing.AllocsPerRun(100, func() {
			m.Send(4*time.Second, list)
			m.Reset()
		})
		if got > 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// FuzzReceive: whatever comes, the machine stands it, and holds no more than it may.
func FuzzReceive(f *testing.F) {
	for k := range captured {
		f.Add(packet(f, k), packet(f, kindData))
	}
	first, second := make([]byte, 1000), make([]byte, 1000)
	putData(first, 2, 7, true, 2, 1)
	putData(second, 2, 7, true, 2, 2)
	f.Add(first, second)
	probe := make([]byte, 1472)
	putProbe(probe, 2, 1500)
	f.Add(probe, probe)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m, pool := pair(t, nil)
		for i, x := range [][]byte{a, b, a, b} {
			now := time.Duration(4+i) * time.Second
			p, ok := m.Receive(now, address(2), wire.Packet{Data: bytes.Clone(x)})
			if ok {
				if len(p.Data) == 0 || len(p.Data) > MaxMessageBytes {
					t.Errorf("a packet of %d bytes", len(p.Data))
				}
				p.Release()
			}
			if pool.Live() > maxPeerAssemblies || len(m.Ready()) > 1 {
				t.Errorf("%d blocks, %d packets", pool.Live(), len(m.Ready()))
			}
			m.Tick(now)
			m.Reset()
		}
		m.Tick(time.Hour)
		if pool.Live() != 0 {
			t.Errorf("%d blocks are held", pool.Live())
		}
	})
}

// FuzzAssemble: fragments of two packets, cut and ordered by the input, come out as they were,
// if at all.
func FuzzAssemble(f *testing.F) {
	f.Add(uint16(3000), uint16(1400), []byte{2, 1, 0})
	f.Add(uint16(65535), uint16(300), []byte{0, 1, 2, 3, 4, 0, 1})
	f.Add(uint16(100), uint16(100), []byte{0})
	f.Fuzz(func(t *testing.T, size, slice uint16, order []byte) {
		if slice == 0 {
			return
		}
		whole := message(2, 1, int(size))
		n := (len(whole) + int(slice) - 1) / int(slice)
		if n < 2 || n > maxFragments {
			return
		}
		s := assemblies{pool: wire.NewPool(MaxMessageBytes, 1)}
		put := func(i int) {
			d := data{seq: 9, fragments: n, fragment: i + 1, part: whole[i*int(slice) : min((i+1)*int(slice), len(whole))]}
			p, ok := s.add(1, 2, &d)
			if !ok {
				return
			}
			if !bytes.Equal(p.Data, whole) {
				t.Errorf("%d bytes came out wrong", len(p.Data))
			}
			p.Release()
		}
		for _, i := range order {
			put(int(i) % n)
		}
		for i := range n {
			put(i)
		}
		s.forget(2)
		if s.pool.Live() != 0 {
			t.Error("a block is held")
		}
	})
}

// FuzzOpen: no packet is authentic that was not sealed.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("aes256"), packet(f, kindData))
	f.Add([]byte("none"), packet(f, kindPing))
	f.Add([]byte("aes128"), make([]byte, 64))
	f.Fuzz(func(t *testing.T, name, b []byte) {
		c, err := NewCrypto(string(name), "sha256", []byte(sharedKey))
		if err != nil || c == nil {
			return
		}
		if got, err := c.open(b); err == nil {
			t.Errorf("%x is taken for authentic", got)
		}
	})
}
