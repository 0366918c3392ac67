package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// captured reads testdata/captured.txt: packets of real corosync nodes by their description.
func captured(t testing.TB) map[string][]byte {
	raw, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	zeros := regexp.MustCompile(`\[00\*(\d+)\]`)
	packets := map[string][]byte{}
	name := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			name = line[2:]
			continue
		}
		if line == "" {
			continue
		}
		line = zeros.ReplaceAllStringFunc(line, func(s string) string {
			n, _ := strconv.Atoi(zeros.FindStringSubmatch(s)[1])
			return strings.Repeat("00", n)
		})
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(name, err)
		}
		if !strings.HasSuffix(name, ", "+strconv.Itoa(len(b))+" bytes") {
			t.Fatalf("%s has %d bytes", name, len(b))
		}
		packets[strings.Split(name, ", ")[0]] = b
	}
	return packets
}

// reencode decodes a packet and encodes what it got.
func reencode(b []byte) ([]byte, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	switch h.Type {
	case TypeToken:
		var t Token
		err = t.Decode(b)
		return t.Append(nil), err
	case TypeMcast:
		m, err := ParseMcast(b)
		if err != nil {
			return nil, err
		}
		out := make([]byte, McastBytes, len(b))
		PutMcast(out, m.From, m.Seq, m.Order.Uint32(b[21:]), m.Ring, m.Recovery)
		return append(out, m.Payload...), nil
	case TypeMergeDetect:
		m, err := ParseMergeDetect(b)
		return m.Append(nil), err
	case TypeJoin:
		var j Join
		err = j.Decode(b)
		return j.Append(nil), err
	case TypeCommit:
		var c Commit
		err = c.Decode(b)
		return c.Append(nil), err
	default:
		c, err := ParseHoldCancel(b)
		return c.Append(nil), err
	}
}

// TestCapturedPackets: what corosync sent, we would have sent the same; but for the target,
// which is garbage in corosync's.
func TestCapturedPackets(t *testing.T) {
	packets := captured(t)
	if len(packets) != 12 {
		t.Errorf("%d captured packets", len(packets))
	}
	for name, b := range packets {
		got, err := reencode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := slices.Clone(b)
		copy(want[9:13], got[9:13])
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
	}
}

func TestCapturedToken(t *testing.T) {
	var tok Token
	if err := tok.Decode(captured(t)["orf_token 2 rtr"]); err != nil {
		t.Fatal(err)
	}
	ring := RingID{Rep: 1, Seq: 0x4c}
	if tok.From != 3 || tok.Seq != 0x6d || tok.TokenSeq != 0x98 || tok.Aru != 0x22 || tok.AruAddr != 3 ||
		tok.Ring != ring || tok.Backlog != 0xb74 || tok.FCC != 0x11 || tok.Retrans {
		t.Errorf("%+v", tok)
	}
	want := []Request{{ring, 0x23}, {ring, 0x26}}
	if !slices.Equal(tok.Requests(), want) {
		t.Errorf("requests %v, want %v", tok.Requests(), want)
	}
}

func TestCapturedMembership(t *testing.T) {
	packets := captured(t)
	var j Join
	if err := j.Decode(packets["leave"]); err != nil {
		t.Fatal(err)
	}
	if !j.Leave() || j.From != 3 || j.RingSeq != 0xd || !slices.Equal(j.Proc, []NodeID{1, 2}) || !slices.Equal(j.Failed, []NodeID{3}) {
		t.Errorf("leave %+v", j)
	}
	var c Commit
	if err := c.Decode(packets["commit idx=2 of 3"]); err != nil {
		t.Fatal(err)
	}
	old := RingID{1, 9}
	if c.Ring != (RingID{1, 0xd}) || c.Index != 2 || !slices.Equal(c.Members, []NodeID{1, 2, 3}) ||
		c.Slots[0] != (Slot{old, 14, 14, true}) || c.Slots[1] != (Slot{old, 14, 14, true}) {
		t.Errorf("commit %+v", c)
	}
}

