package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestShortConnections opens a thousand connections and closes them, half of them without a
// word. The broker has no more descriptors than before, and hardly more memory.
func TestShortConnections(t *testing.T) {
	short(t)
	const (
		connections = 1000
		atOnce      = 20
		most        = 20 << 20
	)
	c := harness.Start(t, 2)
	s := load.NewStage(t, c)
	b := c.Brokers[0]
	round := func(n int) {
		var all sync.WaitGroup
		for k := range atOnce {
			all.Go(func() {
				for i := k; i < n; i += atOnce {
					if err := visit(t.Context(), s, i); err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	round(connections / 2) // pools are filled
	descriptors := 0
	harness.Eventually(t, load.Patience, "connections are gone", func() error {
		if n := b.Descriptors(t); n != descriptors {
			descriptors = n
			return fmt.Errorf("there are %d descriptors", n)
		}
		return nil
	})
	memory := b.ResidentBytes(t)
	round(connections)
	harness.Eventually(t, load.Patience, "connections are gone", func() error {
		if n := b.Descriptors(t); n > descriptors {
			return fmt.Errorf("there are %d descriptors, there were %d before", n, descriptors)
		}
		return nil
	})
	after := b.ResidentBytes(t)
	t.Logf("%d descriptors; %d KB before, %d KB after %d connections", descriptors, memory>>10, after>>10, connections)
	if after > memory+most {
		t.Errorf("memory has grown by %d KB", (after-memory)>>10)
	}
}

// visit is a short connection of one of several kinds.
func visit(ctx context.Context, s *load.Stage, i int) error {
	b := s.Brokers[0]
	switch i % 4 {
	case 0:
		_, end, err := load.Dial091(ctx, b)
		if err == nil {
			end()
		}
		return err
	case 1:
		_, end, err := load.Dial100(ctx, b)
		if err == nil {
			end()
		}
		return err
	case 2: // it consumes, and goes without closing anything
		ch, end, err := load.Dial091(ctx, b)
		if err != nil {
			return err
		}
		_, err = ch.ConsumeWithContext(ctx, s.Queue, "", false, false, false, false, nil)
		end()
		return err
	default: // it goes at once
		conn, err := b.Dial(ctx)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
}
