package broker

import (
	"encoding/binary"
	"fmt"
)

// Entries that are small and rare, and snapshots, are encoded field by field: integers as
// varints, strings with a varint length, optional values behind a presence byte.

// Writer appends fields to Bytes.
type Writer struct {
	Bytes []byte
	from  int // where the entry begins
}

// BeginEntry begins an entry of a connection of this member behind what is in b.
func BeginEntry(b []byte, k Kind, conn ConnID) Writer {
	w := Writer{Bytes: b, from: len(b)}
	w.Bytes = append(w.Bytes, 0, 0, 0, 0, byte(k), 0, 0, 0)
	w.Bytes = binary.LittleEndian.AppendUint32(w.Bytes, uint32(conn))
	return w
}

func (w *Writer) setFlags(f uint8) { w.Bytes[w.from+5] = f }

// End ends the entry and returns all that was written, and what was there before.
func (w *Writer) End() []byte {
	binary.LittleEndian.PutUint32(w.Bytes[w.from:], uint32(len(w.Bytes)-w.from))
	return w.Bytes
}

// Uint writes an integer.
func (w *Writer) Uint(v uint64) { w.Bytes = binary.AppendUvarint(w.Bytes, v) }

// Text writes a string.
func (w *Writer) Text(s string) {
	w.Uint(uint64(len(s)))
	w.Bytes = append(w.Bytes, s...)
}

// Reader takes fields off the head of Rest. The first thing wrong sticks as Err, and zero
// values follow.
type Reader struct {
	Rest []byte
	Err  error
}

// Fail says what is wrong.
func (r *Reader) Fail(format string, args ...any) {
	if r.Err == nil {
		r.Err = fmt.Errorf(format, args...)
	}
	r.Rest = nil
}

// Uint reads an integer.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Fail("entry: bad integer")
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// UintTo reads an integer that has a limit.
func (r *Reader) UintTo(limit uint64) uint64 {
	v := r.Uint()
	if v > limit {
		r.Fail("entry: %d is over its limit %d", v, limit)
		return 0
	}
	return v
}

// Octets reads n bytes of something.
func (r *Reader) Octets(n uint64, what string) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail("entry: %s of %d bytes is cut short", what, n)
		return nil
	}
	s := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return s
}

// TextTo reads a string that has a limit; it is part of what is read.
func (r *Reader) TextTo(limit uint64) []byte { return r.Octets(r.UintTo(limit), "string") }
