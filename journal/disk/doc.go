// Package disk gives the journal its memory and does what touches the machine for it.
//
//	d, err := disk.Open(dir, disk.Options{Done: forward})
//	log.Info(d.Describe())
//	d.List, d.ReadAt              // what recovery reads
//	d.Start(op)                   // from then on; forward gets each op when it has been done
//	d.Close()                     // when forward has got them all
//
// Start takes note and returns. Operations are done by goroutines of four kinds:
//
//	writers    Depth of them: writes side by side, those that touch one another in one call;
//	           whichever is free first also does the flush whose writes have been done
//	readers    what is read back
//	creator    makes files, one at a time
//	appender   writes and commits files of any length, and removes files, one at a time
//
// Operations of one kind are begun in the order in which they were started, and done in any,
// but for those of the creator and the appender. There is no order between kinds: who writes to
// a file has waited until it was made, and who removes one until nothing is at it any more.
//
// A write or a flush that failed is final: after it the kernel may take for clean what was never
// written, so a flush that is tried again proves nothing. All writes and flushes after it fail
// with the same error. A file that could not be made is not: there may be space for it later. What
// could not be appended to cannot be committed, also if that was started at the same time.
//
// Nothing is allocated for an operation. Done is called from these goroutines, side by side, and
// should not take long. A directory is locked (flock) while it is open.
package disk
