package wire

import "encoding/binary"

// The messages of the sync stream (section 6) and the vote announcements that go with them.

const (
	barrierBytes      = 32
	serviceBuildBytes = 552
	nodeInfoBytes     = 32
	// MaxServices is the number of services that a service_build can name.
	MaxServices = 128
)

// ParseBarrier reads the ring a barrier is for.
func ParseBarrier(o Order, b []byte) (RingID, error) {
	if len(b) < barrierBytes {
		return RingID{}, ErrShort
	}
	return o.ringID(b[16:]), nil
}

// AppendBarrier appends a barrier.
func AppendBarrier(b []byte, r RingID) []byte {
	b, m := appendExec(b, FuncBarrier, barrierBytes)
	putRingID(m[16:], r)
	return b
}

// ServiceBuild names the services that its sender wants synchronised.
type ServiceBuild struct {
	Ring     RingID
	Services [MaxServices]int32
	Count    int
}

// Decode fills s.
func (s *ServiceBuild) Decode(o Order, b []byte) error {
	if len(b) < serviceBuildBytes {
		return ErrShort
	}
	n := o.Uint32(b[32:])
	if n > MaxServices {
		return ErrCount
	}
	s.Ring = o.ringID(b[16:])
	s.Count = int(n)
	for i := range s.Count {
		s.Services[i] = int32(o.Uint32(b[40+4*i:]))
	}
	return nil
}

// AppendServiceBuild appends a service_build with at most MaxServices services.
func AppendServiceBuild(b []byte, r RingID, services []int32) []byte {
	b, m := appendExec(b, FuncServiceBuild, serviceBuildBytes)
	putRingID(m[16:], r)
	binary.LittleEndian.PutUint32(m[32:], uint32(len(services)))
	for i, s := range services {
		binary.LittleEndian.PutUint32(m[40+4*i:], uint32(s))
	}
	return b
}

// NodeInfo is what votequorum members tell each other (section 5.2).
type NodeInfo struct {
	Node     NodeID
	Votes    uint32
	Expected uint32
	Flags    uint32
}

// Flags of a NodeInfo.
const (
	NodeLeaving = 2 // it says goodbye, and is not expected any more
	NodeFirst   = 8 // alone so far
)

// ParseNodeInfo reads a NodeInfo.
func ParseNodeInfo(o Order, b []byte) (NodeInfo, error) {
	if len(b) < nodeInfoBytes {
		return NodeInfo{}, ErrShort
	}
	return NodeInfo{
		Node:     NodeID(o.Uint32(b[16:])),
		Votes:    o.Uint32(b[20:]),
		Expected: o.Uint32(b[24:]),
		Flags:    o.Uint32(b[28:]),
	}, nil
}

// AppendNodeInfo appends a NodeInfo.
func AppendNodeInfo(b []byte, n NodeInfo) []byte {
	b, m := appendExec(b, FuncNodeInfo, nodeInfoBytes)
	binary.LittleEndian.PutUint32(m[16:], uint32(n.Node))
	binary.LittleEndian.PutUint32(m[20:], n.Votes)
	binary.LittleEndian.PutUint32(m[24:], n.Expected)
	binary.LittleEndian.PutUint32(m[28:], n.Flags)
	return b
}
