package wire

import "encoding/binary"

// The bodies of the closed process group service (section 5.1). Offsets count from the
// executive header.

const (
	// MaxGroupName is the longest group name: corosync's cpg_name holds 128 bytes and its
	// library wants the terminator to fit.
	MaxGroupName = 127

	groupNameBytes = 136
	procBytes      = 168
	// CPGMcastBytes is the header of a group message.
	CPGMcastBytes = 184
	joinListEntry = 144
	downListBytes = 1568
)

// Reason says why a process joined or left.
type Reason uint32

// The reasons.
const (
	ReasonJoin     Reason = 1
	ReasonLeave    Reason = 2
	ReasonNodeDown Reason = 3
	ReasonNodeUp   Reason = 4
	ReasonProcDown Reason = 5
)

func (r Reason) String() string {
	switch r {
	case ReasonJoin:
		return "join"
	case ReasonLeave:
		return "leave"
	case ReasonNodeDown:
		return "nodedown"
	case ReasonNodeUp:
		return "nodeup"
	case ReasonProcDown:
		return "procdown"
	}
	return "unknown"
}

func (o Order) groupName(b []byte) ([]byte, error) {
	n := o.Uint32(b)
	if n > groupNameBytes-8 {
		return nil, ErrCount
	}
	return b[8 : 8+n], nil
}

func putGroupName(b []byte, name string) {
	binary.LittleEndian.PutUint32(b, uint32(len(name)))
	copy(b[8:groupNameBytes], name)
}

// Proc is a procjoin or procleave. Group points into the message.
type Proc struct {
	Group  []byte
	PID    uint32
	Reason Reason
}

// ParseProc reads a procjoin or procleave.
func ParseProc(o Order, b []byte) (Proc, error) {
	if len(b) < procBytes {
		return Proc{}, ErrShort
	}
	name, err := o.groupName(b[16:])
	if err != nil {
		return Proc{}, err
	}
	return Proc{Group: name, PID: o.Uint32(b[152:]), Reason: Reason(o.Uint32(b[160:]))}, nil
}

// AppendProc appends a procjoin or procleave.
func AppendProc(b []byte, id Function, group string, pid uint32, why Reason) []byte {
	b, m := appendExec(b, id, procBytes)
	putGroupName(m[16:], group)
	binary.LittleEndian.PutUint32(m[152:], pid)
	binary.LittleEndian.PutUint32(m[160:], uint32(why))
	return b
}

// GroupMcast is the header of a message to a group. Bytes is the length of the data behind
// it.
type GroupMcast struct {
	Group []byte
	Bytes int
	PID   uint32
}

// ParseGroupMcast reads the header, which b must hold whole; the data need not follow.
func ParseGroupMcast(o Order, b []byte) (GroupMcast, error) {
	if len(b) < CPGMcastBytes {
		return GroupMcast{}, ErrShort
	}
	name, err := o.groupName(b[16:])
	if err != nil {
		return GroupMcast{}, err
	}
	n := o.Uint32(b[152:])
	if n > 1<<30 {
		return GroupMcast{}, ErrCount
	}
	return GroupMcast{Group: name, Bytes: int(n), PID: o.Uint32(b[160:])}, nil
}

// AppendGroupMcast appends a header for no data. SetGroupMcastBytes completes it.
func AppendGroupMcast(b []byte, group string, node NodeID, pid uint32) []byte {
	b, m := appendExec(b, FuncMcast, CPGMcastBytes)
	putGroupName(m[16:], group)
	binary.LittleEndian.PutUint32(m[160:], pid)
	binary.LittleEndian.PutUint32(m[168:], uint32(node))
	return b
}

// SetGroupMcastBytes writes the length of the data into a header.
func SetGroupMcastBytes(m []byte, n int) {
	binary.LittleEndian.PutUint32(m[8:], uint32(CPGMcastBytes+n))
	binary.LittleEndian.PutUint32(m[152:], uint32(n))
}

// JoinEntry is one local process of the sender of a joinlist.
type JoinEntry struct {
	Group []byte
	PID   uint32
}

// JoinListCount checks a joinlist and returns its number of entries.
func JoinListCount(b []byte) (int, error) {
	if len(b) < JoinListBytes {
		return 0, ErrShort
	}
	return (len(b) - JoinListBytes) / joinListEntry, nil
}

// JoinListEntry reads entry i, which must be below the count.
func JoinListEntry(o Order, b []byte, i int) (JoinEntry, error) {
	e := b[JoinListBytes+i*joinListEntry:]
	name, err := o.groupName(e[8:])
	return JoinEntry{Group: name, PID: o.Uint32(e)}, err
}

// AppendJoinList appends a joinlist of one process.
func AppendJoinList(b []byte, group string, pid uint32) []byte {
	b, m := appendExec(b, FuncJoinList, JoinListBytes+joinListEntry)
	binary.LittleEndian.PutUint32(m[JoinListBytes:], pid)
	putGroupName(m[JoinListBytes+8:], group)
	return b
}

// AppendDownList appends a downlist. Receivers only log it: each works out by itself who
// went.
func AppendDownList(b []byte, oldMembers int, left []NodeID) []byte {
	b, m := appendExec(b, FuncDownList, downListBytes)
	binary.LittleEndian.PutUint32(m[16:], uint32(oldMembers))
	binary.LittleEndian.PutUint32(m[24:], uint32(len(left)))
	for i, n := range left {
		binary.LittleEndian.PutUint32(m[32+4*i:], uint32(n))
	}
	return b
}
