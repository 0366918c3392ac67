package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// troubles looks at what the ring and its link count, and tells people what to put right.
type troubles struct {
	log  *slog.Logger
	ring troubled
	link link.Link

	name      string // of the cluster
	everyone  string // where what is for everyone goes, as "239.192.1.2 port 5405"
	multicast bool   // it goes by multicast, or broadcast
	nodelist  map[wire.NodeID]netip.AddrPort
	expected  int // votes of the cluster
	// After token without one the ring takes it for lost; that it has not come is told after warning of
	// it, if that is not 0.
	token, warning time.Duration

	next    time.Duration
	told    map[string]time.Duration      // when, by what it is about
	begin   time.Duration                 // below 0: others have been heard, or missed
	twins   uint64                        // told
	foreign uint64                        // told
	strange map[wire.NodeID]time.Duration // since when a node has no process of ours; 0: told
}

// troubled is a ring as far as it can be in trouble.
type troubled interface {
	Self() cpg.Member
	Strangers() []cpg.Stranger
	Starving() (wire.NodeID, bool)
	LastToken() (time.Duration, bool)
}

const (
	lookEvery   = 5 * time.Second
	tellEvery   = time.Minute
	strangeTime = 15 * time.Second // a broker that starts is in the group much sooner
	lonelyTime  = 30 * time.Second
)

const snooping = "The likely cause is a switch, or a bridge of virtual machines, with IGMP snooping and no querier: " +
	"turn on a querier in this network, or turn snooping off; or a firewall that drops multicast. Transport udpu in corosync.conf does without multicast"

// look is called with every round. It returns when it wants to be called next.
func (t *troubles) look(now time.Duration) (next time.Duration) {
	if node, yes := t.ring.Starving(); yes && t.multicast {
		t.starve(now, node)
	}
	late := t.late(now)
	if now < t.next {
		return cluster.Soonest(t.next, late)
	}
	if t.begin == 0 {
		t.begin = now
	}
	t.next = now + lookEvery
	seen := t.link.Trouble()
	t.twin(now, &seen)
	t.deaf(now, &seen)
	t.foreigners(now, &seen)
	t.strangers(now)
	t.lonely(now)
	return cluster.Soonest(t.next, late)
}

// late tells that the token has not been here for long, which shows networks and hosts that are nearly too
// slow for the ring's timeout. It returns when it wants to look, if no token comes; 0: it does not.
func (t *troubles) late(now time.Duration) time.Duration {
	at, ok := t.ring.LastToken()
	if !ok || t.warning == 0 {
		return 0
	}
	if due := at + t.warning; now < due {
		return due
	}
	t.say(now, "late", fmt.Sprintf("the token has not been here for %v; after %v the ring goes on without those that do not answer. A host that stands still or has too much to do, or a network that loses packets; a longer token timeout (--token, or totem.token on every node) stands more",
		(now-at).Truncate(time.Millisecond), t.token))
	return 0
}

// say tells something once a minute at the most.
func (t *troubles) say(now time.Duration, about, text string) bool {
	if at, told := t.told[about]; told && now-at < tellEvery {
		return false
	}
	if t.told == nil {
		t.told = map[string]time.Duration{}
	}
	t.told[about] = now
	t.log.Log(context.Background(), logging.Warning, text)
	return true
}

// who names a node.
func (t *troubles) who(node wire.NodeID) string {
	if at, known := t.link.Peer(node); known {
		return fmt.Sprintf("node %d (%s)", node, at)
	}
	return fmt.Sprintf("node %d", node)
}

func (t *troubles) twin(now time.Duration, seen *link.Trouble) {
	if seen.Twins == t.twins {
		return
	}
	if t.say(now, "twin", fmt.Sprintf("another node has the node id of this one, %d: %d packets with it have come from %s, and this node is at %s; give each a nodeid of its own in the nodelist of corosync.conf (or as totem.nodeid), or leave it out for one made of --bindnetaddr",
		t.ring.Self().Node, seen.Twins-t.twins, seen.Twin, t.link.Address())) {
		t.twins = seen.Twins
	}
}

// starve: multicasts do not come through. They go by unicast, too, from now on.
func (t *troubles) starve(now time.Duration, node wire.NodeID) {
	t.link.Repeat()
	who := "do not reach " + t.who(node)
	if node == t.ring.Self().Node {
		who = "do not reach this node"
	}
	t.say(now, "starving", fmt.Sprintf("packets to %s %s, however often they are repeated, though the token passes: they go to each node by unicast, too, from now on. %s", t.everyone, who, snooping))
}

func (t *troubles) deaf(now time.Duration, seen *link.Trouble) {
	if len(seen.Deaf) == 0 {
		return
	}
	var list []string
	for _, a := range seen.Deaf {
		list = append(list, a.String())
	}
	t.say(now, "deaf", fmt.Sprintf("packets to %s from %s do not reach this node, what they send to it alone does. %s", t.everyone, strings.Join(list, ", "), snooping))
}

func (t *troubles) foreigners(now time.Duration, seen *link.Trouble) {
	if seen.Foreign == t.foreign {
		return
	}
	if t.say(now, "foreign", fmt.Sprintf("%d packets to %s are not those of a ring that this node can be in, the last from %s: a corosync before version 3 or with another transport, encryption, or another program; give this ring another --mcastport or --mcastaddr, or all its nodes the same transport and encryption",
		seen.Foreign-t.foreign, t.everyone, seen.Stranger)) {
		t.foreign = seen.Foreign
	}
}

// strangers tells once of each node that has been in the ring for a while without a process in the
// group, unless it is in the nodelist: then it is meant to be there.
func (t *troubles) strangers(now time.Duration) {
	list := t.ring.Strangers()
	for node := range t.strange {
		if !slices.ContainsFunc(list, func(x cpg.Stranger) bool { return x.Node == node }) {
			delete(t.strange, node)
		}
	}
	for _, x := range list {
		since, known := t.strange[x.Node]
		if _, meant := t.nodelist[x.Node]; meant || known && since == 0 {
			continue
		}
		if !known {
			if t.strange == nil {
				t.strange = map[wire.NodeID]time.Duration{}
			}
			t.strange[x.Node] = now
			continue
		}
		if now-since < strangeTime {
			continue
		}
		t.strange[x.Node] = 0
		has := ""
		if x.Group != "" {
			has = fmt.Sprintf(", but members of group %q", x.Group)
		}
		t.log.Log(context.Background(), logging.Warning, fmt.Sprintf("%s is in the ring and has no broker of cluster %q%s: clusters that share %s are one ring, and wait for each other's nodes; if it is not meant to be, give each cluster a --mcastport or --mcastaddr of its own (the address that --cluster-name leads to can be another's, too)",
			t.who(x.Node), t.name, has, t.everyone))
	}
}

// lonely tells once if nothing has ever come from others that there should be.
func (t *troubles) lonely(now time.Duration) {
	if t.begin < 0 || t.expected < 2 || !t.multicast {
		return
	}
	s := t.link.Stats()
	switch {
	case s.Received > 0:
		t.begin = -1
	case now-t.begin >= lonelyTime:
		t.begin = -1
		t.log.Log(context.Background(), logging.Warning, fmt.Sprintf("nothing has come from any other node since this one started, and the cluster has %d votes: check that they have the same %s, that this node is in their network (--bindnetaddr), and that no firewall drops UDP to that port. %s",
			t.expected, t.everyone, snooping))
	}
}
