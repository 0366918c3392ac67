// Package journal is the broker's log: every entry is appended to an extent once, and
// whatever comes after names it by Ref. It is pure: memory comes from a Memory, and what
// is to be written goes through the same extents.
//
//	w := log.Begin(size, class)   // room for one entry
//	copy(w.Bytes(), …)            // the one copy of its bytes
//	ref := log.Commit(w, view, index)
//	log.Retain(ref, n)            // n queues hold it
//	log.Drop(ref)                 // one of them let go
//
// A record is a header and the entry:
//
//	0 length u32   of the entry
//	4 crc    u32   CRC32C of bytes 8 to 24 and of the entry
//	8 view   u64   the view it was ordered in
//	16 index u64   its place in the one order
//	24 entry       padded to 8
//
// Extents count the live references to their records; an extent without any is reused at
// once. A reader on another goroutine pins the extent for as long as it looks at the bytes.
// The log has one owner; only Extent.Unpin may be called from elsewhere.
//
// Durable records are gathered in runs, which are written as they stand in memory, and on the
// disk when Mark says so; what is alive can be told after a crash from a checkpoint and the
// runs behind it:
//
//	log.Recover(owner)            // first of all
//	log.Prepare(now)              // whenever NextPrepare is due
//	log.Sync(milliseconds, wanted) // after a batch of entries
//	op.Finish()                   // for each operation that the disk has done
//	if log.CheckpointDue() { log.BeginCheckpoint(); log.CheckpointChunk(…); log.EndCheckpoint() }
//
// Not here: files. Package disk has the memory, and what touches the machine.
package journal