// service takes the first service message out of a captured packet.
func service(t *testing.T, name string) (Stream, []byte) {
	m, err := ParseMcast(captured(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePacking(m.Order, m.Payload)
	if err != nil || p.Count != 1 {
		t.Fatal(p, err)
	}
	stream, at, err := ParseGroup(m.Order, p.Data)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseExec(m.Order, p.Data[at:])
	if err != nil || e.Size != len(p.Data)-at {
		t.Fatal(e, err)
	}
	return stream, p.Data[at:]
}

// TestCapturedServices: our service messages are those of corosync, byte for byte.
func TestCapturedServices(t *testing.T) {
	stream, b := service(t, "mcast votequorum nodeinfo")
	info, err := ParseNodeInfo(Little, b)
	if err != nil || stream != StreamService || info != (NodeInfo{1, 1, 3, NodeFirst}) {
		t.Errorf("nodeinfo %+v %v", info, err)
	}
	if got := AppendNodeInfo(nil, info); !bytes.Equal(got, b) {
		t.Errorf("nodeinfo %x, want %x", got, b)
	}

	stream, b = service(t, "mcast sync barrier")
	ring, err := ParseBarrier(Little, b)
	if err != nil || stream != StreamSync || ring != (RingID{1, 5}) {
		t.Errorf("barrier %v %v", ring, err)
	}
	if got := AppendBarrier(nil, ring); !bytes.Equal(got, b) {
		t.Errorf("barrier %x, want %x", got, b)
	}

	_, b = service(t, "mcast cpg procjoin")
	p, err := ParseProc(Little, b)
	if err != nil || string(p.Group) != "bench" || p.PID != 0x53d1 || p.Reason != ReasonJoin {
		t.Errorf("procjoin %+v %v", p, err)
	}
	if got := AppendProc(nil, FuncProcJoin, "bench", p.PID, ReasonJoin); !bytes.Equal(got, b) {
		t.Errorf("procjoin %x, want %x", got, b)
	}
}

func TestServiceSizes(t *testing.T) {
	for name, x := range map[string]struct{ got, want int }{
		"service_build": {len(AppendServiceBuild(nil, RingID{}, []int32{2, 5})), 552},
		"downlist":      {len(AppendDownList(nil, 3, []NodeID{1})), 1568},
		"joinlist":      {len(AppendJoinList(nil, "g", 1)), 24 + 144},
		"mcast":         {len(AppendGroupMcast(nil, "g", 1, 2)), 184},
		"version":       {len(AppendConfigVersion(nil, 7)), 336},
		"no version":    {len(AppendConfigVersion(nil, 0)), 328},
		"group a":       {len(AppendGroup(nil, StreamService)), ServiceGroupBytes},
		"group sync":    {len(AppendGroup(nil, StreamSync)), SyncGroupBytes},
	} {
		if x.got != x.want {
			t.Errorf("%s has %d bytes, want %d", name, x.got, x.want)
		}
	}
}

// TestConfigVersion: what is written is read, also behind other values; what is cut off is refused.
func TestConfigVersion(t *testing.T) {
	for _, v := range []uint64{0, 1, 1<<64 - 1} {
		if got, err := ParseConfigVersion(Little, AppendConfigVersion(nil, v)); got != v || err != nil {
			t.Errorf("%d is read as %d, %v", v, got, err)
		}
	}
	b := AppendConfigVersion(nil, 7)
	other := slices.Clone(b[valuesBytes:])
	copy(other[valueNameAt:], "totem.cluster_names")
	two := slices.Concat(b[:valuesBytes], other, b[valuesBytes:])
	two[valueCountAt] = 2
	if got, err := ParseConfigVersion(Little, two); got != 7 || err != nil {
		t.Errorf("behind another value: %d, %v", got, err)
	}
	for n := range len(two) {
		if got, err := ParseConfigVersion(Little, two[:n]); got != 0 || err == nil {
			t.Errorf("of %d bytes: %d, %v", n, got, err)
		}
	}
	b[valuesBytes+valueKindAt] = 6
	if got, err := ParseConfigVersion(Little, b); got != 0 || err != nil {
		t.Errorf("of another kind: %d, %v", got, err)
	}
}

// TestForeignByteOrder swaps a token field by field, as a big endian sender would have it.
func TestForeignByteOrder(t *testing.T) {
	b := slices.Clone(captured(t)["orf_token 2 rtr"])
	var want Token
	if err := want.Decode(b); err != nil {
		t.Fatal(err)
	}
	swap := func(at, n int) { slices.Reverse(b[at : at+n]) }
	swap(0, 2)
	for _, at := range []int{5, 9, 13, 17, 21, 25, 29, 41, 45, 49, 53} {
		swap(at, 4)
	}
	swap(33, 8)
	for i := range 2 {
		swap(57+16*i, 4)
		swap(61+16*i, 8)
		swap(69+16*i, 4)
	}
	var got Token
	if err := got.Decode(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// TestExtensions: what members of ours say behind the protocol's fields comes back as it was;
// what does not make sense is as if it were not there, as it may be somebody else's.
func TestExtensions(t *testing.T) {
	tokenBytes, commitBytes := extended(t)
	for _, b := range [][]byte{tokenBytes, commitBytes} {
		if got, err := reencode(b); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%v:\n got %x\nwant %x", err, got, b)
		}
	}
	var got Token
	if err := got.Decode(tokenBytes[:len(tokenBytes)-1]); err != nil || len(got.Marks.Received) != 0 {
		t.Errorf("a cut extension: %v, %+v", err, got.Marks)
	}
	var c Commit
	commitBytes[len(commitBytes)-20] = 0xff // more announcements than there can be members
	if err := c.Decode(commitBytes); err != nil || len(c.Announced) != 0 {
		t.Errorf("too many announcements: %v, %+v", err, c.Announced)
	}
}

// extended are a token with marks and a commit token with announcements.
func extended(t testing.TB) (tokenBytes, commitBytes []byte) {
	token := Token{From: 1, Ring: RingID{1, 5}, Seq: 9, Marks: Marks{Keeper: 2, Quiet: 1, Received: []Seq{9, 8, 7}, Heard: []uint16{8955, 0, 65507}}}
	token.Add(Request{Ring: token.Ring, Seq: 8})
	commit := Commit{From: 1, Ring: RingID{1, 5}, Members: []NodeID{1, 2}, Slots: make([]Slot, 2),
		Announced: []Announcement{{1, FeatureMarks}, {2, 6}}}
	tokenBytes, commitBytes = token.Append(nil), commit.Append(nil)
	if n := commit.Bytes(); n != len(commitBytes) {
		t.Errorf("commit token has %d bytes, not %d", len(commitBytes), n)
	}
	return tokenBytes, commitBytes
}

func TestRefused(t *testing.T) {
	tok := captured(t)["orf_token first"]
	change := func(at int, v byte) []byte {
		b := slices.Clone(tok)
		b[at] = v
		return b
	}
	var decoded Token
	for name, x := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":      {nil, ErrShort},
		"cut":        {tok[:56], ErrShort},
		"magic":      {change(0, 0x71), ErrMagic},
		"version":    {change(2, 2), ErrVersion},
		"type":       {change(3, 6), ErrType},
		"other type": {change(3, 1), ErrType},
		"rtr 31":     {change(53, 31), ErrCount},
		"rtr -1":     {append(slices.Clone(tok[:53]), 0xff, 0xff, 0xff, 0xff), ErrCount},
		"rtr absent": {change(53, 1), ErrShort},
		"node 0":     {change(5, 0), ErrNode},
	} {
		if err := decoded.Decode(x.b); err != x.want {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	var j Join
	join := slices.Clone(captured(t)["join 2 nodes"])
	binary.LittleEndian.PutUint32(join[17:], MaxMembers+1)
	if err := j.Decode(join); err != ErrCount {
		t.Errorf("join with too many nodes: %v", err)
	}
	if _, err := ParsePacking(Little, []byte{0, 0, 0, 0, 0, 0, 1, 0, 5, 0, 1, 2, 3, 4}); err != ErrLength {
		t.Errorf("packing: %v", err)
	}
}

func TestSeqWraps(t *testing.T) {
	for _, x := range []struct {
		a, b Seq
		less bool
	}{
		{1, 2, true}, {2, 1, false}, {5, 5, false},
		{0xFFFFFFF0, 5, true}, {5, 0xFFFFFFF0, false},
		{0x7FFFFFFF, 0x80000001, true}, {0xFFFFFFFF, 0, true}, {0, 0xFFFFFFFF, false},
	} {
		if x.a.Less(x.b) != x.less {
			t.Errorf("%x < %x is %v", uint32(x.a), uint32(x.b), !x.less)
		}
	}
}

func TestBlocks(t *testing.T) {
	p := NewPool(64, 1)
	b := p.Get()
	b.Retain()
	b.Release()
	if p.Live() != 1 {
		t.Error("released too early")
	}
	b.Release()
	if p.Live() != 0 || p.Get() != b {
		t.Error("block did not come back")
	}
	defer func() {
		if recover() == nil {
			t.Error("a second release went unnoticed")
		}
	}()
	b.Release()
	b.Release()
}

// FuzzDecode: no packet makes a decoder panic, and what decodes, decodes again from its
// encoding to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, b := range captured(f) {
		f.Add(b)
	}
	token, commit := extended(f)
	f.Add(token)
	f.Add(commit)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMcast(b); err == nil {
			if p, err := ParsePacking(m.Order, m.Payload); err == nil {
				fuzzServices(m.Order, p.Data)
			}
		}
		once, err := reencode(b)
		if err != nil {
			return
		}
		twice, err := reencode(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%x became %x, then %x, %v", b, once, twice, err)
		}
	})
}

