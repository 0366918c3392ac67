package broker

import (
	"fmt"
	"strings"
	"testing"
)

// TestLimitSparesWhatConsumersTake publishes more to queues with limits, in one run, than they hold.
func TestLimitSparesWhatConsumersTake(t *testing.T) {
	one, few := uint64(1), uint64(300)
	const record = HeaderBytes + publishBytes + len("q") + 70
	for _, c := range []struct {
		name    string
		options QueueOptions
		credit  uint64
		want    string // delivered, then what is left when the consumer takes it
	}{
		{"all is taken", QueueOptions{MaxLength: &one}, 100, "0 1 2 3 4 5 6 7 8 9"},
		{"some is taken", QueueOptions{MaxLength: &one}, 4, "0 1 2 3 9"},
		{"none is taken", QueueOptions{MaxLength: &one}, 0, "9"},
		{"all bytes are taken", QueueOptions{MaxLengthBytes: &few}, 100, "0 1 2 3 4 5 6 7 8 9"},
		{"as many as there is room for are left", QueueOptions{MaxLengthBytes: &few}, 0, "7 8 9"},
		{"what is held does not count", QueueOptions{MaxLengthBytes: &few}, 5, "0 1 2 3 4 7 8 9"},
	} {
		if 3*record > 300 || 4*record <= 300 {
			t.Fatalf("a record of %d bytes does not go three times into the limit", record)
		}
		o := newBench(1)
		m := o.members[0]
		m.ports[1] = m.b.Connect(1)
		var r Requests
		r.QueueDeclare(&QueueDeclare{Conn: 1, Name: "q", Options: c.options})
		r.Subscribe(&Subscribe{Conn: 1, Consumer: 1, Queue: "q"})
		r.Credit(1, c.credit, false)
		for i := range 10 {
			body := fmt.Sprintf("%d%69s", i, "")
			r.Publish(&Publish{Conn: 1, Format: FormatAMQP091, Key: []byte("q"), Body: []byte(body)})
		}
		m.do(1, &r)
		o.run()
		r.Reset()
		r.Credit(1, 100, false)
		m.do(1, &r)
		o.run()
		var got []string
		for line := range strings.Lines(o.out.String()) {
			if f := strings.Fields(line); f[0] == "deliver" {
				got = append(got, f[3])
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: delivered %q, expected %q", c.name, s, c.want)
		}
	}
}
