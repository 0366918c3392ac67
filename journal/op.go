package journal

import "errors"

// ErrBroken is what an operation fails with where the disk fails, and not the operation: whatever it was for,
// the log fails, and nothing is tried again. Anything else that a file could not be made for, as want of
// space, may pass.
var ErrBroken = errors.New("the disk fails")

// Disk does to files what the log wants done. Start only takes note of an operation; when
// it has been done, or has failed, the owner of the log calls its Finish. The bytes of a
// write stay as they are until then.
type Disk interface {
	Start(op *Op)
}

// OpKind tells what an Op does.
type OpKind uint8

// Operations. Those started one after the other may be done side by side, but for OpFlush.
const (
	// OpCreate makes File, Size bytes long, every one of them reserved on the disk.
	OpCreate OpKind = iota + 1
	// OpWrite writes Data at Offset of File; both are whole blocks.
	OpWrite
	// OpFlush waits for all writes started before it, and until they survive a loss of power.
	OpFlush
	// OpRead fills Data from Offset of File.
	OpRead
	// OpAppend writes Data, of any length, at Offset of File, which it makes at Offset 0.
	OpAppend
	// OpCommit has what was appended to File, and its new name To, survive a loss of power.
	OpCommit
	// OpRemove removes File.
	OpRemove
)

// Op is one operation on one file of the log's directory.
type Op struct {
	Kind   OpKind
	File   string
	To     string // OpCommit
	Offset int64
	Size   int64 // OpCreate
	Data   []byte
	Err    error // how it ended

	log     *Log
	run     uint64 // OpWrite, OpFlush: the last run that it is about
	extent  *Extent
	segment *segment
	file    *file
	head    []byte // OpWrite: memory to be given back
	note    bool   // OpAppend, OpCommit: of the newest segment; without it less damage is noticed
	serial  uint64 // OpAppend, OpCommit: the checkpoint they are of
}

// Files is what recovery reads, before anything is started.
type Files interface {
	// List tells the files of the directory and their sizes, in the order of their names.
	List() ([]FileInfo, error)
	ReadAt(file string, b []byte, offset int64) (int, error)
}

// FileInfo is one file.
type FileInfo struct {
	Name string
	Size int64
}
