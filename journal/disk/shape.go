package disk

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// unfinishedSuffix marks a file that is being made. After a crash it means nothing.
const unfinishedSuffix = ".unfinished"

// zeroBytes is how much of a new file is filled at a time.
const zeroBytes = 1 << 20

// create makes a file whose every block is reserved and written. Reserving alone takes a
// hundredth of the time, but then each first write to a block changes the file's map, which has
// to be on the disk, too: on ext4 the flush after a write of 4 KiB took 139 µs where it takes
// 82 µs in a file that was written before (both the median of 400). Segments are used over and
// over, so this is paid once. A file gets its name when it is whole.
func (d *Disk) create(op *journal.Op) error {
	name, size := op.File, op.Size
	unfinished := name + unfinishedSuffix
	err := d.absent(name)
	if err == nil {
		err = d.fill(unfinished, size)
	}
	if err == nil {
		err = d.rename(unfinished, name)
	}
	if err == nil {
		return nil
	}
	if e := unix.Unlink(d.path(unfinished)); e != nil && e != unix.ENOENT {
		err = errors.Join(err, e)
	}
	return d.wrap(fmt.Sprintf("reserve %d bytes for", size), name, err)
}

// absent is an error if there is a file of that name: it may hold what somebody needs. Nobody else
// makes files here, as the directory is locked.
func (d *Disk) absent(name string) error {
	var st unix.Stat_t
	err := unix.Lstat(d.path(name), &st)
	switch err {
	case nil:
		return unix.EEXIST
	case unix.ENOENT:
		return nil
	}
	return err
}

// rename gives a file that has been flushed its name, for good.
func (d *Disk) rename(from, to string) error {
	if err := again(func() error { return unix.Rename(d.path(from), d.path(to)) }); err != nil {
		return err
	}
	return d.syncNames()
}

// syncNames has the names in the directory survive a loss of power.
func (d *Disk) syncNames() error {
	return again(func() error { return unix.Fsync(int(d.handle.Fd())) })
}

func (d *Disk) fill(name string, size int64) (err error) {
	fd, err := d.openFile(name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|d.kind.flags())
	if err != nil {
		return err
	}
	defer func() {
		if e := unix.Close(fd); err == nil {
			err = e
		}
	}()
	// All at once first: the blocks lie together, and what does not fit is not begun. A file
	// system without it reserves as it is written to.
	err = again(func() error { return unix.Fallocate(fd, 0, 0, size) })
	if err != nil && err != unix.EOPNOTSUPP {
		return err
	}
	for at := int64(0); at < size; at += zeroBytes {
		if err := pwrite(fd, d.zeros[:min(zeroBytes, size-at)], at); err != nil {
			return err
		}
	}
	return again(func() error { return unix.Fsync(fd) })
}

func (d *Disk) remove(name string) error {
	d.mu.Lock()
	err := d.files.forget(name)
	d.mu.Unlock()
	if _, ok := d.appends[name]; ok && err == nil {
		err = d.endAppends(name)
	}
	if err == nil {
		err = unix.Unlink(d.path(name))
	}
	if err == nil {
		err = d.syncNames()
	}
	return d.wrap("remove", name, err)
}

// append writes to a file of any length, has it survive under its new name, or removes it.
func (d *Disk) append(op *journal.Op) error {
	switch op.Kind {
	case journal.OpCommit:
		return d.wrap("commit", op.To, d.commit(op.File, op.To))
	case journal.OpRemove:
		return d.remove(op.File)
	}
	return d.wrap("append to", op.File, d.appendTo(op.File, op.Data, op.Offset))
}

// appended is a file that is being appended to.
type appended struct {
	fd  int
	err error // of an append: then there is nothing to be committed
}

func (d *Disk) appendTo(name string, b []byte, offset int64) error {
	f := d.appends[name]
	if f == nil || offset == 0 {
		flags := unix.O_RDWR
		if offset == 0 {
			flags |= unix.O_CREAT | unix.O_TRUNC
		}
		if f != nil {
			if err := d.endAppends(name); err != nil {
				return err
			}
		}
		fd, err := d.openFile(name, flags)
		if err != nil {
			return err
		}
		f = &appended{fd: fd}
		d.appends[name] = f
	}
	if f.err == nil {
		f.err = pwrite(f.fd, b, offset)
	}
	return f.err
}

// pwrite writes all of b.
func pwrite(fd int, b []byte, offset int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, offset)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
		b, offset = b[n:], offset+int64(n)
	}
	return nil
}

func (d *Disk) endAppends(name string) error {
	f := d.appends[name]
	delete(d.appends, name)
	return unix.Close(f.fd)
}

// commit flushes a file and renames it. What has the new name already is replaced.
func (d *Disk) commit(name, to string) error {
	f := d.appends[name]
	if f == nil {
		return fmt.Errorf("nothing was appended to %s", name)
	}
	err := f.err
	if err == nil {
		err = again(func() error { return unix.Fsync(f.fd) })
	}
	if e := d.endAppends(name); err == nil {
		err = e
	}
	if err != nil {
		if e := unix.Unlink(d.path(name)); e != nil {
			err = errors.Join(err, e)
		}
		return err
	}
	return d.rename(name, to)
}
