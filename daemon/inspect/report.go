package inspect

import (
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Report is what a scan has found.
type Report struct {
	Segments    []*Segment    `json:"segments"`
	Checkpoints []*Checkpoint `json:"checkpoints"`
	Problems    []Problem     `json:"problems"`
	Cluster     string        `json:"cluster_id"`
	Store       string        `json:"store_id"`
	// Recovery is what the journal itself says of it, after a deep scan: empty if it can be recovered.
	Recovery string `json:"recovery,omitempty"`
	// Messages are how many references to one a broker would have in its queues, if that was asked.
	Messages int64 `json:"messages"`
	// Cut is how many runs recovery leaves out that were never flushed.
	Cut  int  `json:"runs_not_flushed"`
	Deep bool `json:"deep"`
}

// Problem is something that is not as it was written.
type Problem struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	What   string `json:"what"`
	// Harmless problems hide nothing: recovery does not look there.
	Harmless bool `json:"harmless,omitempty"`
	head     bool // of a run, which is at Offset
}

func (p Problem) String() string {
	mark := ""
	if p.Harmless {
		mark = " (harmless)"
	}
	return fmt.Sprintf("%s: offset %d: %s%s", p.File, p.Offset, p.What, mark)
}

// Segment is one segment's file.
type Segment struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	Number   uint64 `json:"number"` // 0: it is not in use
	FirstRun uint64 `json:"first_run,omitempty"`
	After    uint64 `json:"after_run,omitempty"`
	Runs     []*Run `json:"runs,omitempty"`
	Entries  int    `json:"entries"`
	Carried  int    `json:"carried"`
	// UsedBytes are those of the runs' blocks.
	UsedBytes int64 `json:"used_bytes"`
	// LiveBytes are what the newest checkpoint says to be needed of it.
	LiveBytes int64 `json:"live_bytes"`
	damaged   bool  // its header
	made      int64 // bytes that it had once
}

// Run is one run.
type Run struct {
	Number  uint64          `json:"run"`
	Offset  int64           `json:"offset"`
	Bytes   uint32          `json:"bytes"`
	Extent  uint32          `json:"extent"`
	Entries uint32          `json:"entries"`
	Carried bool            `json:"carried,omitempty"`
	Flushed uint64          `json:"flushed_run"`
	Index   journal.Index   `json:"index"`
	Time    int64           `json:"time_ms"`
	Damaged bool            `json:"damaged,omitempty"`
	kinds   map[string]*sum // of its entries, after a deep scan
}

// sum counts entries of one kind.
type sum struct {
	count int
	bytes int64
}

// Checkpoint is one checkpoint's file.
type Checkpoint struct {
	File       string        `json:"file"`
	Bytes      int64         `json:"bytes"`
	Run        uint64        `json:"run"`
	Index      journal.Index `json:"index"`
	Time       int64         `json:"time_ms"`
	Chunks     int           `json:"chunks"`
	Extents    int           `json:"extents"`
	Unfinished bool          `json:"unfinished,omitempty"`
	Damaged    bool          `json:"damaged,omitempty"`
	live       map[uint64]int64
}

// Healthy tells whether a broker starts with it, and with all that was flushed.
func (r *Report) Healthy() bool {
	for _, p := range r.Problems {
		if !p.Harmless {
			return false
		}
	}
	return r.Recovery == ""
}

func (r *Report) problem(file string, offset int64, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{File: file, Offset: offset, What: fmt.Sprintf(format, args...)})
}

func (r *Report) harmless(file string, offset int64, what string) {
	r.Problems = append(r.Problems, Problem{File: file, Offset: offset, What: what, Harmless: true})
}

// Newest is the checkpoint that recovery begins with, or nil.
func (r *Report) Newest() *Checkpoint {
	for i := len(r.Checkpoints) - 1; i >= 0; i-- {
		if c := r.Checkpoints[i]; !c.Unfinished {
			return c
		}
	}
	return nil
}
