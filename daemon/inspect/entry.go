package inspect

import (
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Entry is an entry as a person looks at it.
type Entry struct {
	Segment string        `json:"segment"`
	Offset  int64         `json:"offset"`
	Run     uint64        `json:"run"`
	Index   journal.Index `json:"index"`
	View    journal.View  `json:"view"`
	Kind    string        `json:"kind"`
	Bytes   int           `json:"bytes"`
	Carried bool          `json:"carried,omitempty"` // copied from a segment that was to be used again
	Text    string        `json:"text,omitempty"`
}

func entryOf(g *Segment, r *Run, e *journal.Record) *Entry {
	return &Entry{Segment: g.File, Offset: r.Offset + int64(e.Offset), Run: r.Number, Index: e.Index, View: e.View,
		Kind: Kind(e.Entry), Bytes: len(e.Entry), Carried: r.Carried, Text: describe(e.Entry)}
}

// String is one line.
func (e *Entry) String() string {
	carried := ""
	if e.Carried {
		carried = " (carried)"
	}
	return fmt.Sprintf("%s+%d run %d entry %d%s %s, %d bytes %s", e.Segment, e.Offset, e.Run, e.Index, carried, e.Kind, e.Bytes, e.Text)
}

var kinds = map[broker.Kind]string{
	broker.KindPublish: "publish", broker.KindQueueDeclare: "queue-declare", broker.KindQueueDelete: "queue-delete",
	broker.KindQueuePurge: "queue-purge", broker.KindExchangeDeclare: "exchange-declare", broker.KindExchangeDelete: "exchange-delete",
	broker.KindBind: "bind", broker.KindUnbind: "unbind", broker.KindSubscribe: "subscribe", broker.KindCancel: "cancel",
	broker.KindConnClosed: "connection-closed", broker.KindDequeue: "dequeue", broker.KindRelease: "release",
	broker.KindDeadLetter: "dead-letter", broker.KindHeld: "held", broker.KindControl: "control", broker.KindCounted: "counted",
}

// Kind names what an entry does.
func Kind(entry []byte) string {
	h, err := broker.ParseHeader(entry)
	if err != nil {
		return "unknown"
	}
	if name := kinds[h.Kind]; name != "" {
		return name
	}
	return fmt.Sprintf("kind-%d", h.Kind)
}

// describe says more of an entry than its kind, where there is something to say.
func describe(entry []byte) string {
	var p broker.Publish
	if h, err := broker.ParseHeader(entry); err != nil || h.Kind != broker.KindPublish || broker.ParsePublish(entry[:min(int(h.Size), len(entry))], &p) != nil {
		return ""
	}
	return fmt.Sprintf("exchange=%q key=%q", p.Exchange, p.Key)
}
