package cpg_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// TestLeaving: with allow_downscale who leaves tells votequorum; and what is expected by then is told.
func TestLeaving(t *testing.T) {
	for _, downscale := range []bool{false, true} {
		net := ringtest.New(1)
		votes := func(c *cpg.Config) { c.Votes, c.ExpectedVotes, c.AllowDownscale = 1, 3, downscale }
		one, two := start(t, net, 1, votes), start(t, net, 2, votes)
		awaitView(t, net, 2, one, two)
		sent := map[string]bool{}
		watch := func(name string, info wire.NodeInfo) {
			want := wire.AppendNodeInfo(wire.AppendGroup(nil, wire.StreamService), info)
			before := net.Trace
			net.Trace = func(now time.Duration, from, to wire.NodeID, data []byte) {
				sent[name] = sent[name] || bytes.Contains(data, want)
				if before != nil {
					before(now, from, to, data)
				}
			}
		}
		watch("goodbye", wire.NodeInfo{Node: 2, Votes: 1, Expected: 3, Flags: wire.NodeLeaving})
		watch("news", wire.NodeInfo{Node: 1, Votes: 1, Expected: 2, Flags: wire.NodeFirst})
		two.Machine.Leave(net.Now())
		one.Machine.Expect(2)
		two.Do()
		awaitView(t, net, 1, one)
		net.Run(time.Second)
		if sent["goodbye"] != downscale || !sent["news"] {
			t.Errorf("allow_downscale %v: %v", downscale, sent)
		}
		clean := func(v *cpg.View) bool { return len(v.Left) == 1 && v.Left[0].Clean() }
		if !slices.ContainsFunc(one.views, clean) {
			t.Error("it has not left cleanly")
		}
	}
}
