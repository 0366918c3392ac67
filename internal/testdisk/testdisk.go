package testdisk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a block device.
type Disk struct {
	dir    string
	cache  *cache
	server *fuse.Server
	device string // empty: none
}

// Missing is what keeps this host from having such a device; nil if nothing does.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("block devices are made by root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("this kernel has no FUSE: %w", err)
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("this kernel has no loop devices: %w", err)
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		return fmt.Errorf("%w: install the package mount", err)
	}
	return nil
}

// New makes a device of so many bytes, whose blocks are in a file in dir.
func New(dir string, bytes int64) (*Disk, error) {
	file, err := os.OpenFile(filepath.Join(dir, "blocks"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	d := &Disk{dir: filepath.Join(dir, "fuse"), cache: newCache(file)}
	if err := errors.Join(file.Truncate(bytes), os.Mkdir(d.dir, 0o700)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	const largest = 512 << 10 // of a pipe, by which it comes, there is no more than a MiB
	d.server, err = fs.Mount(d.dir, &root{image: &image{cache: d.cache, bytes: bytes}},
		&fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "testdisk", MaxWrite: largest, DisableXAttrs: true}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("testdisk: mount: %w", err), file.Close())
	}
	if err := d.Attach(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Attach makes the device.
func (d *Disk) Attach() error {
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", filepath.Join(d.dir, imageName)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, out)
	}
	d.device = strings.TrimSpace(string(out))
	return nil
}

// Detach takes the device away. Nothing may be mounted from it.
func (d *Disk) Detach() error {
	if d.device == "" {
		return nil
	}
	out, err := exec.Command("losetup", "--detach", d.device).CombinedOutput()
	if err != nil {
		return fmt.Errorf("losetup: %w: %s", err, out)
	}
	d.device = ""
	return nil
}

// Device is where the device is.
func (d *Disk) Device() string { return d.device }

// Close ends the disk, and its device, which goes a little after its last user has.
func (d *Disk) Close() error {
	d.Restore() // or what has to be written at the end would hang on to it
	detached := d.Detach()
	err := d.server.Unmount()
	for range closeTries {
		if err == nil {
			break
		}
		time.Sleep(closeWait)
		err = d.server.Unmount()
	}
	return errors.Join(detached, err, d.cache.file.Close())
}

const (
	closeTries = 50
	closeWait  = 100 * time.Millisecond
)

// set changes how the disk behaves.
func (d *Disk) set(change func(c *cache)) {
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	change(d.cache)
}

// FlushTakes says how long a flush takes, at least.
func (d *Disk) FlushTakes(t time.Duration) { d.set(func(c *cache) { c.takes = t }) }

// FailFlushes has flushes fail, or no longer.
func (d *Disk) FailFlushes(fail bool) { d.set(func(c *cache) { c.noFlush = fail }) }

// FailWrites has writes fail, or no longer.
func (d *Disk) FailWrites(fail bool) { d.set(func(c *cache) { c.noWrite = fail }) }

// Flushes is how many flushes there were.
func (d *Disk) Flushes() (n int) {
	d.set(func(c *cache) { n = c.flushes })
	return n
}

// CutPower turns the disk off: every call fails until Restore. What was not flushed is there or not,
// as r has it.
func (d *Disk) CutPower(r *rand.Rand) error { return d.cache.cut(r) }

// Restore turns it on.
func (d *Disk) Restore() { d.set(func(c *cache) { c.off = false }) }
