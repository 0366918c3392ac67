package totem

import "time"

// timer is one of the deadlines of section 8.
type timer int

const (
	timerToken      timer = iota // the token is lost
	timerHeartbeat               // it is, where the ring does not wait that long
	timerRetransmit              // repeat what we passed on last
	timerHold                    // let the idle token go round once
	timerWant                    // ask again for a held token
	timerJoin                    // repeat our join
	timerSendJoin                // send our join, which was put off
	timerConsensus               // give up on those that do not agree
	timerMerge                   // look for other rings
	timerCount
)

// timers holds absolute deadlines; 0 is off.
type timers [timerCount]time.Duration

func (t *timers) start(which timer, at time.Duration) { t[which] = max(at, 1) }
func (t *timers) stop(which timer)                    { t[which] = 0 }
func (t *timers) running(which timer) bool            { return t[which] != 0 }

// next is the earliest deadline, 0 if none runs.
func (t *timers) next() time.Duration {
	var first time.Duration
	for _, at := range t {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first
}

// due stops a timer and reports whether its time has come.
func (t *timers) due(which timer, now time.Duration) bool {
	if t[which] == 0 || t[which] > now {
		return false
	}
	t[which] = 0
	return true
}
