package inspect

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// Journal is one that is looked at.
type Journal struct {
	Dir   string
	Store *store.Identity // nil: what says whose it is cannot be read
	lost  error           // why not
	files journal.Files
	lock  io.Closer
}

// Open finds the journal in a broker's directory, or a journal's own, and locks it.
func Open(dir string) (*Journal, error) {
	d, err := store.Find(dir)
	if err != nil {
		return nil, err
	}
	lock, err := disk.Lock(d)
	if err != nil {
		return nil, err
	}
	j := &Journal{Dir: d, files: &directory{dir: d, open: map[string]*os.File{}}, lock: lock}
	if id, err := store.Show(d); err == nil {
		j.Store = id
	} else {
		j.lost = err
	}
	return j, nil
}

// Close unlocks it.
func (j *Journal) Close() error {
	return errors.Join(j.files.(*directory).close(), j.lock.Close())
}

// directory is the Files of a directory that is only read.
type directory struct {
	dir  string
	open map[string]*os.File
}

// List tells the journal's files.
func (d *directory) List() ([]journal.FileInfo, error) { return disk.List(d.dir) }

// openFiles is how many are kept open: a journal may have thousands.
const openFiles = 64

// ReadAt reads from one of them.
func (d *directory) ReadAt(name string, b []byte, offset int64) (int, error) {
	f := d.open[name]
	if f == nil {
		if len(d.open) >= openFiles {
			if err := d.close(); err != nil {
				return 0, err
			}
		}
		var err error
		if f, err = os.Open(filepath.Join(d.dir, name)); err != nil {
			return 0, fmt.Errorf("cannot read the journal: %w", err)
		}
		d.open[name] = f
	}
	return f.ReadAt(b, offset)
}

func (d *directory) close() (err error) {
	for name, f := range d.open {
		err = errors.Join(err, f.Close())
		delete(d.open, name)
	}
	return err
}
