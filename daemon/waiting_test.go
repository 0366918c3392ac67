package daemon

import (
	"testing"
	"time"
)

// TestTellAfter has a broker wait for a day: who reads its log sees soon what it waits for, and does not have
// to read it thousands of times.
func TestTellAfter(t *testing.T) {
	times, waited := 0, time.Duration(0)
	for ; waited < 24*time.Hour; times++ {
		waited += TellAfter(times)
		if times == 2 && waited > time.Minute {
			t.Errorf("it has told only three times in %v", waited)
		}
	}
	if times > 300 {
		t.Errorf("it tells %d times a day", times)
	}
}
