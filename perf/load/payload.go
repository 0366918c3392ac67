package load

import "encoding/binary"

const magic = 0x46525051 // "QPRF"

// stamp is what a message tells about itself.
type stamp struct {
	producer uint32
	number   uint64
	due      int64 // ns since the run began
}

func putStamp(b []byte, s stamp, run uint64) {
	binary.LittleEndian.PutUint32(b, magic)
	binary.LittleEndian.PutUint32(b[4:], s.producer)
	binary.LittleEndian.PutUint64(b[8:], s.number)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.due))
	binary.LittleEndian.PutUint64(b[24:], run)
}

// readStamp returns false for what is no message of this run.
func readStamp(b []byte, run uint64) (s stamp, ok bool) {
	if len(b) < minPayloadBytes || binary.LittleEndian.Uint32(b) != magic ||
		binary.LittleEndian.Uint64(b[24:]) != run {
		return s, false
	}
	s.producer = binary.LittleEndian.Uint32(b[4:])
	s.number = binary.LittleEndian.Uint64(b[8:])
	s.due = int64(binary.LittleEndian.Uint64(b[16:]))
	return s, true
}
