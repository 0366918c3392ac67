package cluster

import (
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
)

// TestMemoryLimit: what a message would take counts before it is taken, however large it is.
func TestMemoryLimit(t *testing.T) {
	o := newOrder(t, 1)
	n := o.start(1, 0)
	o.settle()
	n.cfg.MemoryBytes = n.log.Stats().UsedBytes + 2<<20
	n.Connect(1)
	n.ask(1, func(r *broker.Requests) {
		r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q"})
		r.Publish(publish("q", strings.Repeat("x", 3<<20))) // 2
		r.Publish(publish("q", strings.Repeat("x", 1<<20)))
	})
	o.settle()
	var refused []uint64
	for _, a := range n.got[1] {
		if a.Kind == broker.AnsResult && a.Result.Code == broker.NoMemory {
			refused = append(refused, a.Number)
		}
	}
	if len(refused) != 1 || refused[0] != 2 {
		t.Errorf("refused %v, expected the one that is larger than all there is", refused)
	}
	if d, _ := n.broker.Depth("q"); d != 1 || completed(n.got[1]) != 3 {
		t.Errorf("%d messages, %d requests done", d, completed(n.got[1]))
	}
}
