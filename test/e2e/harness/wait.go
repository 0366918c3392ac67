package harness

import (
	"testing"
	"time"
)

// pollInterval is how often something awaited is looked at.
const pollInterval = 5 * time.Millisecond

// Eventually calls is until it returns nil, and fails the test with its last error if that
// takes too long.
func Eventually(t testing.TB, limit time.Duration, what string, is func() error) {
	t.Helper()
	if err := poll(limit, is); err != nil {
		t.Fatalf("%s: not in %v: %v", what, limit, err)
	}
}

// Always calls is for a while, and fails the test as soon as it returns an error.
func Always(t testing.TB, during time.Duration, what string, is func() error) {
	t.Helper()
	end := time.NewTimer(during)
	defer end.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if err := is(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

func poll(limit time.Duration, is func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := is()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}
