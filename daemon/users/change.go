package users

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Add puts a user into the file, which is made if it is not there.
func Add(path, name, password string) error {
	return set(path, name, password, func(t *table) error {
		if _, ok := t.users[name]; ok {
			return fmt.Errorf("there is a user %q already: change the password with "+
				"'qpid-cluster user passwd %s'", name, name)
		}
		return nil
	})
}

// SetPassword gives a user another password.
func SetPassword(path, name, password string) error {
	return set(path, name, password, func(t *table) error { return t.mustHave(name) })
}

func set(path, name, password string, check func(t *table) error) error {
	if err := errors.Join(CheckName(name), CheckPassword(password)); err != nil {
		return err
	}
	return change(path, func(t *table) error {
		if err := check(t); err != nil {
			return err
		}
		k, err := newKeys(password)
		t.users[name] = k
		return err
	})
}

// Delete takes a user out of the file.
func Delete(path, name string) error {
	return change(path, func(t *table) error {
		if err := t.mustHave(name); err != nil {
			return err
		}
		delete(t.users, name)
		return nil
	})
}

func (t *table) mustHave(name string) error {
	if _, ok := t.users[name]; !ok {
		return fmt.Errorf("there is no user %q: 'qpid-cluster user list' shows who there is", name)
	}
	return nil
}

// List returns the names in the file, sorted.
func List(path string) ([]string, error) {
	t, _, err := read(path)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(t.users)), nil
}

// change reads the file, changes it and puts it back, while nobody else does.
func change(path string, do func(t *table) error) error {
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	defer func() { _ = directory.Close() }()
	if err := unix.Flock(int(directory.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("users file: lock %s: %w", directory.Name(), err)
	}
	t, _, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		t, err = newTable()
	}
	if err != nil {
		return err
	}
	if err := do(t); err != nil {
		return err
	}
	if err := replace(path, directory, t.format()); err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	return nil
}

// replace writes a file so that a reader, and a crash, finds the old one or the new one.
func replace(path string, directory *os.File, data []byte) error {
	owner, err := os.Stat(path)
	if err != nil {
		if owner, err = directory.Stat(); err != nil {
			return err
		}
	}
	file, err := os.CreateTemp(directory.Name(), filepath.Base(path)+".new*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already if all went well
	_, err = file.Write(data)
	if who, ok := owner.Sys().(*syscall.Stat_t); ok && err == nil && os.Geteuid() == 0 {
		err = file.Chown(int(who.Uid), int(who.Gid))
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return directory.Sync()
}

// stat is the state of the file of a name.
func stat(path string) (fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}, err
	}
	return stateOf(info), nil
}

// stateOf includes the inode: two changes within the clock's grain, as two lines of a
// script are, leave time and size alike.
func stateOf(info fs.FileInfo) fileState {
	s := fileState{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// Create makes a users file without users, if there is none.
func Create(path string) error { return change(path, func(*table) error { return nil }) }
