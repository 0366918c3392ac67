package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// openLimit is how many segments are kept open: more than are written to and read from at a
// time, and few beside what a process may open.
const openLimit = 128

// files are the segments that are open. Guarded by Disk.mu.
type files struct {
	open  map[string]*file
	clock uint64
}

// file is an open segment.
type file struct {
	name  string
	fd    int // direct where the file system has it
	plain int // for reads that are not of whole blocks; -1 until there is one
	dirty bool
	ahead int64  // how far the kernel was asked to read
	uses  int    // calls that are at it
	last  uint64 // when it was used, by files.clock
}

// get opens a file, or finds it open. The caller takes one from uses when it is done with it.
func (s *files) get(d *Disk, name string) (*file, error) {
	s.clock++
	if f := s.open[name]; f != nil {
		f.uses++
		f.last = s.clock
		return f, nil
	}
	if len(s.open) >= openLimit {
		if err := s.closeIdle(d); err != nil {
			return nil, err
		}
	}
	fd, err := d.openFile(name, unix.O_RDWR|d.kind.flags())
	if err != nil {
		return nil, d.wrap("open", name, err)
	}
	f := &file{name: name, fd: fd, plain: -1, uses: 1, last: s.clock}
	s.open[name] = f
	return f, nil
}

// closeIdle closes the file that nothing has been done to for longest. If all are in use there
// will be more open for a while.
func (s *files) closeIdle(d *Disk) error {
	var idle *file
	for _, f := range s.open {
		if f.uses == 0 && !f.dirty && (idle == nil || f.last < idle.last) {
			idle = f
		}
	}
	if idle == nil {
		return nil
	}
	delete(s.open, idle.name)
	return d.wrap("close", idle.name, idle.close())
}

// forget closes a file that is to go.
func (s *files) forget(name string) error {
	f := s.open[name]
	if f == nil {
		return nil
	}
	delete(s.open, name)
	return f.close()
}

// takeDirty lists the files written since the last flush.
func (s *files) takeDirty(list []*file) []*file {
	for _, f := range s.open {
		if f.dirty {
			f.dirty = false
			f.uses++
			list = append(list, f)
		}
	}
	return list
}

func (s *files) closeAll() (err error) {
	for _, f := range s.open {
		err = errors.Join(err, f.close())
	}
	clear(s.open)
	return err
}

func (f *file) close() error {
	err := unix.Close(f.fd)
	if f.plain >= 0 {
		err = errors.Join(err, unix.Close(f.plain))
	}
	return err
}

func (d *Disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *Disk) openFile(name string, flags int) (fd int, err error) {
	err = again(func() (err error) {
		fd, err = unix.Open(d.path(name), flags|unix.O_CLOEXEC, 0o640)
		return err
	})
	return fd, err
}

// wrap says where an error happened, and what to do if it is of a kind that can be mended.
func (d *Disk) wrap(what, name string, err error) error {
	if err == nil {
		return nil
	}
	advice, broken := "", false
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		advice = "; make room on the file system, or take messages from queues"
	case errors.Is(err, unix.EROFS): // before EIO: a file system that has met one becomes that
		broken = true
		advice = "; the file system has become read-only: look at the kernel's log (dmesg), check it and mount it anew"
	case slices.ContainsFunc(failures, func(e error) bool { return errors.Is(err, e) }):
		broken = true
		advice = "; the disk fails: look at the kernel's log (dmesg) and replace it"
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		advice = "; let the broker have more open files (LimitNOFILE of its service, ulimit -n)"
	case errors.Is(err, unix.ENOENT):
		advice = "; somebody has removed it: nobody but the broker may change its journal"
	}
	err = fmt.Errorf("cannot %s %s: %w%s", what, d.path(name), err, advice)
	if broken {
		return &brokenError{err}
	}
	return err
}

// failures are those of a disk, or of a file system that has given up for one.
var failures = []error{unix.EIO, unix.ENXIO, unix.ENODEV, unix.EUCLEAN, unix.ESHUTDOWN}

// brokenError is journal.ErrBroken, and says more.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

func (e *brokenError) Is(target error) bool { return target == journal.ErrBroken }
