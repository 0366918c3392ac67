package knet

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// kind is the type of a packet.
type kind uint8

const (
	kindData       kind = 0x00
	kindPing       kind = 0x81
	kindPong       kind = 0x82
	kindProbe      kind = 0x83
	kindProbeReply kind = 0x84
)

const (
	version     = 1
	headerBytes = 6
	dataBytes   = 14 // header of a data packet
	pingBytes   = 26
	probeBytes  = 9 // of a probe without its padding

	// MaxMessageBytes is the longest ring packet that peers put together.
	MaxMessageBytes = 65536
	// maxFragments is one less than the field holds: libknet's map of them has so many places.
	maxFragments = 254
	// MaxNode is the highest node id that a packet has room for.
	MaxNode = 65535
)

// What a packet is refused for.
var (
	errShort    = errors.New("knet: packet shorter than its fields")
	errVersion  = errors.New("knet: unknown version")
	errType     = errors.New("knet: unknown type")
	errFragment = errors.New("knet: fragment that its packet has not")
)

// header opens every packet.
type header struct {
	kind kind
	node wire.NodeID
}

func putHeader(b []byte, k kind, node wire.NodeID) {
	b[0], b[1] = version, byte(k)
	binary.BigEndian.PutUint16(b[2:], uint16(node))
	b[4], b[5] = version, 0
}

// parse reads the header, and checks that the packet has all fields of its type.
func parse(b []byte) (header, error) {
	if len(b) < headerBytes {
		return header{}, errShort
	}
	if b[0] != version {
		return header{}, errVersion
	}
	h := header{kind: kind(b[1]), node: wire.NodeID(binary.BigEndian.Uint16(b[2:]))}
	least := 0
	switch h.kind {
	case kindData:
		least = dataBytes + 1
	case kindPing, kindPong:
		least = pingBytes
	case kindProbe, kindProbeReply:
		least = probeBytes
	default:
		return h, errType
	}
	if len(b) < least {
		return h, errShort
	}
	return h, nil
}

// data is a data packet. Part points into the packet.
type data struct {
	seq        uint16
	compressed bool
	channel    int8
	fragments  int // 1: the packet has all
	fragment   int // from 1
	part       []byte
}

func putData(b []byte, node wire.NodeID, seq uint16, all bool, fragments, fragment int) {
	putHeader(b, kindData, node)
	binary.BigEndian.PutUint16(b[6:], seq)
	b[8], b[9], b[10] = 0, 0, 0
	if all {
		b[10] = 1
	}
	b[11], b[12], b[13] = byte(fragments), byte(fragment), 0
}

// parseData reads what parse has let through as data.
func parseData(b []byte) (data, error) {
	d := data{
		seq: binary.BigEndian.Uint16(b[6:]), compressed: b[8] != 0, channel: int8(b[13]),
		fragments: int(b[11]), fragment: int(b[12]), part: b[dataBytes:],
	}
	if d.fragments <= 1 {
		d.fragments, d.fragment = 1, 1 // libknet numbers a whole packet 0
	}
	if d.fragments > maxFragments || d.fragment < 1 || d.fragment > d.fragments {
		return d, errFragment
	}
	return d, nil
}

func putPing(b []byte, node wire.NodeID, now time.Duration, seq uint16, timed bool) {
	putHeader(b, kindPing, node)
	b[6] = 0
	binary.LittleEndian.PutUint64(b[7:], uint64(now/time.Second))
	binary.LittleEndian.PutUint64(b[15:], uint64(now%time.Second))
	binary.BigEndian.PutUint16(b[23:], seq)
	b[25] = 0
	if timed {
		b[25] = 1
	}
}

// pingSeq is the sequence number of the last data packet of a ping's sender, 0 before any.
func pingSeq(b []byte) (seq uint16, timed bool) { return binary.BigEndian.Uint16(b[23:]), b[25] != 0 }

// pongTime is what putPing was told.
func pongTime(b []byte) time.Duration {
	return time.Duration(binary.LittleEndian.Uint64(b[7:]))*time.Second + time.Duration(binary.LittleEndian.Uint64(b[15:]))
}

func putProbe(b []byte, node wire.NodeID, size int) {
	clear(b)
	putHeader(b, kindProbe, node)
	binary.LittleEndian.PutUint16(b[7:], uint16(size))
}

func probeSize(b []byte) int { return int(binary.LittleEndian.Uint16(b[7:])) }
