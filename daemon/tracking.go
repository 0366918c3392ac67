package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

// trackedName is the file, in the data directory, of the most votes that were ever expected: of
// corosync's name and form, a number of 32 bits in the host's byte order.
const (
	trackedName  = "ev_tracking"
	trackedBytes = 4
)

func (b *Broker) trackedPath() string { return filepath.Join(b.opts.DataDir, trackedName) }

// loadTracked reads what an earlier process has kept, if that is wanted.
func (b *Broker) loadTracked(q *cluster.Quorum, log *slog.Logger) {
	if !q.Tracking {
		return
	}
	if b.opts.NoDataDir {
		log.Log(context.Background(), logging.Warning, "expected_votes_tracking: there is no data directory, so a broker that starts again does not know how many votes were expected before")
		return
	}
	data, err := os.ReadFile(b.trackedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && len(data) != trackedBytes {
		err = fmt.Errorf("%s has %d bytes, and must have %d", b.trackedPath(), len(data), trackedBytes)
	}
	if err != nil {
		log.Log(context.Background(), logging.Warning, "expected_votes_tracking: it is not known how many votes were expected before: "+err.Error())
		return
	}
	q.Tracked = int(min(binary.NativeEndian.Uint32(data), math.MaxInt32))
	if q.Tracked > q.Expected {
		log.Log(context.Background(), logging.Notice, fmt.Sprintf("expected_votes_tracking: %d votes are expected, as there were so many once; to expect fewer, stop all brokers and remove %s of each", q.Tracked, b.trackedPath()))
	}
}

// keepTracked writes that more votes are expected than ever. It fits a sector, which is written wholly or not.
func (b *Broker) keepTracked(votes int, log *slog.Logger) {
	if b.opts.NoDataDir {
		return
	}
	f, err := os.OpenFile(b.trackedPath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt(binary.NativeEndian.AppendUint32(nil, uint32(votes)), 0)
		err = errors.Join(err, f.Truncate(trackedBytes), f.Sync(), f.Close())
	}
	if err != nil {
		log.Log(context.Background(), logging.Warning, "expected_votes_tracking: it cannot be kept that so many votes are expected: "+err.Error())
	}
}
