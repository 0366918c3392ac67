package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	secret = []byte(strings.Repeat("a shared key ", 20))
	one    = netip.MustParseAddrPort("192.0.2.1:5405")
	two    = netip.MustParseAddrPort("192.0.2.2:5405")
	epoch  = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
)

func sealer(t testing.TB, at netip.AddrPort, later time.Duration) *Sealer {
	s, err := NewSealer(secret, "west", at, NewInstance(epoch.Add(later), [6]byte{1, 2, 3, 4, 5, 6}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a copy.
func open(o *Opener, now time.Duration, from netip.AddrPort, b []byte) (string, error) {
	got, err := o.Open(now, from, bytes.Clone(b))
	return string(got), err
}

func TestSeal(t *testing.T) {
	o := NewOpener(secret, "west")
	a, b := sealer(t, one, 0), sealer(t, two, 0)
	text := strings.Repeat("what members say ", 80)
	for n := range 100 {
		for s, from := range map[*Sealer]netip.AddrPort{a: one, b: two} {
			sealed := s.Seal([]byte("before"), []byte(text[:n*10]))[len("before"):]
			if len(sealed) != n*10+Overhead || n > 0 && bytes.Contains(sealed, []byte(text[:n*10])) {
				t.Fatalf("%d bytes: %x", len(sealed), sealed)
			}
			if got, err := open(o, 1, from, sealed); err != nil || got != text[:n*10] {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
}

// TestRefused: no bit and no byte can be changed, and no packet can come from elsewhere, or be of
// another cluster or key; and nothing of that keeps the next packet from being taken.
func TestRefused(t *testing.T) {
	o, s := NewOpener(secret, "west"), sealer(t, one, 0)
	for round := range 2 { // of a sender that is unknown, and of one that is known
		sealed := s.Seal(nil, []byte("text"))
		for i := range len(sealed) * 8 {
			bad := bytes.Clone(sealed)
			bad[i/8] ^= 1 << (i % 8)
			if got, err := open(o, 1, one, bad); err == nil {
				t.Errorf("bit %d does not count: %q", i, got)
			}
		}
		for n := range len(sealed) {
			if got, err := open(o, 1, one, sealed[:n]); err == nil {
				t.Errorf("%d bytes are enough: %q", n, got)
			}
		}
		for _, from := range []netip.AddrPort{two, netip.AddrPortFrom(one.Addr(), 5404)} {
			if _, err := open(o, 1, from, sealed); !errors.Is(err, ErrNotAuthentic) {
				t.Errorf("from %v: %v", from, err)
			}
		}
		for name, other := range map[string]*Opener{"cluster": NewOpener(secret, "east"), "key": NewOpener(secret[1:], "west")} {
			if _, err := open(other, 1, one, sealed); !errors.Is(err, ErrNotAuthentic) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		if _, err := open(o, 1, one, bytes.Repeat([]byte{0x70, 0xc0}, 50)); !errors.Is(err, ErrForeign) {
			t.Error(err)
		}
		if len(o.senders) != round {
			t.Errorf("%d senders are known", len(o.senders))
		}
		if got, err := open(o, 1, one, sealed); err != nil || got != "text" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestReplay: each packet is taken once, in any order within the window.
func TestReplay(t *testing.T) {
	o, s := NewOpener(secret, "west"), sealer(t, one, 0)
	var list [][]byte
	for range 3 * windowPlaces {
		list = append(list, s.Seal(nil, nil))
	}
	taken := func(i int) bool {
		t.Helper()
		_, err := open(o, 1, one, list[i])
		if err != nil && !errors.Is(err, ErrReplayed) {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, x := range []struct {
		i     int
		taken bool
	}{
		{10, true}, {10, false}, {9, true}, {0, true}, {9, false}, {0, false}, {11, true},
		{10 + windowPlaces, true}, {10, false}, {11, false}, {12, true}, {12, false},
		{3*windowPlaces - 1, true}, {12, false}, {11 + windowPlaces, false}, {2 * windowPlaces, true}, {2*windowPlaces - 1, false}, {2*windowPlaces + 1, true}, {2 * windowPlaces, false},
	} {
		if got := taken(x.i); got != x.taken {
			t.Errorf("packet %d: taken %v", x.i, got)
		}
	}
}

// TestRestart: a sender that has begun anew is heard at once, and what was recorded before is not
// heard any more; one whose clock was set back is heard after it has been silent.
func TestRestart(t *testing.T) {
	o, first, second := NewOpener(secret, "west"), sealer(t, one, 0), sealer(t, one, time.Second)
	old := [][]byte{first.Seal(nil, []byte("1")), first.Seal(nil, []byte("2"))}
	if got, err := open(o, 0, one, old[0]); got != "1" {
		t.Error(err)
	}
	began := second.Seal(nil, []byte("3"))
	if got, err := open(o, 1, one, began); got != "3" {
		t.Error(err)
	}
	if bytes.Equal(old[0][headerBytes:], began[headerBytes:]) {
		t.Error("two runs have one key")
	}
	for _, b := range old {
		if _, err := open(o, 2, one, b); !errors.Is(err, ErrOld) {
			t.Error(err)
		}
	}
	if got, err := open(o, ForgetAfter, one, second.Seal(nil, []byte("4"))); got != "4" {
		t.Error(err)
	}
	if _, err := open(o, 2*ForgetAfter-1, one, old[1]); !errors.Is(err, ErrOld) {
		t.Error(err)
	}
	if got, err := open(o, 2*ForgetAfter, one, old[1]); got != "2" {
		t.Error(err)
	}
}

// TestSenders: their number is bounded, and those that speak stay.
func TestSenders(t *testing.T) {
	o := NewOpener(secret, "west")
	speaks := sealer(t, one, 0)
	for i := range 2 * maxSenders {
		now := time.Duration(i + 1)
		if _, err := open(o, now, one, speaks.Seal(nil, nil)); err != nil {
			t.Fatal(err)
		}
		at := netip.AddrPortFrom(two.Addr(), uint16(i+1))
		if _, err := open(o, now, at, sealer(t, at, 0).Seal(nil, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.senders) != maxSenders || o.senders[one] == nil {
		t.Errorf("%d senders, %v", len(o.senders), o.senders[one])
	}
}

// TestKnownAnswer is a packet as documented, made by another implementation.
func TestKnownAnswer(t *testing.T) {
	const want = "51505331" + "016f6435cc88" + "010203040506" + "0000000000000001" + "b389bc08" + "71cbde6c951066c665550f2f4f8b6a12"
	if got := hex.EncodeToString(sealer(t, one, 0).Seal(nil, []byte("text"))); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAllocations(t *testing.T) {
	o, s := NewOpener(secret, "west"), sealer(t, one, 0)
	plain, buf := make([]byte, 1400), make([]byte, 0, 2000)
	got := testing.AllocsPerRun(100, func() {
		if _, err := o.Open(1, one, s.Seal(buf, plain)); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations a packet", got)
	}
}

// FuzzOpen: nothing is authentic that was not sealed, and what was is taken once, whatever comes
// before.
func FuzzOpen(f *testing.F) {
	s := sealer(f, one, 0)
	f.Add(s.Seal(nil, []byte("text")), []byte("more"))
	f.Add([]byte("QPS1"), []byte{})
	f.Add(bytes.Repeat([]byte("QPS1"), 20), []byte{1})
	f.Fuzz(func(t *testing.T, b, text []byte) {
		o, s := NewOpener(secret, "west"), sealer(t, one, time.Hour)
		if got, err := o.Open(1, two, bytes.Clone(b)); err == nil {
			t.Errorf("%x is taken", got)
		}
		sealed := s.Seal(nil, text)
		if got, err := open(o, 1, one, sealed); err != nil || got != string(text) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := open(o, 1, one, sealed); !errors.Is(err, ErrReplayed) {
			t.Error(err)
		}
		for i := range min(len(b), len(sealed)) {
			bad := bytes.Clone(sealed)
			bad[i] ^= b[i]
			if _, err := o.Open(1, one, bad); err == nil {
				t.Errorf("%x is taken for %x", bad, sealed)
			}
		}
	})
}
