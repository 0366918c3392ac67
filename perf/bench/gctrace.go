package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// heap is what a Go process told of its heap with GODEBUG=gctrace=1, in bytes. Message bodies
// are not in it.
type heap struct {
	Collections int   `json:"collections"`
	LiveBytes   int64 `json:"live_bytes"` // after the last collection
	GoalBytes   int64 `json:"goal_bytes"` // where the next one was to begin
	// The most that was live after a collection, and that was there at the end of one.
	MostLiveBytes int64 `json:"most_live_bytes"`
	MostBytes     int64 `json:"most_bytes"`
}

// readHeap reads what a process has written so far.
func readHeap(path string) (h heap, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		h.line(s.Text())
	}
	if s.Err() == nil && h.Collections == 0 {
		return h, fmt.Errorf("%s: no collection was traced", path)
	}
	return h, s.Err()
}

// line takes in a line, such as
//
//	gc 7 @2.1s 0%: 0.02+1.1+0.03 ms clock, 0.05+0.1/0.9/0.2+0.07 ms cpu, 4->5->2 MB, 5 MB goal, 0 MB stacks, 0 MB globals, 2 P
//
// where 4 was there when the collection began, 5 when it ended, and 2 of it was live.
func (h *heap) line(text string) {
	if !strings.HasPrefix(text, "gc ") {
		return
	}
	for _, part := range strings.Split(text, ", ") {
		var begin, end, live, goal int64
		if n, _ := fmt.Sscanf(part, "%d->%d->%d MB", &begin, &end, &live); n == 3 {
			h.Collections++
			h.LiveBytes = live << 20
			h.MostLiveBytes = max(h.MostLiveBytes, live<<20)
			h.MostBytes = max(h.MostBytes, end<<20)
		} else if strings.HasSuffix(part, " MB goal") {
			if n, _ := fmt.Sscanf(part, "%d MB goal", &goal); n == 1 {
				h.GoalBytes = goal << 20
			}
		}
	}
}
