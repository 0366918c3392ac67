package load

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// fake is a broker in memory that can do wrong.
type fake struct {
	queue chan []byte
	n     int
	// what to do with message n
	mangle func(n int) (copies int, ok bool)
	held   []byte
	swap   func(n int) bool // let the next one go first
}

func (f *fake) declare(context.Context, string, *Options) error { return nil }
func (f *fake) delete(context.Context, string, *Options) error  { return nil }
func (f *fake) close()                                          {}

func (f *fake) producer(context.Context, string, *Options) (producer, error) { return f, nil }
func (f *fake) consumer(context.Context, string, *Options) (consumer, error) { return f, nil }

type taken bool

func (t taken) wait(context.Context) (bool, error) { return bool(t), nil }

func (f *fake) send(_ context.Context, body []byte) (ticket, error) {
	copies, ok := f.mangle(f.n)
	if f.swap(f.n) {
		f.held = append([]byte(nil), body...)
		copies = 0
	}
	f.n++
	for range copies {
		f.queue <- append([]byte(nil), body...)
	}
	if copies > 0 && f.held != nil {
		f.queue <- f.held
		f.held = nil
	}
	return taken(ok), nil
}

func (f *fake) run(ctx context.Context, handle func([]byte)) error {
	for {
		select {
		case b := <-f.queue:
			handle(b)
		case <-ctx.Done():
			return nil
		}
	}
}

func runFake(t *testing.T, f *fake, o Options) *Report {
	t.Helper()
	f.queue = make(chan []byte, 1<<16)
	o.ProducerURLs, o.ConsumerURLs = []string{"x"}, []string{"x"}
	o.Drain = 200 * time.Millisecond
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := newRun(o, f).run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatGoesWrongIsCounted(t *testing.T) {
	o := Defaults()
	o.Rate, o.WarmUp, o.Duration = 1000, 100*time.Millisecond, 400*time.Millisecond
	f := &fake{
		mangle: func(n int) (int, bool) {
			switch n {
			case 10, 11:
				return 0, true // lost
			case 20:
				return 3, true // twice too many
			case 30:
				return 0, false // refused
			}
			return 1, true
		},
		swap: func(n int) bool { return n == 40 },
	}
	p := runFake(t, f, o)
	if p.Sent != 500 || p.Confirmed != 499 || p.Refused != 1 || p.Consumed != 499 {
		t.Errorf("counts: %+v", p)
	}
	if p.Lost != 2 || p.Duplicates != 2 || p.Reordered != 1 {
		t.Errorf("lost %d, duplicates %d, reordered %d", p.Lost, p.Duplicates, p.Reordered)
	}
	if n := p.EndToEnd.Count; n != 400 {
		t.Errorf("%d latencies of the measured time", n)
	}
}

func TestClosedLoop(t *testing.T) {
	o := Defaults()
	o.InFlight, o.WarmUp, o.Duration = 4, 0, 100*time.Millisecond
	p := runFake(t, &fake{
		mangle: func(int) (int, bool) { return 1, true },
		swap:   func(int) bool { return false },
	}, o)
	if p.Lost != 0 || p.Duplicates != 0 || p.Reordered != 0 || p.Confirmed != p.Sent || p.ConfirmedPerSecond == 0 {
		t.Errorf("%+v", p)
	}
}

// TestStallIsCharged has a broker that stands still: an open loop counts the wait of all
// messages that were due meanwhile.
func TestStallIsCharged(t *testing.T) {
	o := Defaults()
	o.Rate, o.WarmUp, o.Duration, o.Gaps = 1000, 0, 300*time.Millisecond, 3
	p := runFake(t, &fake{
		mangle: func(n int) (int, bool) {
			if n == 50 {
				stall(100 * time.Millisecond)
			}
			return 1, true
		},
		swap: func(int) bool { return false },
	}, o)
	// On a busy machine more stands still than the fake: only what must be is asked for.
	if p.EndToEnd.P90 < 50_000 || p.EndToEnd.P50 >= p.EndToEnd.P90 {
		t.Errorf("p50 %d, p90 %d us", p.EndToEnd.P50, p.EndToEnd.P90)
	}
	for _, list := range [][]Gap{p.ConfirmGaps, p.DeliveryGaps} {
		if len(list) != 3 || list[0].Length < 90*time.Millisecond {
			t.Errorf("gaps %v", list)
		}
	}
}

func TestLongestGapsAreKept(t *testing.T) {
	g := gaps{most: 2}
	for _, at := range []time.Duration{10, 11, 15, 18, 20} {
		g.see(at)
	}
	o := gaps{most: 2}
	o.see(100)
	o.see(107)
	g.merge(&o)
	if want := []Gap{{At: 100, Length: 7}, {At: 11, Length: 4}}; !slices.Equal(g.list, want) {
		t.Errorf("%v", g.list)
	}
	if end := g.list[0].End(); end != 107 {
		t.Errorf("it ended at %v", end)
	}
}

// TestBacklog has consumers wait until a number of messages is there.
func TestBacklog(t *testing.T) {
	o := Defaults()
	o.Count, o.WarmUp, o.Duration = 1001, 0, time.Minute
	o.ProducerURLs, o.ConsumerURLs = []string{"x"}, []string{"x"}
	f := &fake{
		mangle: func(int) (int, bool) { return 1, true },
		swap:   func(int) bool { return false },
	}
	waiting := 0
	o.Backlog = func(context.Context) error {
		waiting = len(f.queue)
		return nil
	}
	p := runFake(t, f, o)
	if waiting != 1001 || p.Sent != 1001 || p.Consumed != 1001 || p.Lost != 0 || p.DrainedPerSecond == 0 || p.ConfirmedPerSecond == 0 {
		t.Errorf("%d waited, %+v", waiting, p)
	}
	o.Backlog = func(context.Context) error { return errBroken }
	f.queue = make(chan []byte, 1<<16)
	if _, err := newRun(o, f).run(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

func stall(d time.Duration) { sleepUntil(context.Background(), time.Now(), d) }

type broken struct{ fake }

var errBroken = errors.New("broken")

func (*broken) producer(context.Context, string, *Options) (producer, error) { return nil, errBroken }

func TestNoConnectionIsAnError(t *testing.T) {
	o := Defaults()
	o.ProducerURLs, o.ConsumerURLs = []string{"x"}, []string{"x"}
	if _, err := newRun(o, &broken{}).run(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}

func TestStamp(t *testing.T) {
	b := make([]byte, minPayloadBytes)
	want := stamp{producer: 3, number: 1 << 40, due: -5}
	putStamp(b, want, 77)
	if got, ok := readStamp(b, 77); !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := readStamp(b, 78); ok {
		t.Error("another run's message is taken")
	}
	if _, ok := readStamp(b[:31], 77); ok {
		t.Error("a short message is taken")
	}
}
