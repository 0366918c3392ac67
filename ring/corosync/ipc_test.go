package corosync

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// makeBuffer makes the files of a ring buffer as corosync does, and opens them.
func makeBuffer(t *testing.T, dataBytes int) string {
	t.Helper()
	dir := t.TempDir()
	header := make([]byte, bufferHeader)
	native.PutUint32(header[wordsAt:], uint32(dataBytes/wordBytes))
	copy(header[dataPathAt:], filepath.Join(dir, "x-data"))
	native.PutUint32(header[referencesAt:], 1)
	for name, b := range map[string][]byte{"x-header": header, "x-data": make([]byte, dataBytes)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "x")
}

func open(t *testing.T, name string) *buffer {
	t.Helper()
	b, err := openBuffer(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// TestBuffer has chunks of all lengths go through, across the end of the buffer, and fills it.
func TestBuffer(t *testing.T) {
	name := makeBuffer(t, 8192)
	in, out := open(t, name), open(t, name)
	if in.references() != 3 {
		t.Errorf("%d references, of the maker and two openings", in.references())
	}
	random := rand.New(rand.NewPCG(1, 2))
	var queue [][]byte
	for range 5000 {
		chunk := make([]byte, random.IntN(3000))
		for i := range chunk {
			chunk[i] = byte(random.Uint32())
		}
		cut := random.IntN(len(chunk) + 1)
		room := in.free() >= len(chunk)+chunkMargin
		if in.write(chunk[:cut], chunk[cut:]) != room {
			t.Fatalf("free %d, chunk of %d", in.free(), len(chunk))
		}
		if room {
			queue = append(queue, chunk)
		}
		if int(out.unread.value()) != len(queue) {
			t.Fatalf("%d chunks are counted, %d are there", out.unread.value(), len(queue))
		}
		for len(queue) > 0 && random.IntN(3) > 0 {
			if !out.unread.tryTake() {
				t.Fatal("nothing to take")
			}
			one, two, err := out.read()
			if err != nil || !bytes.Equal(append(slices.Clone(one), two...), queue[0]) {
				t.Fatalf("%d and %d bytes where %d were written: %v", len(one), len(two), len(queue[0]), err)
			}
			queue = queue[1:]
		}
		if random.IntN(3) == 0 {
			out.release()
		}
	}
}

// TestBufferRefused opens what is no ring buffer, and reads what is no chunk.
func TestBufferRefused(t *testing.T) {
	name := makeBuffer(t, 8192)
	b := open(t, name)
	if _, _, err := b.read(); !errors.Is(err, errNoChunk) {
		t.Errorf("a chunk that is not there: %v", err)
	}
	b.write(make([]byte, 10))
	native.PutUint32(b.data, 8192)
	if _, _, err := b.read(); !errors.Is(err, errNoChunk) {
		t.Errorf("a chunk as long as the buffer: %v", err)
	}
	native.PutUint32(b.header[wordsAt:], 2047)
	if _, err := openBuffer(name); !errors.Is(err, errBufferLayout) {
		t.Errorf("a length that is not the file's: %v", err)
	}
	short := makeBuffer(t, 4096)
	if err := os.Truncate(short+"-header", 100); err != nil {
		t.Fatal(err)
	}
	if _, err := openBuffer(short); !errors.Is(err, errBufferLayout) {
		t.Errorf("a short header: %v", err)
	}
	if _, err := openBuffer(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

// TestSemaphore waits for one that comes, and for one that does not.
func TestSemaphore(t *testing.T) {
	s := open(t, makeBuffer(t, 4096)).unread
	if err := s.take(10 * time.Millisecond); !errors.Is(err, errTimedOut) {
		t.Errorf("nothing there: %v", err)
	}
	const posts = 1000
	go func() {
		for range posts {
			s.post()
		}
	}()
	for range posts {
		if err := s.take(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if s.value() != 0 || *s.word != 0 {
		t.Errorf("word is %x", *s.word)
	}
}

// words is a message of corosync's: numbers that are aligned to eight bytes.
func words(header int, list ...any) []byte {
	b := make([]byte, header)
	for _, v := range list {
		switch v := v.(type) {
		case int:
			b = appendWord(b, uint32(v))
		case string:
			b = append(b, v...)
		case name:
			b = appendName(b, string(v))
		}
	}
	native.PutUint32(b, uint32(list[0].(int)))
	return b[:header+len(b)-header]
}

type name string

func eventBytes(id int, list ...any) []byte {
	b := words(0, append([]any{id, 0, 1}, list...)...)
	native.PutUint32(b[8:], uint32(len(b)))
	return b
}

// TestEvents reads events in one piece and cut in two anywhere.
func TestEvents(t *testing.T) {
	totem := eventBytes(eventTotem, 7, 40)
	totem = native.AppendUint32(totem, 2)
	totem = native.AppendUint32(native.AppendUint32(totem, 7), 8)
	totem = append(totem, 0, 0, 0, 0) // the list begins before the end of the struct, which is aligned
	list := []struct {
		b    []byte
		want event
	}{
		{eventBytes(eventDeliver, name("g"), 5, 7, 99, "hello"),
			event{id: eventDeliver, from: cpg.Member{Node: 7, PID: 99}, size: 5, one: []byte("hello")}},
		{eventBytes(eventPartial, name("g"), 500, 5, 7, 99, partMiddle, "hello"),
			event{id: eventPartial, from: cpg.Member{Node: 7, PID: 99}, size: 500, part: partMiddle, one: []byte("hello")}},
		{eventBytes(eventConfiguration, name("g"), 2, 1, 1, 1, 11, 0, 2, 22, 0, 3, 33, 5, 2, 22, 1),
			event{id: eventConfiguration, members: []cpg.Member{{Node: 1, PID: 11}, {Node: 2, PID: 22}},
				left: []cpg.Left{{Member: cpg.Member{Node: 3, PID: 33}, Reason: wire.ReasonProcDown}}}},
		{totem, event{id: eventTotem, ring: wire.RingID{Rep: 7, Seq: 40}, nodes: []wire.NodeID{7, 8}}},
	}
	for _, x := range list {
		for cut := range len(x.b) + 1 {
			var e event
			if err := e.parse(x.b[:cut], x.b[cut:]); err != nil {
				t.Fatalf("event %d, cut at %d: %v", x.want.id, cut, err)
			}
			same := e.from == x.want.from && e.size == x.want.size && e.part == x.want.part && e.ring == x.want.ring &&
				string(e.one)+string(e.two) == string(x.want.one) && slices.Equal(e.members, x.want.members) &&
				slices.Equal(e.left, x.want.left) && slices.Equal(e.nodes, x.want.nodes)
			if !same {
				t.Fatalf("event %d, cut at %d: %+v", x.want.id, cut, e)
			}
		}
		for cut := range len(x.b) - 4 {
			var e event
			if err := e.parse(x.b[:cut], nil); err == nil {
				t.Errorf("event %d: %d of %d bytes are taken for it", x.want.id, cut, len(x.b))
			}
		}
	}
}

// TestRequests compares requests with what corosync's own structures have, by their offsets.
func TestRequests(t *testing.T) {
	for what, x := range map[string]struct {
		b    []byte
		size int
		at   map[int]uint32
	}{
		"connect":    {appendConnect(nil), 24, map[int]uint32{0: 0xFFFFFFFF, 16: 1 << 20}},
		"join":       {appendJoin(nil, "grp", 77), 168, map[int]uint32{0: 0, 16: 3, 152: 77, 160: 1}},
		"leave":      {appendLeave(nil, "grp", 77), 160, map[int]uint32{0: 1, 16: 3, 152: 77}},
		"membership": {appendMembership(nil, "grp"), 152, map[int]uint32{0: 3, 16: 3}},
		"mcast":      {append(appendMcast(nil, 5), "hello"...), 45, map[int]uint32{0: 2, 24: 2, 32: 5}},
		"partial":    {append(appendPartial(nil, 500, 5, 3), "hello"...), 61, map[int]uint32{0: 12, 24: 2, 32: 500, 40: 5, 48: 3}},
		"get":        {appendGet(nil, "a.b"), 288, map[int]uint32{0: 2, 280: 1024}},
	} {
		x.at[8] = uint32(x.size)
		if len(x.b) != x.size {
			t.Errorf("%s has %d bytes", what, len(x.b))
			continue
		}
		for at, want := range x.at {
			if got := native.Uint32(x.b[at:]); got != want {
				t.Errorf("%s: %d at %d, not %d", what, got, at, want)
			}
		}
	}
}

func TestOffer(t *testing.T) {
	b := make([]byte, offerBytes)
	native.PutUint32(b[24:], sharedMemory)
	copy(b[40:], "/dev/shm/a")
	copy(b[40+pathBytes:], "/dev/shm/b")
	copy(b[40+2*pathBytes:], "/dev/shm/c")
	if o, err := parseOffer(b); err != nil || o != (offer{"/dev/shm/a", "/dev/shm/b", "/dev/shm/c"}) {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parseOffer(b[:100]); !errors.Is(err, errMalformed) {
		t.Errorf("short: %v", err)
	}
	native.PutUint32(b[24:], 0)
	if _, err := parseOffer(b); !errors.Is(err, errNotShared) {
		t.Errorf("sockets: %v", err)
	}
	for code, want := range map[int32]string{-13: "access denied (11)", -11: "try again (6)", -24: "no resources (18)", -5: "input/output error"} {
		native.PutUint32(b[16:], uint32(code))
		if _, err := parseOffer(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %d: %v, expected %q in it", code, err, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	if _, err := parseAnswer(words(0, 0, 0, 14)); !errors.Is(err, statusExist) || err.Error() != "exist (14)" {
		t.Errorf("%v", err)
	}
	b, err := parseAnswer(words(0, 0, 0, 1, 1, 5, 55, 0))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := parseMembers(b); err != nil || !slices.Equal(list, []cpg.Member{{Node: 5, PID: 55}}) {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := parseMembers(b[:len(b)-1]); err == nil {
		t.Error("a short list is taken")
	}
	value := binary.NativeEndian.AppendUint64(nil, 6)
	value = append(value, valueString, 0, 0, 0, 0, 0, 0, 0)
	if s, err := parseString(append(value, "r(0) \x00"...)); err != nil || s != "r(0) " {
		t.Errorf("%q, %v", s, err)
	}
}

// TestAssemble puts messages together from their parts, and forgets those that make no sense.
func TestAssemble(t *testing.T) {
	c := &Client{partials: map[cpg.Member]*partial{}}
	a, b := cpg.Member{Node: 1, PID: 1}, cpg.Member{Node: 2, PID: 1}
	part := func(from cpg.Member, kind uint32, data string) string {
		e := event{id: eventPartial, from: from, part: kind, size: 6, one: []byte(data)}
		return string(c.assemble(&e))
	}
	got := part(a, partFirst, "aa") + part(b, partFirst, "b") + part(a, partMiddle, "AA") + part(b, partLast, "bbbbb")
	if got += part(a, partLast, "aa"); got != "bbbbbbaaAAaa" {
		t.Errorf("got %q", got)
	}
	got = part(a, partLast, "aa") + part(a, partFirst, "aaaaa") + part(a, partMiddle, "aaaaa") + part(a, partLast, "a") +
		part(a, partFirst, "a") + part(a, partLast, "a") + part(a, partFirst, "aaaaaaa")
	if got != "" || len(c.partials) != 0 {
		t.Errorf("got %q, %d are kept", got, len(c.partials))
	}
}

func FuzzEvent(f *testing.F) {
	f.Add(eventBytes(eventDeliver, name("g"), 5, 7, 99, "hello"), 20)
	f.Add(eventBytes(eventPartial, name("g"), 500, 5, 7, 99, partMiddle, "hello"), 200)
	f.Add(eventBytes(eventConfiguration, name("g"), 2, 1, 1, 1, 11, 0, 2, 22, 0, 3, 33, 5, 2, 22, 1), 0)
	f.Add(eventBytes(eventTotem, 7, 40, 1, 1), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = max(0, min(cut, len(b)))
		var whole, pieces event
		err := whole.parse(b, nil)
		if err2 := pieces.parse(b[:cut], b[cut:]); (err == nil) != (err2 == nil) {
			t.Fatalf("in one piece %v, in two %v", err, err2)
		}
		if err == nil && (whole.from != pieces.from || !bytes.Equal(append(slices.Clone(pieces.one), pieces.two...), whole.one)) {
			t.Fatalf("in one piece %+v, in two %+v", whole, pieces)
		}
		_, _ = parseMembers(b) // must not panic, as the others
		_, _ = parseString(b)
		_, _ = parseAnswer(b)
		_, _ = parseOffer(append(b, make([]byte, offerBytes)...))
	})
}
