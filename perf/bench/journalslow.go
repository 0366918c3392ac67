package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/internal/testdisk"
)

// Where a flush takes a tenth of a millisecond, as on many virtual machines, publishers are bound by their
// connections, and flushes need not be shared. On most disks it takes longer.
const (
	slowFlush = 2 * time.Millisecond
	slowBytes = 2 << 30
)

// slowly measures a broker alone on a disk whose flush takes its time.
func (o *journalOptions) slowly(ctx context.Context, dir string, res *journalResults) (err error) {
	if err := testdisk.Missing(); err != nil {
		fmt.Fprintf(os.Stderr, "nothing is measured on a disk with slow flushes: %v\n", err)
		return nil
	}
	mounted := filepath.Join(dir, "volume")
	if err := os.MkdirAll(mounted, 0o700); err != nil {
		return err
	}
	d, err := testdisk.New(dir, slowBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for _, line := range [][]string{{"mkfs.ext4", "-q", d.Device()}, {"mount", d.Device(), mounted}} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line[0], err, out)
		}
	}
	defer func() {
		if out, e := exec.Command("umount", mounted).CombinedOutput(); e != nil {
			err = errors.Join(err, fmt.Errorf("umount: %w: %s", e, out))
		}
	}()
	d.FlushTakes(slowFlush)
	f, err := findFio(mounted)
	if err != nil {
		return err
	}
	return errors.Join(o.cluster(ctx, filepath.Join(mounted, "broker"), 1, slowFlush, f, res), f.clean())
}
