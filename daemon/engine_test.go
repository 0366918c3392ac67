package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// switches is how often threads of this process went to sleep.
func switches(t *testing.T) (sum int) {
	t.Helper()
	list, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has just ended
		}
		for line := range bytes.Lines(text) {
			if name, value, _ := bytes.Cut(line, []byte(":")); string(name) == "voluntary_ctxt_switches" {
				n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}

// TestSleepIsQuiet: an engine that is woken each millisecond, as by a message, wakes one thread for it, and
// not the runtime's others.
func TestSleepIsQuiet(t *testing.T) {
	e, err := newEngine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(e.pollFD)
	defer unix.Close(e.wakeFD)
	clock, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(clock)
	interval := unix.NsecToTimespec(int64(time.Millisecond))
	if err := unix.TimerfdSettime(clock, 0, &unix.ItimerSpec{Interval: interval, Value: interval}, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.watch(clock); err != nil {
		t.Fatal(err)
	}
	const times, most = 1500, 2
	sleep := func() {
		var ticks [8]byte
		e.wait(false)
		_, _ = unix.Read(clock, ticks[:]) // without it there are no more
	}
	done := make(chan float64)
	go func() {
		runtime.LockOSThread()
		for range 100 { // the scheduler's patience is over by then
			sleep()
		}
		before := switches(t)
		for range times {
			sleep()
		}
		done <- float64(switches(t)-before) / times
	}()
	each := <-done
	t.Logf("%.2f context switches each time", each)
	if each > most {
		t.Errorf("%.2f context switches each time, and %d are enough", each, most)
	}
}
