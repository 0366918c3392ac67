// Package amqp100 is the encoding of AMQP 1.0: types, frames, performatives, and the
// sections of a message.
//
// Bytes come in and values go out, and back. Decoding never copies: what is not a number
// or a name points into the buffer that was decoded, and maps, filters and states stay
// encoded (Raw) until someone asks. A frame is read like this:
//
//	frame, size, whole, err := amqp100.ParseFrame(data, maxFrameBytes)
//	if err != nil || !whole { … }                 // size bytes are needed for the next try
//	code, value, payload, err := amqp100.SplitDescribed(frame.Body)
//	switch code {
//	case amqp100.CodeTransfer:
//		err = transfer.Decode(value)          // and payload is a piece of the message
//	…
//
// and written like this, the performative straight behind the frame's header:
//
//	b, at := amqp100.BeginFrame(b, amqp100.FrameAMQP, channel)
//	b = flow.Append(b)
//	b = amqp100.EndFrame(b, at)
//
// A frame (2.3.1), all integers big endian:
//
//	0 size u32 (all of it)  4 doff u8 (body begins at 4×doff)  5 type u8  6 channel u16
//
// Nothing is allocated by a length from the wire: lengths are compared with the bytes that
// are there. Compound values are skipped by their size, so deep nesting costs nothing until
// Check or a caller descends, and MaxDepth bounds that.
//
// The composite types and descriptors in zz_generated.go come from spec.txt by gen. This
// package keeps no state of a connection: windows, credit and settlement are the session's.
package amqp100

//go:generate go run ./gen
