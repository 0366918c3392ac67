package cluster

import (
	"encoding/binary"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// A disk that lags behind the publishers has messages gather in memory. Nobody need be refused for
// that: publishers are held, wherever they are connected, until it has caught up. Members tell one
// another over the mesh.

// pace is what this member knows of who is behind.
type pace struct {
	behind bool                             // this member is, as it has told the others
	others map[broker.MemberID]broker.Index // that are, and the epoch in which they said so
}

const holdBytes = 10 // of the message that tells it

// Held tells whether publishers should be held: this member's disk, or another's, has to catch up.
func (n *Node) Held() bool {
	if n.state != Active {
		return false // they are waited for anyway
	}
	if n.pace.behind {
		return true
	}
	for _, m := range n.active {
		if _, behind := n.pace.others[m]; behind && m != n.cfg.Self {
			return true
		}
	}
	return false
}

// keepPace tells the others when this member falls behind, and when it has caught up.
func (n *Node) keepPace() {
	behind := n.log.Behind()
	if behind == n.pace.behind || n.state != Active && n.state != CatchingUp {
		return
	}
	n.pace.behind = behind
	for _, m := range n.active {
		if m == n.cfg.Self {
			continue
		}
		b := append(make([]byte, 0, holdBytes), meshHold)
		b = binary.LittleEndian.AppendUint64(b, uint64(n.epoch))
		b = append(b, byte(bits(behind)))
		n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: m, Data: b})
	}
}

// newPace begins with the epoch: what was said in an earlier one is void, and said again.
func (n *Node) newPace() {
	n.pace.behind = false
	for m, epoch := range n.pace.others { // each is dropped by itself: the order does not matter
		if epoch < n.epoch {
			delete(n.pace.others, m)
		}
	}
}

func (n *Node) tookHold(from broker.MemberID, data []byte) {
	if len(data) != holdBytes || data[9] > 1 {
		n.event(Event{Kind: EventForeign, Member: from, Text: "hold is malformed"})
		return
	}
	epoch := broker.Index(binary.LittleEndian.Uint64(data[1:]))
	switch {
	case epoch < n.epoch:
	case data[9] == 0:
		delete(n.pace.others, from)
	default:
		if n.pace.others == nil {
			n.pace.others = map[broker.MemberID]broker.Index{}
		}
		n.pace.others[from] = epoch
	}
}
