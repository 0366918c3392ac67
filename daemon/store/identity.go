package store

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Format is the version of the file that says whose a store is.
const Format = 1

// IdentityName is the file that says whose a store is.
const IdentityName = "store"

// Names in a store's directory.
const (
	journalName  = "journal"
	identityName = IdentityName
	newSuffix    = ".unfinished" // as package disk's: what is left of it means nothing
	// checkpointPrefix is that of checkpoints, the one that was never finished included.
	checkpointPrefix = "checkpoint"
)

// Identity says whose a store is.
type Identity struct {
	Store    journal.UUID
	Cluster  journal.UUID // zeros: it belongs to none yet
	Shutdown journal.UUID // of the members that were stopped together; zeros: none
	Clean    bool         // the broker ended in order
}

// Status is what the original called a store: empty, clean or dirty.
func (i *Identity) Status() string {
	switch {
	case i.Cluster == (journal.UUID{}):
		return "empty"
	case i.Clean:
		return "clean"
	}
	return "dirty"
}

func (i *Identity) text() string {
	clean := "no"
	if i.Clean {
		clean = "yes"
	}
	return fmt.Sprintf("# Whose store this is. The broker writes it; qpid-cluster store shows and changes it.\n"+
		"format: %d\nstore-id: %s\ncluster-id: %s\nshutdown-id: %s\nclean: %s\n", Format, i.Store, i.Cluster, i.Shutdown, clean)
}

// load reads the identity in a journal's directory; the error is fs.ErrNotExist if there is none.
func load(dir string) (i Identity, err error) {
	path := filepath.Join(dir, identityName)
	b, err := os.ReadFile(path)
	if err != nil {
		return i, fmt.Errorf("cannot read whose store this is: %w", err)
	}
	if err := i.parse(b); err != nil {
		return i, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// errDamaged ends what is said about a file that cannot be right.
var errDamaged = errors.New("somebody has changed it: qpid-cluster journal repair can make it anew from what is in the journal; or begin an empty store with --truncate yes")

func (i *Identity) parse(b []byte) error {
	ids := map[string]*journal.UUID{"store-id": &i.Store, "cluster-id": &i.Cluster, "shutdown-id": &i.Shutdown}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch id := ids[name]; {
		case !ok || seen[name]:
			err = fmt.Errorf("line %d: %q", n, line)
		case name == "format":
			if err := checkFormat(value); err != nil {
				return err
			}
		case name == "clean":
			i.Clean = value == "yes"
			if !i.Clean && value != "no" {
				err = fmt.Errorf("line %d: %q is neither yes nor no", n, value)
			}
		case id != nil:
			*id, err = ParseUUID(value)
		case !seen["format"]:
			err = fmt.Errorf("line %d: %q comes before the format", n, name)
		}
		if err != nil {
			return fmt.Errorf("%w; %w", err, errDamaged)
		}
		seen[name] = true
	}
	for _, name := range []string{"format", "store-id", "cluster-id", "shutdown-id", "clean"} {
		if !seen[name] {
			return fmt.Errorf("there is no %s; %w", name, errDamaged)
		}
	}
	return lines.Err()
}

func checkFormat(value string) error {
	have, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("format %q is no number; %w", value, errDamaged)
	}
	if have != Format {
		return &FormatError{have}
	}
	return nil
}

// FormatError tells of a store that another version has written.
type FormatError struct{ Have int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("store format version mismatch: the store has version %d, this broker reads and writes version %d; start the broker version that wrote it, or give another --store-dir to begin with an empty one", e.Have, Format)
}

// ParseUUID reads 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
func ParseUUID(s string) (id journal.UUID, err error) {
	plain := strings.ReplaceAll(s, "-", "")
	if n, err := hex.Decode(id[:], []byte(plain)); err != nil || n != len(id) || id.String() != strings.ToLower(s) {
		return journal.UUID{}, fmt.Errorf("%q is no UUID", s)
	}
	return id, nil
}

// save replaces the identity in a journal's directory. Where there is no room for a second file,
// it is written over the first, which is less than the sector that a disk writes at once.
func (i *Identity) save(dir string) error {
	path := filepath.Join(dir, identityName)
	err := i.replace(dir, path)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		if e := i.overwrite(path); e == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("cannot write whose store this is: %w", err)
	}
	return nil
}

func (i *Identity) replace(dir, path string) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(i.text())
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+newSuffix))
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncNames(dir)
}

// sectorBytes is what a disk writes wholly or not at all.
const sectorBytes = 512

func (i *Identity) overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	text := i.text()
	info, err := f.Stat()
	if err == nil && max(len(text), int(info.Size())) > sectorBytes {
		err = fmt.Errorf("%s is longer than a sector", path)
	}
	if err == nil {
		text += strings.Repeat("\n", max(0, int(info.Size())-len(text)))
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncNames has the names in a directory survive a loss of power.
func syncNames(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
