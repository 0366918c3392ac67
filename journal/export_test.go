package journal

import (
	"encoding/binary"
	"fmt"
)

// Verify reads ref's record as it stands and compares it with its header.
func (l *Log) Verify(ref Ref) error {
	h := l.extents[ref.Extent].bytes[ref.Offset:]
	if n := binary.LittleEndian.Uint32(h); n != ref.Length {
		return fmt.Errorf("journal: extent %d offset %d: length %d where %d was written", ref.Extent, ref.Offset, n, ref.Length)
	}
	if binary.LittleEndian.Uint32(h[4:]) != checksum(h[:HeaderBytes], l.Bytes(ref)) {
		return fmt.Errorf("journal: extent %d offset %d: checksum does not match", ref.Extent, ref.Offset)
	}
	return nil
}

// LastIndex is the index of the last entry that was appended.
func (l *Log) LastIndex() Index { return l.runs.index }

// Checkpointing tells whether a checkpoint is being written.
func (l *Log) Checkpointing() bool { return l.store.check.open }
