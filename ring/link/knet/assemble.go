package knet

import (
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	// maxAssemblies bounds the packets of which some fragments have come, 64 KiB each, and
	// maxPeerAssemblies those of one peer; the one that has waited longest makes place.
	maxAssemblies     = 64
	maxPeerAssemblies = 16
	// assemblyPatience is how long one waits for its next fragment.
	assemblyPatience = 2 * time.Second
)

// assembly is a packet of which some fragments have come. All but the last have one size; the
// last lies at the end of the block until that is known.
type assembly struct {
	node      wire.NodeID
	seq       uint16
	block     *wire.Block
	fragments int
	size      int // of all fragments but the last; 0: none of them has come
	last      int // size of the last; 0: it has not come
	have      [(maxFragments + 64) / 64]uint64
	missing   int
	touched   time.Duration
}

// assemblies are those under way, the one touched least recently first.
type assemblies struct {
	list []*assembly
	pool *wire.Pool
	free []*assembly
}

// add takes a fragment, and returns the packet if it was the last one that lacked.
func (s *assemblies) add(now time.Duration, node wire.NodeID, d *data) (p wire.Packet, whole bool) {
	i := slices.IndexFunc(s.list, func(a *assembly) bool { return a.node == node && a.seq == d.seq })
	if i < 0 {
		s.makePlace(node)
		s.list = append(s.list, s.begin(node, d))
		i = len(s.list) - 1
	}
	a := s.list[i]
	if !a.put(d) {
		return wire.Packet{}, false
	}
	a.touched = now
	s.list = append(slices.Delete(s.list, i, i+1), a)
	if a.missing > 0 {
		return wire.Packet{}, false
	}
	p = a.packet()
	p.Block.Retain()
	s.drop(len(s.list) - 1)
	return p, true
}

func (s *assemblies) begin(node wire.NodeID, d *data) *assembly {
	a := new(assembly)
	if n := len(s.free); n > 0 {
		a = s.free[n-1]
		s.free = s.free[:n-1]
	}
	*a = assembly{node: node, seq: d.seq, block: s.pool.Get(), fragments: d.fragments, missing: d.fragments}
	return a
}

// makePlace drops what has waited longest, of the peer if it has too many itself.
func (s *assemblies) makePlace(node wire.NodeID) {
	own, oldest := 0, -1
	for i, a := range s.list {
		if a.node == node {
			if own++; oldest < 0 {
				oldest = i
			}
		}
	}
	switch {
	case own >= maxPeerAssemblies:
		s.drop(oldest)
	case len(s.list) >= maxAssemblies:
		s.drop(0)
	}
}

// expire drops what has waited too long, and returns when the next will have.
func (s *assemblies) expire(now time.Duration) (next time.Duration) {
	for len(s.list) > 0 {
		next = s.list[0].touched + assemblyPatience
		if now < next {
			return next
		}
		s.drop(0)
	}
	return 0
}

// forget drops all of a peer's.
func (s *assemblies) forget(node wire.NodeID) {
	for i := len(s.list) - 1; i >= 0; i-- {
		if s.list[i].node == node {
			s.drop(i)
		}
	}
}

func (s *assemblies) drop(i int) {
	a := s.list[i]
	a.block.Release()
	a.block = nil
	s.free = append(s.free, a)
	s.list = slices.Delete(s.list, i, i+1)
}

// put takes a fragment in, and tells whether it was one that lacked.
func (a *assembly) put(d *data) bool {
	i, n := d.fragment-1, len(d.part)
	room := a.block.Data
	if d.fragments != a.fragments || a.have[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	if d.fragment == a.fragments {
		if (a.fragments-1)*a.size+n > len(room) {
			return false
		}
		a.last = n
		copy(room[len(room)-n:], d.part)
	} else {
		if a.size != 0 && a.size != n || (a.fragments-1)*n+max(a.last, 1) > len(room) {
			return false
		}
		a.size = n
		copy(room[i*n:], d.part)
	}
	a.have[i/64] |= 1 << (i % 64)
	a.missing--
	return true
}

func (a *assembly) packet() wire.Packet {
	room := a.block.Data
	at := (a.fragments - 1) * a.size
	copy(room[at:], room[len(room)-a.last:])
	return wire.Packet{Data: room[:at+a.last], Block: a.block}
}
