// Package faulty is a disk for tests, in memory: it does what is asked of it in an order of its
// own, fails when told to, and loses power.
//
//	d := faulty.New(faulty.Options{Rand: rand, Done: func(op *journal.Op) { log.Done(op) }})
//	d.Fail(7, faulty.ErrNoSpace)     // the seventh operation from now on
//	for d.Step() { … }               // one operation at a time is done, and given to Done
//	d.Crash()                        // and recover from d, which is a journal.Files
//
// What it does is as much as a real disk and its file system may do. Operations that may be done
// side by side are done in any order. After Crash all is there that was flushed; of what was
// written and not flushed, or was being written, each sector of 512 bytes is there or not, and
// where writes overlap either may be the last. A file that was being made or removed is there or
// not; one that was being appended to has any length up to its own, and any of what was written.
// A commit has happened or not.
//
// A write that fails may have happened in part. A flush that fails may have thrown away what it
// was to flush, and no write or flush succeeds after either, as with package disk. Capacity
// bounds the bytes of all files. Flip changes what is there as a bad disk does, and Lose has a
// write come to nothing though it is said to be done and flushed.
//
// It insists on the contract: it panics if the bytes of a write change while it is under way, if
// two writes of the same bytes are, or if a file that is being made or removed is written to.
//
// Everything follows from Rand, which is asked in an order that the operations alone decide. With
// Every in its place all that may happen does, one after the other.
package faulty
