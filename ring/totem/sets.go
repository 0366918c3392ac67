package totem

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// nodeSet is an ascending list of nodes: sets whose order of iteration is the same on every
// member.
type nodeSet []wire.NodeID

func (s nodeSet) has(n wire.NodeID) bool {
	_, found := s.find(n)
	return found
}

func (s nodeSet) find(n wire.NodeID) (int, bool) { return slices.BinarySearch(s, n) }

// index is the place of n, which must be there.
func (s nodeSet) index(n wire.NodeID) int {
	i, found := s.find(n)
	if !found {
		panic("totem: node is not in the set")
	}
	return i
}

// add puts n in; it reports false when the set is full.
func (s *nodeSet) add(n wire.NodeID) bool {
	i, found := slices.BinarySearch(*s, n)
	if found {
		return true
	}
	if len(*s) >= wire.MaxMembers {
		return false
	}
	*s = slices.Insert(*s, i, n)
	return true
}

// set copies the nodes of list, in any order and with repetitions, into s.
func (s *nodeSet) set(list []wire.NodeID) {
	*s = append((*s)[:0], list...)
	slices.Sort(*s)
	*s = slices.Compact(*s)
}

func (s *nodeSet) union(o nodeSet) {
	for _, n := range o {
		s.add(n)
	}
}

func (s nodeSet) subsetOf(o nodeSet) bool {
	for _, n := range s {
		if !o.has(n) {
			return false
		}
	}
	return true
}

func (s nodeSet) equal(o nodeSet) bool { return slices.Equal(s, o) }

// minus returns the nodes of s that are not in o, in dst's memory.
func (s nodeSet) minus(o, dst nodeSet) nodeSet {
	dst = dst[:0]
	for _, n := range s {
		if !o.has(n) {
			dst = append(dst, n)
		}
	}
	return dst
}

// after returns the node that follows n in the cycle.
func (s nodeSet) after(n wire.NodeID) wire.NodeID {
	i, found := slices.BinarySearch(s, n)
	if found {
		i++
	}
	return s[i%len(s)]
}
