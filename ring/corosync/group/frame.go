package group

import (
	"encoding/binary"
	"errors"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// The messages, as doc.go draws them.
const (
	mark       = 0xC7
	version    = 1
	headBytes  = 24
	flushBytes = headBytes + 20
	memberSize = 8
)

// kind of a message.
type kind uint8

const (
	kindData kind = iota + 1
	kindReport
	kindFlush
	kindExpel
)

var errForeign = errors.New("not a message of this provider's")

// frame is one message, but for the data.
type frame struct {
	kind     kind
	sequence uint32
	view     uint64
	have     uint64

	sum      uint64 // of a flush
	state    uint64
	expelled []cpg.Member
	target   cpg.Member // of an expel
}

func (f *frame) append(b []byte) []byte {
	b = append(b, mark, version, byte(f.kind), 0)
	b = binary.LittleEndian.AppendUint32(b, f.sequence)
	b = binary.LittleEndian.AppendUint64(b, f.view)
	b = binary.LittleEndian.AppendUint64(b, f.have)
	switch f.kind {
	case kindFlush:
		b = binary.LittleEndian.AppendUint64(b, f.sum)
		b = binary.LittleEndian.AppendUint64(b, f.state)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.expelled)))
		for _, m := range f.expelled {
			b = appendMember(b, m)
		}
	case kindExpel:
		b = appendMember(b, f.target)
	}
	return b
}

func appendMember(b []byte, m cpg.Member) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, uint32(m.Node)), m.PID)
}

func parseMember(b []byte) cpg.Member {
	return cpg.Member{Node: wire.NodeID(binary.LittleEndian.Uint32(b)), PID: binary.LittleEndian.Uint32(b[4:])}
}

// parse reads a message, and returns how many bytes stand in front of the data. b need not hold
// the data.
func (f *frame) parse(b []byte) (int, error) {
	if len(b) < headBytes || b[0] != mark || b[1] != version {
		return 0, errForeign
	}
	*f = frame{kind: kind(b[2]), sequence: binary.LittleEndian.Uint32(b[4:]),
		view: binary.LittleEndian.Uint64(b[8:]), have: binary.LittleEndian.Uint64(b[16:])}
	switch f.kind {
	case kindData, kindReport:
		return headBytes, nil
	case kindFlush:
		if len(b) < flushBytes {
			return 0, errForeign
		}
		f.sum, f.state = binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])
		n := binary.LittleEndian.Uint32(b[40:])
		if n > maxMembers || len(b) != flushBytes+int(n)*memberSize {
			return 0, errForeign
		}
		for at := flushBytes; at < len(b); at += memberSize {
			f.expelled = append(f.expelled, parseMember(b[at:]))
		}
		return len(b), nil
	case kindExpel:
		if len(b) != headBytes+memberSize {
			return 0, errForeign
		}
		f.target = parseMember(b[headBytes:])
		return len(b), nil
	}
	return 0, errForeign
}
