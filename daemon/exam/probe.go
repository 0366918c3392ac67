package exam

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// alone marks the number of a probe that went to one node.
const alone = 1

// keptProbes is how many nonces are remembered: of as many doctors at once.
const keptProbes = 16

// Datagrams are the probes of a node: one for everyone, and one for each of others.
func Datagrams(self wire.NodeID, nonce uint64, others []wire.NodeID) []wire.Datagram {
	packet := func(n uint64) []byte {
		return wire.HoldCancel{Node: self, Ring: wire.RingID{Seq: n}}.Append(nil)
	}
	list := []wire.Datagram{{Data: packet(nonce &^ alone)}}
	for _, to := range others {
		list = append(list, wire.Datagram{To: to, Data: packet(nonce | alone)})
	}
	return list
}

// Probes notes whose probes have come. It belongs to one goroutine.
type Probes struct {
	list []heard // the oldest first
}

type heard struct {
	nonce           uint64
	everyone, alone []wire.NodeID
}

// Take notes a packet if it is a probe. It is called with every packet, so it looks at the type first.
func (p *Probes) Take(data []byte) bool {
	const typeAt = 3
	if len(data) <= typeAt || wire.Type(data[typeAt]) != wire.TypeHoldCancel {
		return false
	}
	c, err := wire.ParseHoldCancel(data)
	if err != nil || c.Ring.Rep != 0 {
		return false
	}
	h := p.of(c.Ring.Seq &^ alone)
	list := &h.everyone
	if c.Ring.Seq&alone != 0 {
		list = &h.alone
	}
	if len(*list) < wire.MaxMembers && !slices.Contains(*list, c.Node) {
		*list = append(*list, c.Node)
	}
	return true
}

func (p *Probes) of(nonce uint64) *heard {
	i := slices.IndexFunc(p.list, func(h heard) bool { return h.nonce == nonce })
	if i >= 0 {
		return &p.list[i]
	}
	if len(p.list) == keptProbes {
		p.list = slices.Delete(p.list, 0, 1)
	}
	p.list = append(p.list, heard{nonce: nonce})
	return &p.list[len(p.list)-1]
}

// Heard are the nodes whose probes of a nonce have come, for everyone and for this node alone.
func (p *Probes) Heard(nonce uint64) (everyone, single []uint32) {
	for _, h := range p.list {
		if h.nonce == nonce&^alone {
			return numbers(h.everyone), numbers(h.alone)
		}
	}
	return nil, nil
}

func numbers(list []wire.NodeID) (out []uint32) {
	for _, n := range list {
		out = append(out, uint32(n))
	}
	return out
}

// Sum tells keys apart and does not tell what they are: the first bytes of a hash of something that
// has a thousand random bits.
func Sum(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	const shown = 4
	h := sha256.Sum256(append([]byte("qpidd-cluster key\x00"), key...))
	return hex.EncodeToString(h[:shown])
}
