package daemon

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// TestTracked: what was expected once is there for the next process; a file that is none is told of, and
// written anew.
func TestTracked(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	b := &Broker{opts: &config.Options{DataDir: t.TempDir()}}
	load := func(want int, text string) {
		t.Helper()
		said.Reset()
		q := cluster.Quorum{Expected: 3, Tracking: true}
		b.loadTracked(&q, log)
		if q.Tracked != want || text == "" && said.Len() > 0 || !strings.Contains(said.String(), text) {
			t.Errorf("%d, not %d; it said %q, not %q", q.Tracked, want, said.String(), text)
		}
	}
	load(0, "")
	b.keepTracked(3, log)
	load(3, "")
	b.keepTracked(9, log)
	load(9, "9 votes are expected, as there were so many once")
	if err := os.WriteFile(b.trackedPath(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	load(0, "it is not known how many votes were expected before")
	b.keepTracked(7, log)
	load(7, "7 votes are expected")

	b.opts.NoDataDir = true
	b.keepTracked(8, log)
	load(0, "there is no data directory")
	q := cluster.Quorum{Expected: 3}
	b.opts.NoDataDir = false
	if b.loadTracked(&q, log); q.Tracked != 0 {
		t.Error("it is read where nobody wants it")
	}
}
