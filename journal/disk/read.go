package disk

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// aheadBytes is how far the kernel is asked to read ahead of recovery, which goes through files
// from their beginning to their end.
const aheadBytes = 8 << 20

// List tells the files of the directory and their sizes, in the order of their names.
func (d *Disk) List() ([]journal.FileInfo, error) { return List(d.dir) }

// List tells the files of a journal's directory. What was never finished is none.
func List(dir string) (list []journal.FileInfo, err error) {
	all, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("cannot list the journal: %w", err)
	}
	for _, e := range all {
		if !e.Type().IsRegular() || strings.HasSuffix(e.Name(), unfinishedSuffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("cannot list the journal: %w", err)
		}
		list = append(list, journal.FileInfo{Name: e.Name(), Size: info.Size()})
	}
	return list, nil
}

// ReadAt reads as io.ReaderAt does, on the goroutine that calls, and has the kernel read ahead.
func (d *Disk) ReadAt(name string, b []byte, offset int64) (n int, err error) {
	f, err := d.forReading(name)
	if err != nil {
		return 0, err
	}
	defer d.release(f)
	d.readAhead(f, offset+int64(len(b)))
	n, err = pread(f.plain, b, offset)
	if err == io.EOF {
		return n, err
	}
	return n, d.wrap("read", name, err)
}

// readAhead keeps the kernel at least half of aheadBytes ahead of a reader who is at an offset.
func (d *Disk) readAhead(f *file, at int64) {
	d.mu.Lock()
	from, to := max(at, f.ahead), at+aheadBytes
	due := f.ahead < at+aheadBytes/2
	if due {
		f.ahead = to
	}
	d.mu.Unlock()
	if due {
		// Nothing is lost if the kernel does not want to.
		_ = unix.Fadvise(f.plain, from, to-from, unix.FADV_WILLNEED)
	}
}

// read does an OpRead: direct if it is of whole blocks into memory that allows it.
func (d *Disk) read(op *journal.Op) error {
	f, err := d.forReading(op.File)
	if err != nil {
		return err
	}
	defer d.release(f)
	fd := f.plain
	at := uintptr(unsafe.Pointer(unsafe.SliceData(op.Data)))
	if (at|uintptr(len(op.Data))|uintptr(op.Offset))%journal.BlockBytes == 0 {
		fd = f.fd
	}
	_, err = pread(fd, op.Data, op.Offset)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return d.wrap("read", op.File, err)
}

// forReading opens a file for reads of any kind.
func (d *Disk) forReading(name string) (*file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.files.get(d, name)
	if err != nil {
		return nil, err
	}
	if f.plain < 0 {
		if f.plain, err = d.openFile(name, unix.O_RDONLY); err != nil {
			f.plain = -1
			f.uses--
			return nil, d.wrap("open", name, err)
		}
	}
	return f, nil
}

func (d *Disk) release(f *file) {
	d.mu.Lock()
	f.uses--
	d.mu.Unlock()
}

// pread fills b, or says io.EOF.
func pread(fd int, b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		got, err := unix.Pread(fd, b[n:], offset+int64(n))
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return n, err
		case got == 0:
			return n, io.EOF
		}
		n += got
	}
	return n, nil
}
