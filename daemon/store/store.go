package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// Store is a broker's store.
type Store struct {
	Identity
	Journal string   // its directory
	Notes   []string // what a person should know of how it was opened
}

// Open finds the store in dir, which --store-dir names, or makes an empty one. What is not a store
// of ours is refused and left alone. With truncate, what one of ours holds is removed.
func Open(dir string, truncate bool, random func([]byte)) (*Store, error) {
	if err := foreign(dir); err != nil {
		return nil, err
	}
	s := &Store{Journal: filepath.Join(dir, journalName)}
	if err := os.MkdirAll(s.Journal, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the store's directory: %w; give another --store-dir, or --no-data-dir", err)
	}
	if truncate {
		note, err := discard(s.Journal)
		if err != nil {
			return nil, err
		}
		if note != "" {
			s.Notes = append(s.Notes, note+", as --truncate yes says")
		}
	}
	var err error
	if s.Identity, err = load(s.Journal); isMissing(err) {
		err = s.begin(random)
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, err
	}
	s.Notes = append(s.Notes, fmt.Sprintf("store: %s store-id=%s cluster-id=%s shutdown-id=%s", s.Status(), s.Store, s.Cluster, s.Shutdown))
	return s, nil
}

// begin makes an empty store. A journal that has lost its identity is none.
func (s *Store) begin(random func([]byte)) error {
	files, err := ours(s.Journal)
	if err != nil {
		return err
	}
	if len(files) > 0 {
		return fmt.Errorf("%s holds a journal of %d files, but the file %q is missing that says whose it is: qpid-cluster journal repair can make it anew from what is in the journal; or begin an empty store with --truncate yes", s.Journal, len(files), identityName)
	}
	random(s.Identity.Store[:])
	asVersion4(&s.Identity.Store)
	if err := s.Save(); err != nil {
		return err
	}
	return syncNames(filepath.Dir(s.Journal))
}

// check sees that the journal's files are there and begin as they should: a segment whose header is
// damaged would be taken for one that is not in use, and written over.
func (s *Store) check() error {
	files, err := ours(s.Journal)
	if err != nil {
		return err
	}
	if len(files) == 0 && s.Clean && s.Cluster != (journal.UUID{}) {
		return fmt.Errorf("the journal of cluster %s is missing from %s, where a broker has ended in order: put its files back; or begin an empty store with --truncate yes", s.Cluster, s.Journal)
	}
	for _, name := range files {
		if _, segment := journal.SegmentFile(name); !segment {
			continue
		}
		head, err := readHead(filepath.Join(s.Journal, name))
		if err != nil {
			return fmt.Errorf("cannot read the journal: %w", err)
		}
		_, used, err := journal.ParseSegmentHeader(name, head)
		if err == nil && !used && len(bytes.Trim(head, "\x00")) > 0 {
			err = &journal.CorruptError{File: name, Cause: "the segment's header is damaged; qpid-cluster journal repair can make it anew from what is in the segment"}
		}
		if err != nil {
			return fmt.Errorf("store %s: %w", s.Journal, err)
		}
	}
	return nil
}

// readHead reads the block that a file begins with, or as much as there is.
func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, journal.BlockBytes)
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

// asVersion4 makes random bytes a UUID as RFC 9562 has them.
func asVersion4(id *journal.UUID) {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
}

// Save writes whose store it is. It is on the disk when Save returns.
func (s *Store) Save() error { return s.save(s.Journal) }

// ours lists the files of a journal in its directory.
func ours(dir string) (names []string, err error) {
	list, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		if _, segment := journal.SegmentFile(f.Name); segment || strings.HasPrefix(f.Name, checkpointPrefix) || f.Name == journal.NewestName {
			names = append(names, f.Name)
		}
	}
	return names, nil
}

// discard removes a journal, if nobody uses it, and says what that was, if anything. The identity goes first: a
// journal of which a part is left is never taken for a whole one.
func discard(dir string) (note string, err error) {
	lock, err := disk.Lock(dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	was, err := load(dir)
	described := "store-id=" + was.Store.String() + " cluster-id=" + was.Cluster.String()
	if err != nil {
		described = "of unknown identity"
	}
	nothing := isMissing(err)
	files, err := ours(dir)
	if err != nil {
		return "", err
	}
	nothing = nothing && len(files) == 0
	size := int64(0)
	for _, name := range append([]string{identityName}, files...) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && name != identityName {
			size += info.Size()
		}
		if err := os.Remove(path); err != nil && !isMissing(err) {
			return "", fmt.Errorf("cannot clear the store: %w", err)
		}
	}
	if err := syncNames(dir); err != nil {
		return "", fmt.Errorf("cannot clear the store: %w", err)
	}
	if nothing {
		return "", nil
	}
	return fmt.Sprintf("store %s (%s) was cleared: %d files, %d bytes", dir, described, len(files), size), nil
}

// Marked tells whether a person has marked the store clean: a broker that ends in order writes a
// shutdown-id that is no UUID of version 4.
func (s *Store) Marked() bool {
	return s.Clean && s.Shutdown[6]>>4 == 4 && s.Shutdown[8]>>6 == 2
}

// ErrNone tells that there is no store.
var ErrNone = errors.New("there is no store")

// Find is the journal's directory of what a person has named: a data directory, or a journal's own.
func Find(dir string) (string, error) {
	if err := foreign(dir); err != nil {
		return "", err
	}
	for _, d := range []string{filepath.Join(dir, journalName), dir} {
		if _, err := os.Stat(filepath.Join(d, identityName)); err == nil {
			return d, nil
		}
		files, err := ours(d)
		if err == nil && len(files) > 0 {
			return d, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("cannot look for a store: %w; do it as root, or as the broker's user", err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNone, err)
	}
	return "", fmt.Errorf("%w in %s: give the broker's --store-dir, which is its --data-dir by default", ErrNone, dir)
}

// Examine is Show, and sees that this version can read the journal, unless a broker is at work on it.
func Examine(dir string) (*Identity, error) {
	d, err := Find(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{Journal: d}
	if s.Identity, err = load(d); err != nil {
		return nil, err
	}
	lock, err := disk.Lock(d)
	if err != nil {
		return &s.Identity, nil // the broker that has it can read it
	}
	defer lock.Close()
	return &s.Identity, s.check()
}

// Show is whose the store in dir is.
func Show(dir string) (*Identity, error) {
	d, err := Find(dir)
	if err != nil {
		return nil, err
	}
	i, err := load(d)
	return &i, err
}

// MarkClean gives the store in dir, which nobody may be using, a shutdown-id of its own: it is to
// be recovered as it is, whatever other members have.
func MarkClean(dir string, random func([]byte)) (*Identity, error) {
	d, err := Find(dir)
	if err != nil {
		return nil, err
	}
	lock, err := disk.Lock(d)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	i, err := load(d)
	if err != nil {
		return nil, err
	}
	if i.Cluster == (journal.UUID{}) {
		return nil, errors.New("the store is empty: it has never belonged to a cluster, and there is nothing to mark")
	}
	random(i.Shutdown[:])
	asVersion4(&i.Shutdown)
	i.Clean = true
	return &i, i.save(d)
}

// Clear removes all that the store in dir holds, and says what that was.
func Clear(dir string) (string, error) {
	d, err := Find(dir)
	if err != nil {
		return "", err
	}
	return discard(d)
}
