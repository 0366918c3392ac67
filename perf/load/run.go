package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept in microseconds, to three digits.
const (
	minLatency = 1
	maxLatency = int64(10 * time.Minute / time.Microsecond)
	digits     = 3
)

// run is one run's shared state.
type run struct {
	Options
	driver driver
	id     uint64
	start  time.Time
	warm   time.Duration // measured from here …
	end    time.Duration // … to here

	tallies   []tally
	sent      atomic.Uint64
	confirmed atomic.Uint64
	refused   atomic.Uint64
	consumed  atomic.Uint64
	reordered atomic.Uint64
	failures  atomic.Uint64
	lastSeen  atomic.Int64 // when a consumer last got something

	backlog chan struct{} // closed when consumers may connect
	drained time.Duration // how long they took for what was there

	mu            sync.Mutex
	confirmGaps   gaps
	consumeGaps   gaps
	confirmHist   *hdrhistogram.Histogram
	consumeHist   *hdrhistogram.Histogram
	warmConfirmed uint64
	warmConsumed  uint64
	endConfirmed  uint64
	endConsumed   uint64
	warmAt, endAt time.Duration
	warmed, ended bool // these were taken
	cpu           time.Duration
}

// driver is a protocol: how to get at a broker.
type driver interface {
	declare(ctx context.Context, url string, o *Options) error
	delete(ctx context.Context, url string, o *Options) error
	producer(ctx context.Context, url string, o *Options) (producer, error)
	consumer(ctx context.Context, url string, o *Options) (consumer, error)
}

// producer is one connection that messages go into.
type producer interface {
	// send sends a message and returns what to wait for. body may be reused after it.
	send(ctx context.Context, body []byte) (ticket, error)
	close()
}

// ticket is a message under way; tickets are waited for in the order of their messages.
type ticket interface {
	// wait returns whether the message was taken. An error is the connection's end.
	wait(ctx context.Context) (bool, error)
}

// consumer is one connection that messages come out of.
type consumer interface {
	// run calls handle for each message until ctx is done or the connection fails. It
	// settles what was handled.
	run(ctx context.Context, handle func(body []byte)) error
	close()
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(minLatency, maxLatency, digits)
}

// Run runs o and reports. It returns when all that was sent has been consumed, or consumers
// have been silent for o.Drain.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := newRun(o, driverOf(o.Protocol))
	if o.Declare {
		url := o.DeclareURL
		if url == "" {
			url = append(append([]string(nil), o.ConsumerURLs...), o.ProducerURLs...)[0]
		}
		if err := r.driver.declare(ctx, url, &o); err != nil {
			return nil, fmt.Errorf("declare queue %q: %w", o.Queue, err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Drain)
			defer cancel()
			_ = r.driver.delete(ctx, url, &o) // the next run's declare will tell
		}()
	}
	return r.run(ctx)
}

func newRun(o Options, d driver) *run {
	return &run{
		Options: o, driver: d, id: newRunID(), tallies: make([]tally, o.Producers),
		warm: o.WarmUp, end: o.WarmUp + o.Duration, backlog: make(chan struct{}),
		confirmGaps: gaps{most: o.Gaps}, consumeGaps: gaps{most: o.Gaps},
		confirmHist: newHistogram(), consumeHist: newHistogram(),
	}
}

func driverOf(protocol string) driver {
	switch protocol {
	case AMQP100:
		return driver100{}
	case NATS:
		return driverNATS{}
	}
	return driver091{}
}

