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
