package corosync

import (
	"bytes"
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// What goes over the connection, in the machine's own byte order (sections 2, 4 and 5). Decoders
// check every length: corosync is trusted, memory is not.

// Requests and answers of the CPG service.
const (
	requestJoin       = 0
	requestLeave      = 1
	requestMcast      = 2
	requestMembership = 3
	requestLocal      = 4
	requestPartial    = 12

	eventConfiguration = 4
	eventDeliver       = 5
	eventTotem         = 13
	eventPartial       = 17
)

// requestGet asks the cmap service for a value.
const requestGet = 2

// Sizes of headers and of what they are in front of.
const (
	requestHeader  = 16
	answerHeader   = 24
	nameBytes      = 136
	memberBytes    = 24
	mcastHeader    = 40
	partialHeader  = 56
	deliverHeader  = 184
	fragmentHeader = 200
	totemHeader    = 44
	connectBytes   = 24
	offerBytes     = 40 + 3*pathBytes
	keyBytes       = 264
)

// Parts of a message that is longer than a request.
const (
	partFirst  = 1
	partMiddle = 2
	partLast   = 3
)

// joinInitial asks for the ring's configuration right after joining.
const joinInitial = 1

const (
	connectID       = -1
	sharedMemory    = 1
	maxListMembers  = 4 * wire.MaxMembers
	maxMessageBytes = 64 << 20 // of a message in parts
)

var errMalformed = errors.New("corosync sent something malformed")

var native = binary.NativeEndian

func appendRequest(b []byte, id int32, size int) []byte {
	b = native.AppendUint64(b, 0)
	b = native.AppendUint64(b, 0)
	native.PutUint32(b[len(b)-16:], uint32(id))
	native.PutUint32(b[len(b)-8:], uint32(size))
	return b
}

// appendWord appends a number that is aligned to eight bytes.
func appendWord(b []byte, v uint32) []byte {
	b = native.AppendUint32(b, v)
	return append(b, 0, 0, 0, 0)
}

func appendName(b []byte, name string) []byte {
	b = appendWord(b, uint32(len(name)))
	at := len(b)
	b = append(b, make([]byte, nameBytes-8)...)
	copy(b[at:], name)
	return b
}

func appendConnect(b []byte) []byte {
	return appendWord(appendRequest(b, connectID, connectBytes), requestBytes)
}

func appendJoin(b []byte, group string, pid uint32) []byte {
	b = appendName(appendRequest(b, requestJoin, requestHeader+nameBytes+16), group)
	return appendWord(appendWord(b, pid), joinInitial)
}

func appendLeave(b []byte, group string, pid uint32) []byte {
	b = appendName(appendRequest(b, requestLeave, requestHeader+nameBytes+8), group)
	return appendWord(b, pid)
}

func appendMembership(b []byte, group string) []byte {
	return appendName(appendRequest(b, requestMembership, requestHeader+nameBytes), group)
}

// The guarantee that corosync is asked for. It orders all messages in agreed order.
const agreed = 2

func appendMcast(b []byte, size int) []byte {
	b = append(appendRequest(b, requestMcast, mcastHeader+size), 0, 0, 0, 0, 0, 0, 0, 0)
	return appendWord(appendWord(b, agreed), uint32(size))
}

// appendPartial appends the header of a fragment of so many bytes of a message of size bytes.
func appendPartial(b []byte, size, fragment int, part uint32) []byte {
	b = append(appendRequest(b, requestPartial, partialHeader+fragment), 0, 0, 0, 0, 0, 0, 0, 0)
	b = appendWord(appendWord(b, agreed), uint32(size))
	return appendWord(appendWord(b, uint32(fragment)), part)
}

// longestValue is the room for a string of the cmap.
const longestValue = 1024

func appendGet(b []byte, key string) []byte {
	b = native.AppendUint16(appendRequest(b, requestGet, requestHeader+keyBytes+8), uint16(len(key)))
	b = append(b, 0, 0, 0, 0, 0, 0)
	at := len(b)
	b = append(b, make([]byte, keyBytes-8)...)
	copy(b[at:at+keyBytes-9], key)
	return native.AppendUint64(b, longestValue)
}

// offer is corosync's answer to a connection: the names of its buffers.
type offer struct{ request, response, event string }

func parseOffer(b []byte) (offer, error) {
	if len(b) < offerBytes {
		return offer{}, errMalformed
	}
	if e := int32(native.Uint32(b[16:])); e != 0 {
		return offer{}, refusal(syscall.Errno(max(e, -e)))
	}
	if native.Uint32(b[24:]) != sharedMemory {
		return offer{}, errNotShared
	}
	path := func(at int) string {
		p, _, _ := bytes.Cut(b[at:at+pathBytes], []byte{0})
		return string(p)
	}
	return offer{path(40), path(40 + pathBytes), path(40 + 2*pathBytes)}, nil
}

// parseAnswer looks at the status of an answer and returns what follows its header.
func parseAnswer(b []byte) ([]byte, error) {
	if len(b) < answerHeader {
		return nil, errMalformed
	}
	if s := status(native.Uint32(b[16:])); s != statusOK {
		return nil, s
	}
	return b[answerHeader:], nil
}

// event is something that happened in the group, in its place in the order. Its slices point
// into what it was parsed from, but for the lists.
type event struct {
	id   uint32
	from cpg.Member // of a message
	one  []byte     // a message's data, or a fragment's
	two  []byte     // the rest of it
	size int        // of the whole message
	part uint32

	members []cpg.Member // of a configuration
	left    []cpg.Left

	ring  wire.RingID // of totem's
	nodes []wire.NodeID
}

// parse reads an event that is in one or two pieces. Lists are written over those of before.
// Messages of other groups do not come here: a connection joins one.
func (e *event) parse(one, two []byte) error {
	if len(two) > 0 && len(one) < fragmentHeader {
		// A header in two pieces is rare, and joined by copying all of it.
		one, two = append(append(make([]byte, 0, len(one)+len(two)), one...), two...), nil
	}
	if len(one) < answerHeader {
		return errMalformed
	}
	*e = event{id: native.Uint32(one), members: e.members[:0], left: e.left[:0], nodes: e.nodes[:0]}
	switch e.id {
	case eventDeliver:
		if len(one) < deliverHeader {
			return errMalformed
		}
		e.size = int(native.Uint32(one[160:]))
		e.from = cpg.Member{Node: wire.NodeID(native.Uint32(one[168:])), PID: native.Uint32(one[176:])}
		return e.cut(one[deliverHeader:], two, e.size)
	case eventPartial:
		if len(one) < fragmentHeader {
			return errMalformed
		}
		e.size, e.part = int(native.Uint32(one[160:])), native.Uint32(one[192:])
		e.from = cpg.Member{Node: wire.NodeID(native.Uint32(one[176:])), PID: native.Uint32(one[184:])}
		return e.cut(one[fragmentHeader:], two, int(native.Uint32(one[168:])))
	case eventConfiguration:
		return e.parseConfiguration(join(one, two))
	case eventTotem:
		return e.parseTotem(join(one, two))
	}
	return nil
}

func join(one, two []byte) []byte {
	if len(two) == 0 {
		return one
	}
	return append(append([]byte(nil), one...), two...)
}

// cut takes size bytes of data.
func (e *event) cut(one, two []byte, size int) error {
	if size > len(one)+len(two) {
		return errMalformed
	}
	e.one = one[:min(size, len(one))]
	e.two = two[:size-len(e.one)]
	return nil
}

func (e *event) parseConfiguration(b []byte) error {
	if len(b) < deliverHeader {
		return errMalformed
	}
	members, joined, left := native.Uint32(b[160:]), native.Uint32(b[168:]), native.Uint32(b[176:])
	if max(members, joined, left) > maxListMembers || len(b) < deliverHeader+memberBytes*int(members+joined+left) {
		return errMalformed
	}
	at := deliverHeader
	for range members {
		e.members = append(e.members, parseMember(b[at:]))
		at += memberBytes
	}
	for range left {
		e.left = append(e.left, cpg.Left{Member: parseMember(b[at:]), Reason: wire.Reason(native.Uint32(b[at+16:]))})
		at += memberBytes
	}
	return nil
}

func parseMember(b []byte) cpg.Member {
	return cpg.Member{Node: wire.NodeID(native.Uint32(b)), PID: native.Uint32(b[8:])}
}

func (e *event) parseTotem(b []byte) error {
	if len(b) < totemHeader {
		return errMalformed
	}
	e.ring = wire.RingID{Rep: wire.NodeID(native.Uint32(b[24:])), Seq: native.Uint64(b[32:])}
	n := native.Uint32(b[40:])
	if n > wire.MaxMembers || len(b) < totemHeader+4*int(n) {
		return errMalformed
	}
	for i := range int(n) {
		e.nodes = append(e.nodes, wire.NodeID(native.Uint32(b[totemHeader+4*i:])))
	}
	return nil
}

// parseMembers reads the answer to a question for the members of a group.
func parseMembers(b []byte) ([]cpg.Member, error) {
	if len(b) < 8 {
		return nil, errMalformed
	}
	n := native.Uint32(b)
	if n > wire.MaxMembers || len(b) < 8+memberBytes*int(n) {
		return nil, errMalformed
	}
	list := make([]cpg.Member, n)
	for i := range list {
		list[i] = parseMember(b[8+memberBytes*i:])
	}
	return list, nil
}

// valueString is the cmap's type of strings.
const valueString = 11

func parseString(b []byte) (string, error) {
	if len(b) < 16 || b[8] != valueString {
		return "", errMalformed
	}
	n := native.Uint64(b)
	if n > uint64(len(b)-16) {
		return "", errMalformed
	}
	s, _, _ := bytes.Cut(b[16:16+n], []byte{0})
	return string(s), nil
}
