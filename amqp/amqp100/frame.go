package amqp100

import (
	"encoding/binary"
	"fmt"
)

// FrameHeaderBytes is the size of a frame's fixed header.
const FrameHeaderBytes = 8

// FrameType is what a frame's body is.
type FrameType uint8

// Frame types (2.3.2, 5.3.2).
const (
	FrameAMQP FrameType = 0
	FrameSASL FrameType = 1
)

// Frame is one frame. An AMQP frame without a body only shows that its sender lives.
type Frame struct {
	Type    FrameType
	Channel uint16
	Body    []byte
}

// FrameError says what is wrong with a frame. Its condition is ErrFraming.
type FrameError struct{ Text string }

func (e *FrameError) Error() string { return "amqp 1.0: " + e.Text }

// ParseFrame reads the frame that data begins with. size is the frame's, or, where not
// even that is known yet, a frame header's; the frame is read only when whole says so.
func ParseFrame(data []byte, maxFrameBytes uint32) (f Frame, size int, whole bool, err error) {
	if len(data) < FrameHeaderBytes {
		return f, FrameHeaderBytes, false, nil
	}
	n := binary.BigEndian.Uint32(data)
	body := uint32(data[4]) * 4
	switch {
	case n > maxFrameBytes:
		return f, 0, false, &FrameError{fmt.Sprintf("a frame of %d bytes, at most %d are taken", n, maxFrameBytes)}
	case body < FrameHeaderBytes || body > n:
		return f, 0, false, &FrameError{fmt.Sprintf("a frame of %d bytes with its body at %d", n, body)}
	case data[5] > byte(FrameSASL):
		return f, 0, false, &FrameError{fmt.Sprintf("a frame of unknown type %d", data[5])}
	case uint64(n) > uint64(len(data)):
		return f, int(n), false, nil
	}
	f.Type = FrameType(data[5])
	f.Channel = binary.BigEndian.Uint16(data[6:])
	f.Body = data[body:n:n]
	return f, int(n), true, nil
}

// BeginFrame appends the header of a frame that EndFrame completes; at is for that.
func BeginFrame(b []byte, t FrameType, channel uint16) (_ []byte, at int) {
	at = len(b)
	return append(b, 0, 0, 0, 0, FrameHeaderBytes/4, byte(t), byte(channel>>8), byte(channel)), at
}

// EndFrame puts in the size of a frame that ends with b.
func EndFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// EndFrameBefore is EndFrame for a frame of which more bytes are written apart from b.
func EndFrameBefore(b []byte, at, more int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at+more))
	return b
}