func (r *run) run(ctx context.Context) (*Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.start = time.Now()
	var producers, consumers sync.WaitGroup
	consumeCtx, stopConsumers := context.WithCancel(ctx)
	defer stopConsumers()
	ready := make(chan error, r.Consumers)
	for i := range r.Consumers {
		consumers.Go(func() { r.fail(cancel, r.consume(consumeCtx, i, ready)) })
	}
	if r.Backlog == nil {
		close(r.backlog)
		if err := r.awaitConsumers(ctx, ready); err != nil {
			return nil, err
		}
	}
	// The clock starts once everybody listens.
	cpu := cpuTime()
	r.start = time.Now()
	r.mark(0)
	if r.Started != nil {
		r.Started()
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { r.watch(watchCtx) })
	for i := range r.Producers {
		producers.Go(func() { r.fail(cancel, r.produce(ctx, i)) })
	}
	producers.Wait()
	if r.Producers == 0 {
		sleepUntil(ctx, r.start, r.end)
	}
	r.markEnd(time.Since(r.start))
	if err := r.releaseBacklog(ctx, ready); err != nil {
		cancel(err)
	}
	r.drain(ctx)
	stopWatch()
	watcher.Wait()
	stopConsumers()
	consumers.Wait()
	r.cpu = cpuTime() - cpu
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return r.report(ctx.Err() != nil), nil
}

// awaitConsumers waits until all consumers listen.
func (r *run) awaitConsumers(ctx context.Context, ready <-chan error) error {
	for range r.Consumers {
		select {
		case <-ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// releaseBacklog lets the consumers at what was kept for them.
func (r *run) releaseBacklog(ctx context.Context, ready <-chan error) error {
	if r.Backlog == nil || ctx.Err() != nil {
		return nil
	}
	if err := r.Backlog(ctx); err != nil {
		return err
	}
	close(r.backlog)
	if err := r.awaitConsumers(ctx, ready); err != nil {
		return err
	}
	since := time.Since(r.start)
	r.drain(ctx)
	r.drained = time.Duration(r.lastSeen.Load()) - since
	return nil
}

func (r *run) fail(cancel context.CancelCauseFunc, err error) {
	if err != nil {
		cancel(err)
	}
}

// drain waits until all that was confirmed has come out.
func (r *run) drain(ctx context.Context) {
	if r.Consumers == 0 {
		return
	}
	r.lastSeen.Store(int64(time.Since(r.start)))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		count := uint64(0)
		for i := range r.tallies {
			r.tallies[i].mu.Lock()
			count += r.tallies[i].count
			r.tallies[i].mu.Unlock()
		}
		if r.Producers > 0 && count >= r.confirmed.Load() {
			return
		}
		if time.Since(r.start)-time.Duration(r.lastSeen.Load()) > r.Drain {
			return
		}
		<-tick.C
	}
}

// watch takes the counts where the measured time begins and ends, and shows progress.
func (r *run) watch(ctx context.Context) {
	next := time.Second
	var confirmed, consumed uint64
	for ctx.Err() == nil {
		due := min(next, r.boundary(time.Since(r.start)))
		if !sleepTimer(ctx, due-time.Since(r.start)) {
			return
		}
		now := time.Since(r.start)
		r.mark(now)
		if now < next {
			continue
		}
		next += time.Second
		p, c := r.confirmed.Load(), r.consumed.Load()
		if r.Progress != nil {
			r.Progress(Progress{Elapsed: now, Confirmed: p - confirmed, Consumed: c - consumed, Failures: r.failures.Load()})
		}
		confirmed, consumed = p, c
	}
}

// boundary is the next end of the measured time after now.
func (r *run) boundary(now time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.warmed && now < r.warm:
		return r.warm
	case !r.ended && now < r.end:
		return r.end
	}
	return now + time.Hour
}

func (r *run) mark(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.warmed && now >= r.warm {
		r.warmed = true
		r.warmAt, r.warmConfirmed, r.warmConsumed = now, r.confirmed.Load(), r.consumed.Load()
	}
	if !r.ended && now >= r.end {
		r.finish(now)
	}
}

// markEnd ends the measured time where producers ended, be it early because of a count.
func (r *run) markEnd(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended && r.warmed {
		r.finish(now)
	}
}

// finish takes the counts of the end, with mu held.
func (r *run) finish(now time.Duration) {
	r.ended = true
	r.endAt, r.endConfirmed, r.endConsumed = now, r.confirmed.Load(), r.consumed.Load()
}

func sleepTimer(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// measured tells whether a message that was due then counts.
func (r *run) measured(due int64) bool {
	return due >= int64(r.warm) && due < int64(r.end)
}
