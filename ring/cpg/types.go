package cpg

import (
	"cmp"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/ring/pack"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Member is a process in the group.
type Member struct {
	Node wire.NodeID
	PID  uint32
}

func (m Member) String() string { return fmt.Sprintf("%d/%d", m.Node, m.PID) }

func (m Member) compare(o Member) int {
	return cmp.Or(cmp.Compare(m.Node, o.Node), cmp.Compare(m.PID, o.PID))
}

// Event is a message to the group or a new view.
type Event struct {
	Message bool

	// Of a message. Number counts 1, 2, 3 over the machine's life. Parts point into packets
	// and stay valid as long as the Ready they came in.
	Number uint64
	From   Member
	Parts  [][]byte

	// Else: the new view, the caller's to keep.
	View *View
}

// View is the group from here on. All lists are ascending.
type View struct {
	Ring    wire.RingID
	Members []Member // Transitional and Joined together
	// Transitional members came along from our previous view: they have delivered exactly
	// what we have. Empty in the first view.
	Transitional []Member
	Joined       []Member
	Left         []Left
	Nodes        []wire.NodeID // of the ring, also those without a process in the group
}

// Left is a member of the previous view that did not come along.
type Left struct {
	Member
	Reason wire.Reason
}

// Clean reports whether the member said goodbye.
func (l Left) Clean() bool { return l.Reason == wire.ReasonLeave }

// Ready lists what calls since the last Ready have produced.
type Ready struct {
	Send   []wire.Datagram // in order
	Events []Event         // in order
	// Safe: every delivered message with this number or a lower one is held by every member
	// of the view that came along with us since it was delivered.
	Safe uint64
	// RingSeq must be saved before anything in Send is sent, if SaveRingSeq is set.
	RingSeq     uint64
	SaveRingSeq bool

	out   *totem.Output
	batch pack.Batch
}

func newReady() *Ready { return &Ready{out: totem.NewOutput()} }

func (r *Ready) reset() {
	for _, b := range r.batch.Done {
		b.Release()
	}
	clear(r.batch.Done)
	clear(r.batch.Parts)
	r.batch.Done, r.batch.Parts = r.batch.Done[:0], r.batch.Parts[:0]
	r.batch.Messages = r.batch.Messages[:0]
	clear(r.Events)
	r.Events = r.Events[:0]
	r.Send, r.SaveRingSeq = nil, false
	r.out.Reset()
}
