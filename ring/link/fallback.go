package link

import (
	"net/netip"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/seal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// fallback has what is for everyone go to nodes by unicast, too, where multicast may not reach
// them: a switch that forgets who is in a group passes unicasts all the same.
//
//   - joins, when several have led to no token: either those are dead whom they are for, or deaf;
//   - what looks for other rings, to nodes whose address is known and that are not in ours;
//   - everything, for a while after Repeat.
//
// Who is in the ring is on the commit token, as in unicast.
type fallback struct {
	members []wire.NodeID
	commit  wire.Commit
	joins   int       // sent in a row, without a token
	until   time.Time // everything goes by unicast, too
	told    time.Time // when a packet of the ring went to nodes outside
	list    []sockaddr
}

const (
	// joinPatience: a ring forms after one or two, those of nodes that just start included.
	joinPatience = 4
	// repeatFor is how long it is before multicast is tried alone again, which costs the ring a
	// halt of some rotations if it does not pass yet.
	repeatFor = 5 * time.Minute
	// freshFor is how long an address that was not configured is worth a try after it was heard of.
	freshFor = 10 * time.Minute
)

// sentTo looks at a datagram for one node.
func (u *UDP) sentTo(data []byte) {
	f := &u.fallback
	h, err := wire.ParseHeader(data)
	if err != nil || h.Type == wire.TypeHoldCancel {
		return
	}
	f.joins = 0
	if h.Type != wire.TypeCommit || f.commit.Decode(data) != nil {
		return
	}
	for _, node := range f.members {
		// It was a member until now, though it may have passed its tokens to others.
		if a, known := u.peers[node]; known && u.heard[a.addrPort()] != nil {
			u.heard[a.addrPort()].last = time.Now()
		}
	}
	f.members = append(f.members[:0], f.commit.Members...)
}

// Repeat implements Link.
func (u *UDP) Repeat() {
	if u.mcast >= 0 {
		u.fallback.until = time.Now().Add(repeatFor)
	}
}

// copies gives the addresses to which the first n of datagrams, which are for everyone, go by
// unicast, too.
func (u *UDP) copies(datagrams []wire.Datagram) (to []sockaddr, n int) {
	f := &u.fallback
	h, err := wire.ParseHeader(datagrams[0].Data)
	if err != nil {
		return nil, 0
	}
	now := time.Now()
	repeating := now.Before(f.until)
	inside, outside := repeating, false
	switch h.Type {
	case wire.TypeJoin:
		f.joins++
		outside = repeating || f.joins > joinPatience
		inside = outside
	case wire.TypeMergeDetect:
		outside = true
	case wire.TypeMcast:
		if now.Sub(f.told) >= 2*u.cfg.Merge {
			f.told = now
			outside = true
		}
	}
	if !inside && !outside {
		return nil, 0
	}
	f.list = f.list[:0]
	for node, a := range u.peers {
		in := slices.Contains(f.members, node)
		if in && inside || !in && outside && u.worth(node, &a, now) {
			f.list = append(f.list, a)
		}
	}
	if repeating {
		return f.list, len(datagrams)
	}
	return f.list, 1
}

// again gives packets to send besides those that were sent: where they are protected each has to
// have a number of its own, or those who get both take it for replayed.
func (u *UDP) again(datagrams, sent []wire.Datagram) []wire.Datagram {
	if u.sealed == nil {
		return sent
	}
	size := 0
	for _, d := range datagrams {
		size += len(d.Data) + seal.Overhead
	}
	list, memory := make([]wire.Datagram, 0, len(datagrams)), make([]byte, 0, size)
	for _, d := range datagrams {
		at := len(memory)
		memory = u.sealed.sealer.Seal(memory, d.Data)
		list = append(list, wire.Datagram{To: d.To, Data: memory[at:len(memory):len(memory)]})
	}
	return list
}

// worth tells whether somebody may be at an address.
func (u *UDP) worth(node wire.NodeID, a *sockaddr, now time.Time) bool {
	if _, configured := u.cfg.Peers[node]; configured {
		return true
	}
	h := u.heard[a.addrPort()]
	return h != nil && now.Sub(h.last) < freshFor
}

// heard is what came from an address.
type heard struct {
	last   time.Time // anything
	copies int       // by unicast of what is for everyone, since any came by multicast
	since  time.Time // when the first of them came
}

// How much has to come by unicast of what is for everyone, over which time, for multicasts to be
// missed: of what goes both ways, the copy may come first.
const (
	deafCopies = 8
	deafTime   = 2 * time.Second
	// listenFor is how long after a copy multicasts are looked at one by one.
	listenFor = time.Minute
)

// hear notes by which way a packet came. In healthy times a packet of the ring's order, of which
// there are many, is none of its business.
func (u *UDP) hear(h *wire.Header, from *sockaddr, multicast bool) {
	order := h.Type == wire.TypeMcast
	if order && multicast && u.listen.IsZero() {
		return
	}
	now := time.Now()
	if !u.listen.IsZero() && now.After(u.listen) {
		u.listen = time.Time{}
	}
	addr := *from
	addr.listens(u.cfg.Port)
	at := addr.addrPort()
	x := u.heard[at]
	if x == nil {
		if len(u.heard) >= 2*wire.MaxMembers {
			u.forget(now)
		}
		x = &heard{}
		u.heard[at] = x
	}
	x.last = now
	switch forAll := order || h.Type == wire.TypeJoin || h.Type == wire.TypeMergeDetect; {
	case multicast:
		x.copies = 0
	case forAll:
		if x.copies == 0 {
			x.since = now
		}
		x.copies++
		u.listen = now.Add(listenFor)
	}
}

// forget makes room: those of whom nothing was heard for long, or all.
func (u *UDP) forget(now time.Time) {
	for at, x := range u.heard {
		if now.Sub(x.last) >= freshFor {
			delete(u.heard, at)
		}
	}
	if len(u.heard) >= 2*wire.MaxMembers {
		clear(u.heard)
	}
}

// Trouble is what a link has seen that people must put right.
type Trouble struct {
	// Twins are packets with our node id that somebody else has sent, and Twin where the last
	// came from.
	Twins uint64
	Twin  netip.AddrPort
	// Deaf are addresses whose multicasts do not reach us, while what they send to us does.
	Deaf []netip.AddrPort
	// Foreign are packets to the ring's port that are not a ring's of this kind, and Stranger
	// where the last came from.
	Foreign  uint64
	Stranger netip.AddrPort
}

// Trouble implements Link.
func (u *UDP) Trouble() Trouble {
	t := Trouble{Twins: u.twins, Twin: u.twin, Foreign: u.stats.Foreign, Stranger: u.stranger}
	now := time.Now()
	for at, x := range u.heard {
		if x.copies >= deafCopies && now.Sub(x.since) >= deafTime && now.Sub(x.last) < listenFor {
			t.Deaf = append(t.Deaf, at)
		}
	}
	slices.SortFunc(t.Deaf, netip.AddrPort.Compare)
	return t
}

// Know implements Link.
func (u *UDP) Know(self wire.NodeID) { u.self = self }

// Peer implements Link.
func (u *UDP) Peer(node wire.NodeID) (netip.AddrPort, bool) {
	a, known := u.peers[node]
	if !known {
		return netip.AddrPort{}, false
	}
	return a.addrPort(), true
}

// twinned counts a packet that has our node id and is not ours. A packet of the order may be
// ours, and repeated by another.
func (u *UDP) twinned(h *wire.Header, from *sockaddr) {
	if h.Node == u.self && u.self != 0 && h.Type != wire.TypeMcast {
		u.twins++
		u.twin = from.addrPort()
	}
}
