package link

import (
	"maps"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// unicast finds to whom what is for everyone goes where it goes to each by itself. As with
// corosync: what forms rings goes to all; the packets of a ring go to its members, and to all
// now and then, so that rings find each other which are too busy to look for others.
//
// Who is in the ring is on the commit token: every member of a ring sends it on, before its
// first packet of that ring. A ring of one has none.
type unicast struct {
	nodes  []wire.NodeID
	all    []sockaddr // of nodes
	addrs  map[[16]byte]bool
	ring   wire.RingID
	active []sockaddr // in ring
	commit wire.Commit

	patience time.Duration
	told     time.Time // when something went to all
}

func (u *unicast) init(peers map[wire.NodeID]sockaddr, patience time.Duration) {
	u.patience = patience
	u.told = time.Now()
	u.addrs = map[[16]byte]bool{}
	u.nodes = slices.Sorted(maps.Keys(peers))
	for _, n := range u.nodes {
		a := peers[n]
		u.all = append(u.all, a)
		u.addrs[a.addrPort().Addr().As16()] = true
	}
}

// listed tells whether an address is a peer's. Ports do not count: corosync has one for each
// peer it sends to.
func (u *unicast) listed(from *sockaddr) bool { return u.addrs[from.addrPort().Addr().As16()] }

// sent looks at a token, for who is in the ring.
func (u *unicast) sent(data []byte) {
	if u.all == nil {
		return
	}
	if h, err := wire.ParseHeader(data); err != nil || h.Type != wire.TypeCommit || u.commit.Decode(data) != nil {
		return
	}
	u.ring = u.commit.Ring
	u.active = u.active[:0]
	for i, n := range u.nodes {
		if slices.Contains(u.commit.Members, n) {
			u.active = append(u.active, u.all[i])
		}
	}
}

// everyone gives the addresses for the first of datagrams, and how many have the same.
func (u *unicast) everyone(datagrams []wire.Datagram) (to []sockaddr, n int) {
	flush := u.flushes(datagrams[0].Data)
	for n = 1; n < len(datagrams); n++ {
		if u.flushes(datagrams[n].Data) != flush {
			break
		}
	}
	if flush {
		u.told = time.Now()
		return u.all, n
	}
	if len(u.active) < len(u.all) && time.Since(u.told) >= u.patience {
		u.told = time.Now()
		return u.all, 1
	}
	return u.active, n
}

// flushes tells whether a packet is for nodes outside the ring, too. A packet of a ring of which
// there was no commit token is one's of a ring of one, of which there is nobody to tell.
func (u *unicast) flushes(data []byte) bool {
	m, err := wire.ParseMcast(data)
	if err != nil {
		return true
	}
	if m.Ring != u.ring {
		u.ring, u.active = m.Ring, u.active[:0]
	}
	return false
}
