package users

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// File is a users file that is open for asking. Its methods may be called at the same time.
type File struct {
	// Unreadable, if not nil, is told why a file that has changed cannot be read, by the
	// first who asks for a user then. It is set before anybody asks.
	Unreadable func(error)

	path string

	mu    sync.Mutex
	table *table
	state fileState
	told  string // what Unreadable was told last
}

// fileState tells a file from a later one of the same name.
type fileState struct {
	modified time.Time
	size     int64
	inode    uint64
}

// Open reads a users file.
func Open(path string) (*File, error) {
	f := &File{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again, changed or not. What was there before stays in force if
// that fails.
func (f *File) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reload()
}

func (f *File) reload() error {
	t, state, err := read(f.path)
	// A file that cannot be read is not tried again until it changes.
	f.state = state
	if err == nil {
		f.table, f.told = t, ""
	}
	return err
}

// keysOf looks a user up, after reading the file again if it has changed: whoever was added may come
// in at once, and whoever was removed may not. To look at the file costs nothing beside the keys.
func (f *File) keysOf(name string) (k keys, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state, err := stat(f.path); err != nil || state != f.state {
		f.tell(f.reload())
	}
	if k, ok = f.table.users[name]; ok {
		return k, true
	}
	return unknownKeys(f.table.seed, name), false
}

// tell reports why the file cannot be read any more, once for each cause.
func (f *File) tell(err error) {
	if err != nil && f.Unreadable != nil && err.Error() != f.told {
		f.told = err.Error()
		f.Unreadable(err)
	}
}

// Verify tells whether this is the user's password. It takes as long for users who do not
// exist.
func (f *File) Verify(user, password string) bool {
	k, ok := f.keysOf(user)
	return k.is(password) && ok
}

// Scram returns a user's keys, or, with ok false, made-up ones that are always the same.
func (f *File) Scram(user string) (salt, storedKey, serverKey []byte, count int, ok bool) {
	k, ok := f.keysOf(user)
	return k.salt, k.stored, k.server, k.iterations, ok
}

// Len is the number of users.
func (f *File) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.table.users)
}

// read reads a file and refuses one that others may read or change.
func read(path string) (*table, fileState, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fileState{}, fmt.Errorf("users file: %w; make one with "+
			"'qpid-cluster user add NAME --users-file %s'", err, path)
	}
	if err != nil {
		return nil, fileState{}, fmt.Errorf("users file: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fileState{}, fmt.Errorf("users file: %w", err)
	}
	state := stateOf(info)
	switch {
	case !info.Mode().IsRegular():
		return nil, state, fmt.Errorf("users file: %s is no regular file", path)
	case info.Mode().Perm()&0o027 != 0:
		return nil, state, fmt.Errorf("users file: %s has mode %04o, and others may read or change it: "+
			"chmod 600 %s", path, info.Mode().Perm(), path)
	case info.Size() > maxFileBytes:
		return nil, state, fmt.Errorf("users file: %s has %d bytes, at most %d are read",
			path, info.Size(), maxFileBytes)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, state, fmt.Errorf("users file: %w", err)
	}
	t, err := parse(path, data)
	return t, state, err
}
