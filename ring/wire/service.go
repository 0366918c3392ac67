package wire

import "encoding/binary"

// Stream is which of the two groups of section 4 a message is for.
type Stream uint8

// The streams.
const (
	StreamUnknown Stream = iota
	StreamService        // "a": all service engines
	StreamSync           // "sync"
)

const (
	// ServiceGroupBytes and SyncGroupBytes are the lengths of the group headers we send.
	ServiceGroupBytes = 5
	SyncGroupBytes    = 8
	maxGroups         = 8 // names on one message; in use is one
)

// ParseGroup reads the group header and returns the stream and where the body starts. Names
// nobody knows give StreamUnknown, no error.
func ParseGroup(o Order, b []byte) (Stream, int, error) {
	if len(b) < 2 {
		return 0, 0, ErrShort
	}
	n := int(o.Uint16(b))
	if n > maxGroups {
		return 0, 0, ErrCount
	}
	at := 2 + 2*n
	if len(b) < at {
		return 0, 0, ErrShort
	}
	stream := StreamUnknown
	for i := range n {
		end := at + int(o.Uint16(b[2+2*i:]))
		if end > len(b) {
			return 0, 0, ErrShort
		}
		switch string(b[at:end]) {
		case "a":
			stream = StreamService
		case "sync":
			stream = StreamSync
		}
		at = end
	}
	return stream, at, nil
}

// AppendGroup appends the group header of a stream.
func AppendGroup(b []byte, s Stream) []byte {
	if s == StreamSync {
		return append(b, 1, 0, 4, 0, 's', 'y', 'n', 'c')
	}
	return append(b, 1, 0, 1, 0, 'a')
}

// Function is service<<16 | function: what an executive message asks (section 5). On the
// sync stream it is the bare function.
type Function uint32

// The services of corosync that we have too.
const (
	ServiceCMAP       = 0
	ServiceCPG        = 2
	ServiceVotequorum = 5
)

// The functions we send or understand.
const (
	FuncValues    Function = ServiceCMAP << 16
	FuncProcJoin  Function = ServiceCPG << 16
	FuncProcLeave Function = ServiceCPG<<16 | 1
	FuncJoinList  Function = ServiceCPG<<16 | 2
	FuncMcast     Function = ServiceCPG<<16 | 3
	FuncDownList  Function = ServiceCPG<<16 | 5
	FuncNodeInfo  Function = ServiceVotequorum << 16

	FuncBarrier      Function = 0
	FuncServiceBuild Function = 1
)

// ExecBytes is the executive header; JoinListBytes the longer one that only joinlists have.
const (
	ExecBytes     = 16
	JoinListBytes = 24
)

// Exec is the header of an executive message. Size counts from its first byte.
type Exec struct {
	ID   Function
	Size int
}

// ParseExec reads an executive header.
func ParseExec(o Order, b []byte) (Exec, error) {
	if len(b) < ExecBytes {
		return Exec{}, ErrShort
	}
	size := int32(o.Uint32(b[8:]))
	if size < 0 {
		return Exec{}, ErrLength
	}
	return Exec{ID: Function(o.Uint32(b)), Size: int(size)}, nil
}

// appendExec appends a zeroed message of size bytes with its header filled in, and returns
// the whole and the message.
func appendExec(b []byte, id Function, size int) (all, msg []byte) {
	at := len(b)
	all = append(b, make([]byte, size)...)
	msg = all[at:]
	binary.LittleEndian.PutUint32(msg, uint32(id))
	binary.LittleEndian.PutUint32(msg[8:], uint32(size))
	return all, msg
}
