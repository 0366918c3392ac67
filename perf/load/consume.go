package load

import (
	"context"
	"time"
)

// consume is one consumer, over as many connections as it takes.
func (r *run) consume(ctx context.Context, i int, ready chan<- error) error {
	hist, pauses := newHistogram(), gaps{most: r.Gaps}
	defer func() {
		r.mu.Lock()
		r.consumeHist.Merge(hist)
		r.consumeGaps.merge(&pauses)
		r.mu.Unlock()
	}()
	select {
	case <-r.backlog:
	case <-ctx.Done():
		return nil
	}
	last := make([]uint64, r.Producers) // highest number seen + 1
	handle := func(body []byte) {
		s, ok := readStamp(body, r.id)
		if !ok || int(s.producer) >= len(last) {
			return // left over from another run, or of another process
		}
		now := time.Since(r.start)
		r.lastSeen.Store(int64(now))
		r.consumed.Add(1)
		pauses.see(now)
		if !r.tallies[s.producer].consume(s.number) {
			return
		}
		if s.number < last[s.producer] {
			r.reordered.Add(1)
		} else {
			last[s.producer] = s.number + 1
		}
		if r.measured(s.due) {
			record(hist, now-time.Duration(s.due))
		}
	}
	for url := i; ; url++ {
		c, err := r.driver.consumer(ctx, r.ConsumerURLs[url%len(r.ConsumerURLs)], &r.Options)
		if err == nil {
			if ready != nil {
				ready <- nil
				ready = nil
			}
			err = c.run(ctx, handle)
			c.close()
		}
		if ctx.Err() != nil {
			return nil
		}
		r.failures.Add(1)
		if !r.Reconnect {
			return err
		}
		if !sleepTimer(ctx, retryPause) {
			return nil
		}
	}
}
