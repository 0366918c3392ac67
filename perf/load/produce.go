package load

import (
	"context"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// retryPause is how long to wait before the next URL is tried.
const retryPause = 200 * time.Millisecond

// underWay is a message sent and not confirmed.
type underWay struct {
	stamp
	ticket ticket
}

// confirmed is when one producer's messages were confirmed.
type confirmed struct {
	hist *hdrhistogram.Histogram
	gaps gaps
}

// produce is one producer, over as many connections as it takes.
func (r *run) produce(ctx context.Context, i int) error {
	at := &confirmed{hist: newHistogram(), gaps: gaps{most: r.Gaps}}
	defer func() {
		r.mu.Lock()
		r.confirmHist.Merge(at.hist)
		r.confirmGaps.merge(&at.gaps)
		r.mu.Unlock()
	}()
	next := uint64(0)
	for url := i; ; url++ {
		err := r.produceOn(ctx, i, r.ProducerURLs[url%len(r.ProducerURLs)], &next, at)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		r.failures.Add(1)
		if !r.Reconnect {
			return err
		}
		if time.Since(r.start) > r.end || !sleepTimer(ctx, retryPause) {
			return nil
		}
	}
}

// produceOn sends until the end of the run, and waits for the last confirmation.
func (r *run) produceOn(ctx context.Context, i int, url string, next *uint64, at *confirmed) error {
	p, err := r.driver.producer(ctx, url, &r.Options)
	if err != nil {
		return err
	}
	defer p.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pending := make(chan underWay, r.InFlight)
	slots := make(chan struct{}, r.InFlight) // full when as many are under way as may be
	done := make(chan error, 1)
	go func() {
		err := r.confirm(ctx, i, pending, slots, at)
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	err = r.send(ctx, i, p, pending, slots, next)
	close(pending)
	if e := <-done; e != nil {
		return e
	}
	return err
}

func (r *run) send(
	ctx context.Context, i int, p producer, pending chan<- underWay, slots chan<- struct{}, next *uint64,
) error {
	interval := time.Duration(0)
	if r.Rate > 0 {
		interval = time.Duration(float64(time.Second) * float64(r.Producers) / r.Rate)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	last := ^uint64(0)
	if r.Count > 0 {
		last = (r.Count + uint64(r.Producers) - 1 - uint64(i)) / uint64(r.Producers)
	}
	body := make([]byte, r.Size)
	offset := interval * time.Duration(i) / time.Duration(max(r.Producers, 1))
	for {
		due := offset + interval*time.Duration(*next)
		if interval > 0 {
			sleepUntil(ctx, r.start, due)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if interval == 0 {
			due = time.Since(r.start)
		}
		if due >= r.end || *next == last || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s := stamp{producer: uint32(i), number: *next, due: int64(due)}
		*next++
		putStamp(body, s, r.id)
		t, err := p.send(ctx, body)
		if err != nil {
			return err
		}
		r.sent.Add(1)
		pending <- underWay{s, t} // has room for all slots
	}
}

// confirm waits for the confirmations of one connection, in order.
func (r *run) confirm(
	ctx context.Context, i int, pending <-chan underWay, slots <-chan struct{}, at *confirmed,
) error {
	for m := range pending {
		ok, err := m.ticket.wait(ctx)
		<-slots
		if err != nil {
			return err
		}
		if !ok {
			r.refused.Add(1)
			continue
		}
		r.confirmed.Add(1)
		r.tallies[i].confirm(m.number)
		now := time.Since(r.start)
		at.gaps.see(now)
		if r.measured(m.due) {
			record(at.hist, now-time.Duration(m.due))
		}
	}
	return nil
}

// record keeps a latency; what is off the scale counts as its end.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d/time.Microsecond), minLatency), maxLatency))
}
