package ringconf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
)

// votes says what the cluster's quorum is made of, and what of the file's quorum it is not made
// of.
func (s *Setup) votes(c *conf.Config, o *config.Options, self int, say func(string)) {
	q := &c.Quorum
	s.Votes, s.ExpectedVotes = 1, uint32(max(c.ExpectedVotes(), 1))
	if self >= 0 {
		s.Votes = uint32(c.Nodes[self].Votes)
	} else if len(c.Nodes) == 0 {
		s.Votes = uint32(q.Votes)
	}
	if o.Given("cluster-size") {
		s.Quorum, s.ExpectedVotes = cluster.All(o.ClusterSize), uint32(max(o.ClusterSize, 1))
		return
	}
	if q.Provider == "" {
		return
	}
	s.Quorum = s.quorum(c, say)
	for _, x := range []struct {
		name string
		set  bool
		text string
	}{
		{"votes", len(c.Nodes) == 0 && q.Votes != 1, "not available without a nodelist: each member has one vote"},
		{"device", q.Device != nil, "not available: only members have votes"},
	} {
		if x.set {
			say(fmt.Sprintf("%s: %s: %s", c.Where("quorum."+x.name), x.name, x.text))
		}
	}
}

// quorum is the file's, as far as it is available.
func (s *Setup) quorum(c *conf.Config, say func(string)) cluster.Quorum {
	f := &c.Quorum
	q := cluster.Quorum{
		Expected: c.ExpectedVotes(), Weights: s.weights(c, say), WaitForAll: f.WaitForAll, TwoNode: f.TwoNode,
		LastManStanding: f.LastManStanding, Window: f.LastManStandingWindow,
		AllowDownscale: f.AllowDownscale, Tracking: f.ExpectedVotesTracking,
	}
	off := func(name, why string) {
		say(fmt.Sprintf("%s: %s %s, and is off, as with corosync", c.Where("quorum."+name), name, why))
	}
	if q.TwoNode && q.Expected != 2 {
		q.TwoNode = false
		off("two_node", fmt.Sprintf("is for two votes, of which %d are expected", q.Expected))
	}
	if q.LastManStanding && len(q.Weights) > 0 {
		q.LastManStanding = false
		off("last_man_standing", "is for members with one vote each")
	}
	if f.AutoTieBreaker {
		q.TieBreaker, q.TieNodes = tieBreaker(f.AutoTieBreakerNode)
	}
	return q
}

// weights are the nodelist's votes, if there are others than 1.
func (s *Setup) weights(c *conf.Config, say func(string)) map[uint32]int {
	var w map[uint32]int
	for i, n := range c.Nodes {
		id := idOf(c, i, s.nodes[i])
		switch {
		case n.Votes == 1:
			continue
		case id == 0:
			say(fmt.Sprintf("%s: the node has no nodeid and no address, so nobody knows whose votes these are; give it a nodeid, on every node", c.Where(fmt.Sprintf("nodelist.node.%d.quorum_votes", i))))
			continue
		case w == nil:
			w = map[uint32]int{}
		}
		w[id] = n.Votes
	}
	return w
}

// tieBreaker reads auto_tie_breaker_node, which has been checked.
func tieBreaker(value string) (t cluster.TieBreaker, nodes []uint32) {
	switch value {
	case "lowest":
		return cluster.TieLowest, nil
	case "highest":
		return cluster.TieHighest, nil
	}
	for _, f := range strings.Fields(value) {
		if id, err := strconv.ParseUint(f, 10, 32); err == nil {
			nodes = append(nodes, uint32(id))
		}
	}
	return cluster.TieListed, nodes
}
