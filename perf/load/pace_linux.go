package load

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// sleepSlice bounds a sleep in the kernel, which a cancelled context does not interrupt.
const sleepSlice = 20 * time.Millisecond

// sleepUntil sleeps until due, by the clock of the run that began at start. Go's own timers
// may be a millisecond late when nothing else runs, which is more than what is measured.
func sleepUntil(ctx context.Context, start time.Time, due time.Duration) {
	for ctx.Err() == nil {
		left := due - time.Since(start)
		if left <= 0 {
			return
		}
		ts := unix.NsecToTimespec(int64(min(left, sleepSlice)))
		// Interrupted or not, the loop looks at the clock again.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
	}
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
