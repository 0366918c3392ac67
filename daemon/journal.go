package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// openStore makes the member keep what is durable in its store, if it has one.
func (b *Broker) openStore(cfg *cluster.Config, log *slog.Logger) (err error) {
	o := b.opts
	cfg.Sync = map[string]cluster.Sync{config.SyncMajority: cluster.SyncMajority, config.SyncAll: cluster.SyncAll,
		config.SyncLocal: cluster.SyncLocal, config.SyncNone: cluster.SyncNone}[o.Sync]
	if o.StoreDir == "" {
		return nil
	}
	if b.store, err = store.Open(o.StoreDir, bool(o.Truncate), random); err != nil {
		return err
	}
	notice := func(text string) { log.Log(context.Background(), logging.Notice, text) }
	for _, n := range b.store.Notes {
		notice(n)
	}
	e := b.engine
	b.disk, err = disk.Open(b.store.Journal, disk.Options{Done: func(op *journal.Op) { e.tell(message{kind: msgDisk, op: op}) }})
	if err != nil {
		return err
	}
	notice(b.disk.Describe())
	cfg.Disk, cfg.Files, cfg.Store = b.disk, b.disk, b.store.Store
	cfg.Marked = b.store.Marked()
	cfg.PagingBytes = cfg.MemoryBytes / 8 * 7
	return nil
}

// recover reads what the store holds.
func (b *Broker) recover(log *slog.Logger) error {
	if b.disk == nil {
		return nil
	}
	began := time.Now()
	n := b.engine.node
	r, err := n.Recover(b.engine.now())
	if err != nil {
		return b.unrecovered(err)
	}
	if r.Cluster != b.store.Cluster && r.Cluster != (journal.UUID{}) && b.store.Cluster != (journal.UUID{}) {
		return fmt.Errorf("Cluster-ID mismatch. Stores belong to different clusters. %s is of cluster %s by its file %q, and its journal is of cluster %s: put the files back that belong together, or begin an empty store with --truncate yes", //nolint:staticcheck // the original's words
			b.opts.StoreDir, b.store.Cluster, "store", r.Cluster)
	}
	if id, index, messages, ok := n.Recovered(); ok {
		text := fmt.Sprintf("recovered %d messages of cluster %s up to entry %d in %v, from a checkpoint and %d MB behind it",
			messages, id, index, time.Since(began).Round(time.Millisecond), r.Bytes>>20)
		if r.Cut > 0 {
			text += fmt.Sprintf("; %d runs that had not been flushed, or not by what is known of them, were cut off: %v", r.Cut, r.CutAt)
		}
		log.Log(context.Background(), logging.Notice, text)
	}
	return nil
}

// unrecovered says what to do about a store that cannot be recovered.
func (b *Broker) unrecovered(err error) error {
	dir := b.opts.StoreDir
	if corrupt := (*journal.CorruptError)(nil); !errors.As(err, &corrupt) {
		return fmt.Errorf("store %s: %w", dir, err)
	}
	if b.opts.ClusterName == "" {
		return fmt.Errorf("store %s: %w; qpid-cluster journal repair %s tells what can be done", dir, err, dir)
	}
	return fmt.Errorf("store %s: %w; if other members have what it had, clear it with qpid-cluster store %s --clear, and the broker gets everything from them; else qpid-cluster journal repair %s tells what can be done", dir, err, dir, dir)
}

// keepIdentity has the store say of which cluster it is, and that its broker runs.
func (b *Broker) keepIdentity(s *cluster.Status) {
	id := journal.UUID(s.ID)
	if b.store == nil || s.State != cluster.Active || b.store.Cluster == id && !b.store.Clean {
		return
	}
	b.store.Cluster, b.store.Clean, b.store.Shutdown = id, false, journal.UUID{}
	if err := b.store.Save(); err != nil {
		b.fail(err)
	}
}

// saveTime is how long a broker that ends waits for its disk, and for room on one that is full, which
// nobody may be about to make. The units grant more than that.
const (
	saveTime = 30 * time.Second
	roomTime = 2 * time.Second
)

// saveStore ends the journal in order: what it takes to recover is written down.
func (b *Broker) saveStore() {
	e := b.engine
	e.call(func(time.Duration) { e.node.Leave() })
	if b.disk == nil {
		return
	}
	saved, limit := false, saveTime
	if b.noRoom.Load() {
		limit = roomTime
		b.log.Warn("the disk is full, so that the journal cannot be ended in order: what is in it is recovered at the next start, once there is room")
	}
	b.await(func() (over bool) {
		e.call(func(time.Duration) { over, saved = e.node.Saved() })
		return over
	}, limit)
	var era uint64
	e.call(func(time.Duration) { era = e.node.Era() })
	if !saved || b.store.Cluster == (journal.UUID{}) {
		return
	}
	b.store.Clean = true
	binary.BigEndian.PutUint64(b.store.Shutdown[:], era)
	if err := b.store.Save(); err != nil {
		b.log.Error(err.Error())
	}
}

// closeStore gives the store back.
func (b *Broker) closeStore() {
	if b.disk == nil {
		return
	}
	if err := b.disk.Close(); err != nil {
		b.log.Error(err.Error())
	}
}
