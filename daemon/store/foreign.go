package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// original is a store of the original broker.
type original struct {
	dir     string    // in the store's directory
	parts   [2]string // directories in it, one of which is always there
	name    string
	suffix  string // of the files that hold messages
	magic   string // they begin with it
	version func(after []byte) uint
	macro   string // what its error messages called the version
}

var originals = []original{
	{"rhm", [2]string{"jrnl", "dat"}, "legacystore", ".jdat", "RHMf", func(b []byte) uint { return uint(b[0]) }, "RHM_JDAT_VERSION"},
	{"qls", [2]string{"jrnl2", "dat2"}, "linearstore", ".jrnl", "QLSf", func(b []byte) uint { return uint(binary.LittleEndian.Uint16(b)) }, "QLS_JRNL_VERSION"},
}

// ForeignError tells of a store that the original broker has written.
type ForeignError struct {
	Dir     string
	Name    string // of the kind of store
	Files   int    // that hold messages, or are ready to
	Macro   string
	Version uint // 0: there is no file that says it
}

func (e *ForeignError) Error() string {
	version := ""
	if e.Version != 0 {
		version = fmt.Sprintf(", %s %d", e.Macro, e.Version)
	}
	return fmt.Sprintf("%s is a store of the original qpidd (%s, %d journal files%s), which this broker cannot read and does not touch; "+
		"take the messages out with the broker that wrote it and send them to this one, then move %s away; or give another --store-dir to leave it where it is",
		e.Dir, e.Name, e.Files, version, e.Dir)
}

// foreign is an error if the original broker has a store in dir, or dir is within one.
func foreign(dir string) error {
	for i := range originals {
		o := &originals[i]
		for _, d := range []string{filepath.Join(dir, o.dir), dir} {
			if filepath.Base(d) == o.dir && (isDir(filepath.Join(d, o.parts[0])) || isDir(filepath.Join(d, o.parts[1]))) {
				return o.describe(d)
			}
		}
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// describe counts the store's files, and reads the version of the first that has one.
func (o *original) describe(dir string) error {
	e := &ForeignError{Dir: dir, Name: o.name, Macro: o.macro}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if filepath.Ext(path) != o.suffix || !d.Type().IsRegular() { // linearstore links to each
			return nil
		}
		e.Files++
		if e.Version == 0 {
			e.Version = o.versionOf(path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w (not all of it can be read: %w)", e, err)
	}
	return e
}

// versionOf is the version in a file's header, or 0.
func (o *original) versionOf(path string) uint {
	f, err := os.Open(path)
	if err != nil {
		return 0 // it counts, whatever is in it
	}
	defer f.Close()
	var head [6]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || string(head[:4]) != o.magic {
		return 0
	}
	return o.version(head[4:])
}