// FuzzServices does the same for what is inside packets.
func FuzzServices(f *testing.F) {
	for _, b := range captured(f) {
		if m, err := ParseMcast(b); err == nil {
			if p, err := ParsePacking(m.Order, m.Payload); err == nil {
				f.Add(bool(m.Order), p.Data)
			}
		}
	}
	f.Add(false, AppendServiceBuild(AppendGroup(nil, StreamSync), RingID{1, 5}, []int32{0, 2, 3, 5}))
	f.Add(false, AppendJoinList(AppendGroup(nil, StreamService), "bench", 7))
	f.Add(false, AppendConfigVersion(AppendGroup(nil, StreamService), 7))
	f.Add(false, AppendGroupMcast(AppendGroup(nil, StreamService), "bench", 7, 8))
	f.Fuzz(func(_ *testing.T, big bool, b []byte) { fuzzServices(Order(big), b) })
}

func fuzzServices(o Order, b []byte) {
	_, at, err := ParseGroup(o, b)
	if err != nil {
		return
	}
	b = b[at:]
	_, _ = ParseExec(o, b)
	_, _ = ParseProc(o, b)
	_, _ = ParseGroupMcast(o, b)
	_, _ = ParseBarrier(o, b)
	_, _ = ParseNodeInfo(o, b)
	_, _ = ParseConfigVersion(o, b)
	var s ServiceBuild
	_ = s.Decode(o, b)
	if n, err := JoinListCount(b); err == nil {
		for i := range n {
			_, _ = JoinListEntry(o, b, i)
		}
	}
}
