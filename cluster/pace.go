package cluster

import (
	"encoding/binary"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// A disk that lags behind the publishers has messages gather in memory. Nobody need be refused for
// that: publishers are held, wherever they are connected, until it has caught up. Where the disk takes
// nothing, as a full one does, nobody knows how long that would be: they are refused when there is no
// more memory. Members tell one another over the mesh.

// pace is what this member knows of who is behind.
type pace struct {
	told   strain // what the others have been told of this member
	others map[broker.MemberID]strained
}

// strain is how much a member has to bear.
type strain uint8

const (
	atEase  strain = iota
	lagging        // its disk has to catch up: publishers are to be held
	crammed        // there is no more memory: they are to be refused
)

// strained is a member that has said so, in an epoch.
type strained struct {
	epoch  broker.Index
	strain strain
}

const holdBytes = 10 // of the message that tells it

// Held tells whether publishers should be held: this member's disk, or another's, has to catch up.
func (n *Node) Held() bool {
	if n.state != Active {
		return false // they are waited for anyway
	}
	if n.pace.told == lagging {
		return true
	}
	for _, m := range n.active {
		if m != n.cfg.Self && n.pace.others[m].strain == lagging {
			return true
		}
	}
	return false
}

// crammed is why no member takes messages at all: another one has no memory for them. "" if all do.
func (n *Node) crammed() string {
	for _, m := range n.active {
		if m != n.cfg.Self && n.pace.others[m].strain == crammed {
			return fmt.Sprintf("memory limit reached at member %s, whose disk takes no more: consume messages, or make room there", n.describe(m))
		}
	}
	return ""
}

// strain is how this member does.
func (n *Node) strain() strain {
	switch {
	case n.log.Behind():
		return lagging
	case n.log.Durable() && n.noMemory(0):
		return crammed
	}
	return atEase
}

// keepPace tells the others when this member falls behind, and when it has caught up.
func (n *Node) keepPace() {
	now := n.strain()
	if now == n.pace.told || n.state != Active && n.state != CatchingUp {
		return
	}
	n.pace.told = now
	for _, m := range n.active {
		if m == n.cfg.Self {
			continue
		}
		b := append(make([]byte, 0, holdBytes), meshHold)
		b = binary.LittleEndian.AppendUint64(b, uint64(n.epoch))
		b = append(b, byte(now))
		n.ready.Mesh = append(n.ready.Mesh, broker.MeshOut{To: m, Data: b})
	}
}

// newPace begins with the epoch: what was said in an earlier one is void, and said again.
func (n *Node) newPace() {
	n.pace.told = atEase
	for m, s := range n.pace.others { // each is dropped by itself: the order does not matter
		if s.epoch < n.epoch {
			delete(n.pace.others, m)
		}
	}
}

func (n *Node) tookHold(from broker.MemberID, data []byte) {
	if len(data) != holdBytes || strain(data[9]) > crammed {
		n.event(Event{Kind: EventForeign, Member: from, Text: "hold is malformed"})
		return
	}
	epoch := broker.Index(binary.LittleEndian.Uint64(data[1:]))
	switch {
	case epoch < n.epoch:
	case strain(data[9]) == atEase:
		delete(n.pace.others, from)
	default:
		if n.pace.others == nil {
			n.pace.others = map[broker.MemberID]strained{}
		}
		n.pace.others[from] = strained{epoch, strain(data[9])}
	}
}
