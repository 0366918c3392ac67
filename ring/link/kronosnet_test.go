package link

import (
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const knetPort = 15409

func openKnet(t *testing.T, self int, key string, change ...func(*Config)) (*Kronosnet, *[]string) {
	t.Helper()
	var said []string
	cfg := Config{Report: func(_ bool, text string) { said = append(said, text) }}
	among(self, Knet, knetPort)(&cfg)
	cfg.Node = wire.NodeID(self)
	cfg.Knet = KnetConfig{PingInterval: 20 * time.Millisecond, PingTimeout: 500 * time.Millisecond, PongCount: 1, MTU: 1500}
	if key != "" {
		cfg.Crypto = Crypto{Cipher: "aes256", Hash: "sha256", Key: []byte(strings.Repeat(key, 128))}
	}
	for _, f := range change {
		f(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*Kronosnet), &said
}

// turn runs links until something is so, and gives what each of them received.
func turn(t *testing.T, what string, done func(got [][][]byte) bool, links ...*Kronosnet) [][][]byte {
	t.Helper()
	got := make([][][]byte, len(links))
	var packets [16]wire.Packet
	deadline := time.Now().Add(10 * time.Second)
	for !done(got) {
		if time.Now().After(deadline) {
			for _, l := range links {
				t.Logf("%+v", l.Stats())
			}
			t.Fatal("timed out: ", what)
		}
		for i, l := range links {
			l.Tick()
			for n := l.Recv(packets[:]); n > 0; n = l.Recv(packets[:]) {
				for _, p := range packets[:n] {
					got[i] = append(got[i], append([]byte(nil), p.Data...))
					p.Release()
				}
			}
		}
		waitAny(links, 5)
	}
	return got
}

func waitAny(links []*Kronosnet, ms int) {
	for _, l := range links {
		if wait(l, ms) {
			return
		}
	}
}

// TestKnetExchange: packets of all sizes come in order, with a key and without, as one buffer
// where the kernel can cut it.
func TestKnetExchange(t *testing.T) {
	for _, key := range []string{"", "k"} {
		a, saidA := openKnet(t, 1, key)
		b, _ := openKnet(t, 2, key)
		c, _ := openKnet(t, 3, key, func(c *Config) { c.NoSegmentation, c.NoCoalescing, c.Knet.MTU = true, true, 0 })
		turn(t, "links are up", func([][][]byte) bool { return len(a.up) == 2 && len(b.up) == 2 && len(c.up) == 2 }, a, b, c)
		var send []wire.Datagram
		for i := range 100 {
			send = append(send, wire.Datagram{Data: mcast(1, wire.Seq(i+1), []int{1410, 1, 1410, 9000, 65000}[i%5])})
		}
		calls := a.Stats().SendCalls
		a.Send(send)
		calls = a.Stats().SendCalls - calls
		got := turn(t, "all packets", func(got [][][]byte) bool { return len(got[0]) >= 100 && len(got[1]) >= 100 }, b, c)
		for _, list := range got {
			for i, p := range list {
				if string(p) != string(send[i].Data) {
					t.Fatalf("packet %d has %d bytes, not %d", i, len(p), len(send[i].Data))
				}
			}
		}
		if a.tx.segment && calls > 60 {
			t.Errorf("%d calls for %d packets", calls, a.Stats().Sent)
		}
		if s := a.Stats(); s.SendErrors != 0 || s.Segmentation != "UDP_SEGMENT" && a.tx.segment {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(strings.Join(*saidA, "\n"), "the link to node 2 at 127.0.0.2:15409 is up") {
			t.Errorf("it said %q", *saidA)
		}
		for _, l := range []*Kronosnet{a, b, c} {
			l.Close()
		}
	}
}

// TestKnetOtherKey: who has another key, or none, is not heard; it is said once, and stands in
// the statistics.
func TestKnetOtherKey(t *testing.T) {
	a, said := openKnet(t, 1, "a")
	b, _ := openKnet(t, 2, "b")
	c, _ := openKnet(t, 3, "")
	turn(t, "packets are refused", func([][][]byte) bool { return a.Stats().Knet.NotAuthentic > 20 }, a, b, c)
	if len(a.up)+len(b.up)+len(c.up) != 0 {
		t.Error("a link is up")
	}
	if len(*said) != 1 || !strings.Contains((*said)[0], "not authentic") || !strings.Contains((*said)[0], "127.0.0.") {
		t.Errorf("it said %q", *said)
	}
}

// TestKnetDown: a peer that has gone is down after the timeout, and what is sent to it is
// counted.
func TestKnetDown(t *testing.T) {
	a, said := openKnet(t, 1, "", func(c *Config) { c.Knet.PingTimeout = 50 * time.Millisecond })
	b, _ := openKnet(t, 2, "")
	turn(t, "the link is up", func([][][]byte) bool { return len(a.up) == 1 && len(b.up) == 1 }, a, b)
	b.Close()
	turn(t, "the link is down", func([][][]byte) bool { return len(a.up) == 0 }, a)
	a.Send([]wire.Datagram{{To: 2, Data: token(1)}, {Data: join(1)}})
	if n := a.Stats().Knet.NoPeer; n != 2 {
		t.Errorf("%d packets were not sent", n)
	}
	if !strings.Contains(strings.Join(*said, "\n"), "is down") {
		t.Errorf("it said %q", *said)
	}
}
