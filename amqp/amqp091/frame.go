package amqp091

import (
	"encoding/binary"
	"fmt"
)

// FrameOverhead is what a frame takes besides its payload: type, channel, size and end.
const FrameOverhead = frameHeadBytes + 1

const frameHeadBytes = 7

// Frame is one frame of 2.3.5; its payload is a view of the bytes it was read from.
type Frame struct {
	Type    uint8
	Channel uint16
	Payload []byte
}

// ReadFrame reads the frame at the start of data. n is how many bytes it takes, 0 if it is
// not all there yet; want is then how many bytes there must be. maxBytes bounds the whole
// frame, and is checked before the frame is waited for.
func ReadFrame(data []byte, maxBytes int) (f Frame, n, want int, err error) {
	if len(data) == 0 {
		return f, 0, frameHeadBytes, nil
	}
	switch f.Type = data[0]; f.Type {
	case FrameMethod, FrameHeader, FrameBody, FrameHeartbeat:
	default:
		return f, 0, 0, Errorf(FrameError, "frame of unknown type %d", f.Type)
	}
	if len(data) < frameHeadBytes {
		return f, 0, frameHeadBytes, nil
	}
	f.Channel = binary.BigEndian.Uint16(data[1:])
	size := binary.BigEndian.Uint32(data[3:])
	if uint64(size)+FrameOverhead > uint64(maxBytes) {
		return f, 0, 0, Errorf(FrameError, "frame of %d bytes is larger than the negotiated %d",
			uint64(size)+FrameOverhead, maxBytes)
	}
	n = int(size) + FrameOverhead
	if len(data) < n {
		return f, 0, n, nil
	}
	if data[n-1] != FrameEnd {
		return f, 0, 0, Errorf(FrameError, "frame of type %d ends in octet %#x instead of %#x",
			f.Type, data[n-1], FrameEnd)
	}
	f.Payload = data[frameHeadBytes : n-1 : n-1]
	return f, n, 0, nil
}

// Method splits the payload of a method frame.
func (f *Frame) Method() (MethodID, []byte, error) {
	if len(f.Payload) < 4 {
		return 0, nil, Errorf(FrameError, "method frame of %d bytes", len(f.Payload))
	}
	return MethodID(binary.BigEndian.Uint32(f.Payload)), f.Payload[4:], nil
}

// contentHeaderBytes is what a content header holds before its properties: class, weight,
// body size (2.3.5.2).
const contentHeaderBytes = 12

// ContentHeader splits the payload of a header frame; props are its flags and list, unchecked.
func (f *Frame) ContentHeader() (class uint16, bodyBytes uint64, props []byte, err error) {
	if len(f.Payload) < contentHeaderBytes+2 {
		return 0, 0, nil, Errorf(FrameError, "header frame of %d bytes", len(f.Payload))
	}
	class = binary.BigEndian.Uint16(f.Payload)
	if weight := binary.BigEndian.Uint16(f.Payload[2:]); weight != 0 {
		return class, 0, nil, Errorf(FrameError, "content header of weight %d", weight)
	}
	return class, binary.BigEndian.Uint64(f.Payload[4:]), f.Payload[contentHeaderBytes:], nil
}

// MethodID is a class number and a method number.
type MethodID uint32

// Class is the method's class.
func (id MethodID) Class() uint16 { return uint16(id >> 16) }

// Number is the method's number in its class.
func (id MethodID) Number() uint16 { return uint16(id) }

func (id MethodID) number() string { return fmt.Sprintf("%d.%d", id.Class(), id.Number()) }

// Method is what every method does.
type Method interface {
	ID() MethodID
	Decode(arguments []byte) error
	Append(b []byte, channel uint16) []byte
}

// AppendContentHeader adds a header frame.
func AppendContentHeader(b []byte, channel uint16, bodyBytes uint64, props []byte) []byte {
	b, from := beginFrame(b, FrameHeader, channel)
	b = append(b, 0, ClassBasic, 0, 0)
	b = binary.BigEndian.AppendUint64(b, bodyBytes)
	b = append(b, props...)
	return endFrame(b, from)
}

// AppendBodyHead adds the head of a body frame; bodyBytes of body and FrameEnd are to follow.
func AppendBodyHead(b []byte, channel uint16, bodyBytes int) []byte {
	b = append(b, FrameBody)
	b = binary.BigEndian.AppendUint16(b, channel)
	return binary.BigEndian.AppendUint32(b, uint32(bodyBytes))
}

// AppendHeartbeat adds a heartbeat frame.
func AppendHeartbeat(b []byte) []byte {
	return append(b, FrameHeartbeat, 0, 0, 0, 0, 0, 0, FrameEnd)
}

func beginFrame(b []byte, kind uint8, channel uint16) ([]byte, int) {
	from := len(b)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, channel)
	return append(b, 0, 0, 0, 0), from
}

func beginMethod(b []byte, channel uint16, id MethodID) ([]byte, int) {
	b, from := beginFrame(b, FrameMethod, channel)
	return binary.BigEndian.AppendUint32(b, uint32(id)), from
}

func endFrame(b []byte, from int) []byte {
	binary.BigEndian.PutUint32(b[from+3:], uint32(len(b)-from-frameHeadBytes))
	return append(b, FrameEnd)
}
