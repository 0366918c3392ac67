// Package inspect looks at a journal that no broker uses: what is in it, whether all of it can be
// read, and what would have to be discarded if not.
//
//	j, err := inspect.Open(dir)        // finds and locks it
//	r, err := j.Scan(inspect.Options{Deep: true, Progress: bar})
//	r.Problems                         // where, and what
//	p := j.Plan(r)                     // what a repair would do; p.Do does it
//
// A scan goes through the files as recovery does, run by run. A shallow one reads the heads of
// runs, a deep one everything, with its checksums, and then has the journal itself recover, so
// that its verdict is the broker's. Neither changes anything.
//
// Not looked at is what recovery does not look at: space in which no run of a segment's present
// use is, and the few bytes that round a record up to eight.
package inspect
