package inspect

import (
	"errors"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// recover has the journal recover what it can, and notes its verdict.
func (j *Journal) recover(r *Report) {
	log := journal.New(journal.Config{Memory: journal.Heap{}, Disk: idle{}, Files: j.files, Store: j.storeID(r)})
	defer log.Close()
	found, err := log.Recover(reader{})
	r.Cut = found.Cut
	j.verdict(r, err)
}

func (j *Journal) verdict(r *Report, err error) {
	if err == nil {
		return
	}
	r.Recovery = err.Error()
	var corrupt *journal.CorruptError
	if errors.As(err, &corrupt) && !r.has(corrupt) {
		r.problem(corrupt.File, corrupt.Offset, "%s", corrupt.Cause)
	}
}

// apply has a member of a cluster recover, who also looks at what entries say, and notes how many
// messages it would have.
func (j *Journal) apply(r *Report) {
	n := j.node(j.files, idle{}, j.storeID(r))
	_, err := n.Recover(0)
	j.verdict(r, err)
	_, _, r.Messages, _ = n.Recovered()
}

// pagingBytes is how much memory messages may take while they are recovered.
const pagingBytes = 64 << 20

// has tells whether a problem in the same place is known.
func (r *Report) has(c *journal.CorruptError) bool {
	for _, p := range r.Problems {
		if !p.Harmless && p.File == c.File && p.Offset == c.Offset {
			return true
		}
	}
	return false
}

// storeID is whose the journal is by its identity; without one, by its segments.
func (j *Journal) storeID(r *Report) journal.UUID {
	if j.Store != nil {
		return j.Store.Store
	}
	id, err := store.ParseUUID(r.Store)
	if err != nil {
		return journal.UUID{} // no segment is in use
	}
	return id
}

// idle is a disk that nothing is asked of: recovery only reads.
type idle struct{}

func (idle) Start(*journal.Op) {}

// reader is an owner who has use for nothing.
type reader struct{}

func (reader) Restore([]byte, int64) error                     { return nil }
func (reader) Replay(journal.Record, journal.Ref, int64) error { return nil }
func (reader) Moved(journal.Record, journal.Ref)               {}
func (reader) Settle()                                         {}
