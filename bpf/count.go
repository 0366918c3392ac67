package bpf

import (
	"fmt"
	"net/netip"
)

// Cause is what became of packets for the ring's port.
type Cause uint8

// The causes, those from WrongLength on for which packets were dropped.
const (
	Ring     = Cause(xdpVerdictRING)     // taken
	Fragment = Cause(xdpVerdictFRAGMENT) // left to the stack
	Own      = Cause(xdpVerdictOWN)      // likewise: of our own address
	// OtherRing is what is of a ring that this member is not in, which finds it by that.
	OtherRing = Cause(xdpVerdictOTHER_RING)

	WrongLength  = Cause(xdpVerdictDROP_LENGTH)
	WrongMagic   = Cause(xdpVerdictDROP_MAGIC)
	WrongVersion = Cause(xdpVerdictDROP_VERSION)
	WrongType    = Cause(xdpVerdictDROP_TYPE)
	Unlisted     = Cause(xdpVerdictDROP_UNLISTED)
	Duplicate    = Cause(xdpVerdictDROP_HELD)       // this member has it
	OtherRings   = Cause(xdpVerdictDROP_OTHER_RING) // more from a source than it takes to be found

	causes = Cause(xdpVerdictVERDICTS)
)

var causeNames = [causes]string{
	Ring: "ring", Fragment: "fragment", Own: "own", WrongLength: "length", WrongMagic: "magic",
	WrongVersion: "version", WrongType: "type", Unlisted: "source",
	OtherRing: "other ring", Duplicate: "duplicate", OtherRings: "other rings",
}

func (c Cause) String() string {
	if c < causes {
		return causeNames[c]
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// Reason is why packets of a cause were dropped, in words.
func (c Cause) Reason() string {
	switch c {
	case Duplicate:
		return "held already"
	case OtherRings:
		return "too many of other rings"
	}
	return "wrong " + c.String()
}

// Dropped tells whether packets of the cause are.
func (c Cause) Dropped() bool { return c >= WrongLength }

// Count is how many packets there were of a cause, by processor, and of what was dropped where one of
// them came from.
type Count struct {
	Cause   Cause
	Packets uint64
	PerCPU  []uint64
	Last    netip.Addr
}

// Counts are the counts of all causes.
func (g *Guard) Counts() ([]Count, error) {
	var list []Count
	for c := Ring; c < causes; c++ {
		var cpus []xdpCounter
		if err := g.collection.Maps[xdpMapCounts].Lookup(uint32(c), &cpus); err != nil {
			return nil, fmt.Errorf("bpf: counts: %w", err)
		}
		n := Count{Cause: c}
		for _, x := range cpus {
			n.Packets += x.Packets
			n.PerCPU = append(n.PerCPU, x.Packets)
			if c.Dropped() && x.Packets > 0 {
				n.Last = address(x.Last, g.ipv4)
			}
		}
		list = append(list, n)
	}
	return list, nil
}
