package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

// answerLimit is how long the engine may take for a question: it has nothing else to do while it is no
// member.
const answerLimit = time.Second

// How long becoming a member usually does not take; and how long a broker that waits for others, for days if
// it must, is silent about it at the most.
const (
	lateAfter = 5 * time.Second
	lateMost  = 5 * time.Minute
)

// TellAfter is when to tell what a broker waits for, if that was done a number of times already: less and less
// often.
func TellAfter(told int) time.Duration {
	after := lateAfter
	for ; told > 0 && after < lateMost; told-- {
		after *= 2
	}
	return min(after, lateMost)
}

// TellWaiting logs what this broker, which is no member yet, waits for.
func (b *Broker) TellWaiting() {
	said := make(chan string, 1)
	b.engine.tell(message{kind: msgDo, do: func(time.Duration) {
		text := ""
		if awaits := b.engine.node.Awaits(); awaits != "" {
			text = "no member yet: it waits " + awaits
		}
		if own, ok := b.provider.(*ownRing); ok && text != "" {
			text += fmt.Sprintf("; its ring is in state %s and has %d members", own.State(), len(own.RingMembers()))
		}
		said <- text
	}})
	select {
	case text := <-said:
		if text != "" {
			b.log.Log(context.Background(), logging.Notice, text)
		}
	case <-time.After(answerLimit):
		b.log.Warn("no member yet: this process does not get to do anything")
	}
}
