package cluster

import (
	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
)

// View is a new membership of the group, at its place in the order of messages.
type View struct {
	RingRep uint32
	RingSeq uint64
	Members []broker.MemberID
	// Came lists who has been delivered the same as this member up to here.
	Came []broker.MemberID
	// LeftCleanly lists who said good-bye.
	LeftCleanly []broker.MemberID
}

// MemberOf is how a process of the ring's group is called as a member of the cluster: its
// node's id, and its process id there.
func MemberOf(m cpg.Member) broker.MemberID {
	return broker.MemberID(m.Node)<<32 | broker.MemberID(m.PID)
}

// ViewOf is the view that the ring's group delivers.
func ViewOf(v *cpg.View) *View {
	c := &View{RingRep: uint32(v.Ring.Rep), RingSeq: v.Ring.Seq,
		Members: membersOf(v.Members), Came: membersOf(v.Transitional)}
	for _, l := range v.Left {
		if l.Clean() {
			c.LeftCleanly = append(c.LeftCleanly, MemberOf(l.Member))
		}
	}
	return c
}

func membersOf(list []cpg.Member) (ids []broker.MemberID) {
	for _, m := range list {
		ids = append(ids, MemberOf(m))
	}
	return ids
}
