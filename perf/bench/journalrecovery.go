package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// recoveryFigures are of one restart with a backlog, and no checkpoint: every message is looked at.
type recoveryFigures struct {
	Bytes           int64   `json:"bytes"`
	Seconds         float64 `json:"seconds"`
	ReadBytesPerS   float64 `json:"fio_read_bytes_per_s"`
	DirectBytesPerS float64 `json:"fio_direct_read_bytes_per_s"`
	OfReading       float64 `json:"of_reading"`
}

// keeper is the owner of a log who keeps all messages in it, as a queue without consumers.
type keeper struct {
	log  *journal.Log
	refs []journal.Ref
}

func (k *keeper) Restore([]byte, int64) error       { return nil }
func (k *keeper) Moved(journal.Record, journal.Ref) {}
func (k *keeper) Settle()                           {}

func (k *keeper) Replay(_ journal.Record, ref journal.Ref, _ int64) error {
	k.log.Retain(ref, 1)
	k.refs = append(k.refs, ref)
	return nil
}

const (
	recoveredBytes = 256       // of a message
	backlogMemory  = 256 << 20 // that the log may use while it is filled
)

// recover fills a log, and then by turns has fio read its files, and recovers, each time from the
// disk.
func (o *journalOptions) recover(ctx context.Context, dir string, f *fio, res *journalResults) error {
	if err := o.backlog(dir); err != nil {
		return err
	}
	res.Messages = o.Messages
	for range o.Rounds {
		r, err := o.recoverOnce(ctx, dir, f)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "recovered %d messages, %.0f MiB, in %.2f s: %.0f MiB/s; reading the files %.0f MiB/s, directly %.0f MiB/s; ratio %.2f\n",
			o.Messages, float64(r.Bytes)/mib, r.Seconds, float64(r.Bytes)/mib/r.Seconds, r.ReadBytesPerS/mib, r.DirectBytesPerS/mib, r.OfReading)
		res.Recoveries = append(res.Recoveries, r)
	}
	return os.RemoveAll(dir)
}

func (o *journalOptions) recoverOnce(ctx context.Context, dir string, f *fio) (r recoveryFigures, err error) {
	for _, direct := range []bool{false, true} {
		if err := forgetPages(dir); err != nil {
			return r, err
		}
		read, err := f.read(ctx, dir, direct)
		if err != nil {
			return r, err
		}
		if direct {
			r.DirectBytesPerS = read.BytesPerSecond
		} else {
			r.ReadBytesPerS = read.BytesPerSecond
		}
	}
	if err := forgetPages(dir); err != nil {
		return r, err
	}
	d, err := openLog(dir, backlogMemory)
	if err != nil {
		return r, err
	}
	k := &keeper{log: d.log, refs: make([]journal.Ref, 0, o.Messages)}
	began := time.Now()
	found, err := d.log.Recover(k)
	r.Seconds, r.Bytes = time.Since(began).Seconds(), found.Bytes
	if err == nil && len(k.refs) != o.Messages {
		err = fmt.Errorf("%d messages were recovered of %d", len(k.refs), o.Messages)
	}
	r.OfReading = float64(r.Bytes) / r.Seconds / r.ReadBytesPerS
	return r, errors.Join(err, d.close())
}

func (o *journalOptions) backlog(dir string) (err error) {
	d, err := openLog(dir, backlogMemory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if _, err := d.start(&keeper{log: d.log}); err != nil {
		return err
	}
	body := make([]byte, recoveredBytes)
	for n := range o.Messages {
		ref, err := d.append(body)
		if err != nil {
			return err
		}
		d.log.Retain(ref, 1)
		if n%64 == 0 {
			if err := d.collect(false); err != nil {
				return err
			}
		}
	}
	return d.sync()
}
