package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// patient is a ring and a link that say what a test has them say.
type patient struct {
	link.Link
	strangers []cpg.Stranger
	starving  wire.NodeID
	token     time.Duration // was here; 0: there is no ring
	seen      link.Trouble
	stats     link.Stats
	repeats   int
}

func (p *patient) Self() cpg.Member                 { return cpg.Member{Node: 7, PID: 1} }
func (p *patient) Strangers() []cpg.Stranger        { return p.strangers }
func (p *patient) Starving() (wire.NodeID, bool)    { return p.starving, p.starving != 0 }
func (p *patient) LastToken() (time.Duration, bool) { return p.token, p.token != 0 }
func (p *patient) Trouble() link.Trouble            { return p.seen }
func (p *patient) Stats() link.Stats                { return p.stats }
func (p *patient) Repeat()                          { p.repeats++ }
func (p *patient) Address() netip.AddrPort          { return netip.MustParseAddrPort("10.1.1.7:5405") }
func (p *patient) Peer(n wire.NodeID) (netip.AddrPort, bool) {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(n)}), 5405), n < 100
}

// TestTroubles: each trouble is told with what to do, as often as it ought to be.
func TestTroubles(t *testing.T) {
	var out bytes.Buffer
	p := &patient{}
	x := &troubles{log: slog.New(slog.NewTextHandler(&out, nil)), ring: p, link: p, name: "east", everyone: "239.1.2.3 port 5405", multicast: true,
		nodelist: map[wire.NodeID]netip.AddrPort{4: {}}, expected: 3}
	now := time.Second
	expect := func(during time.Duration, times int, words ...string) {
		t.Helper()
		out.Reset()
		for end := now + during; now < end; now += time.Second {
			x.look(now)
		}
		got := out.String()
		if n := strings.Count(got, "\n"); n != times {
			t.Errorf("%d lines, %d expected: %s", n, times, got)
		}
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("no %q in %s", w, got)
			}
		}
	}
	expect(25*time.Second, 0)
	expect(2*time.Minute, 1, "nothing has come from any other node", "the cluster has 3 votes", "--bindnetaddr", "IGMP")
	p.stats.Received = 1

	p.seen.Twins, p.seen.Twin = 5, netip.MustParseAddrPort("10.1.1.9:5405")
	expect(time.Minute, 1, "node id of this one, 7", "5 packets", "10.1.1.9:5405", "10.1.1.7:5405", "nodelist")
	p.seen.Twins = 8
	expect(time.Minute, 1, "3 packets")
	expect(2*time.Minute, 0)

	p.seen.Deaf = []netip.AddrPort{netip.MustParseAddrPort("10.1.1.2:5405")}
	expect(2*time.Minute, 2, "239.1.2.3 port 5405 from 10.1.1.2:5405 do not reach this node", "IGMP")
	p.seen.Deaf = nil
	p.seen.Foreign, p.seen.Stranger = 2, netip.MustParseAddrPort("10.1.1.3:5405")
	expect(2*time.Minute, 1, "2 packets", "10.1.1.3:5405", "--mcastport")

	p.strangers = []cpg.Stranger{{Node: 2, Group: "west"}, {Node: 4, Group: "pacemaker"}}
	expect(strangeTime-time.Second, 0)
	expect(3*time.Minute, 1, "node 2 (10.1.1.2:5405)", `of cluster \"east\", but members of group \"west\"`, "--mcastaddr")
	p.strangers = nil
	expect(time.Minute, 0)
	p.strangers = []cpg.Stranger{{Node: 200}}
	expect(3*time.Minute, 1, "node 200 is in the ring and has no broker")

	p.starving = 3
	expect(time.Second, 1, "do not reach node 3 (10.1.1.3:5405)", "by unicast, too", "IGMP")
	if p.repeats == 0 {
		t.Error("nothing was done")
	}
	p.starving = 7
	expect(tellEvery, 1, "do not reach this node")
	p.starving = 0

	p.token, x.token = now, 10*time.Second
	expect(15*time.Second, 0) // it is off
	p.token, x.warning = now, 7*time.Second
	if next := x.look(now + time.Second); next > p.token+x.warning {
		t.Errorf("it wants to look at %v, and the token is late at %v", next, p.token+x.warning)
	}
	expect(7*time.Second, 0)
	expect(tellEvery, 1, "the token has not been here for 7s; after 10s", "--token")
	p.token = now
	expect(5*time.Second, 0)
}
