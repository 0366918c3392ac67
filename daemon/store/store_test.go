package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// TestNoRightToLook: what may not be looked at is not said to be missing.
func TestNoRightToLook(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, false, random()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.SetfsuidRetUid(65534)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Show(dir)
	if err := unix.Setfsuid(own); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), "permission denied") || strings.Contains(err.Error(), "there is no store") {
		t.Error(err)
	}
}

// random is none: each id differs from the one before.
func random() func([]byte) {
	n := byte(0)
	return func(b []byte) {
		n++
		for i := range b {
			b[i] = n
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// tree is all that is in a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(a, b map[string]string) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestAStoreKeepsItsIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	r := random()
	s, err := Open(dir, false, r)
	if err != nil {
		t.Fatal(err)
	}
	if s.Status() != "empty" || s.Identity.Store.String() != "01010101-0101-4101-8101-010101010101" {
		t.Errorf("%s %+v", s.Status(), s.Identity)
	}
	r(s.Cluster[:])
	if err := s.Save(); err != nil || s.Status() != "dirty" {
		t.Fatal(s.Status(), err)
	}
	again, err := Open(dir, false, r)
	if err != nil || again.Identity != s.Identity {
		t.Errorf("%+v, %v", again, err)
	}
	marked, err := MarkClean(dir, r)
	if err != nil || marked.Status() != "clean" || marked.Shutdown == (journal.UUID{}) {
		t.Errorf("%+v, %v", marked, err)
	}
	shown, err := Show(filepath.Join(dir, "journal"))
	if err != nil || *shown != *marked || shown.Cluster != s.Cluster {
		t.Errorf("%+v, %v", shown, err)
	}
	if len(tree(t, dir)) != 1 {
		t.Errorf("files are left behind: %v", tree(t, dir))
	}
}

func TestTruncate(t *testing.T) {
	dir := t.TempDir()
	r := random()
	s, err := Open(dir, false, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{journal.SegmentName(0), journal.SegmentName(17), "checkpoint-unfinished"} {
		write(t, filepath.Join(s.Journal, name), "0123456789")
	}
	write(t, filepath.Join(s.Journal, "notes.txt"), "not ours")
	d, err := disk.Open(s.Journal, disk.Options{Done: func(*journal.Op) {}})
	if err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	if _, err := Open(dir, true, r); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a store in use: %v", err)
	}
	if _, err := Clear(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a store in use: %v", err)
	}
	if _, err := MarkClean(dir, r); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a store in use: %v", err)
	}
	if !same(before, tree(t, dir)) {
		t.Error("a store in use was changed")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	empty, err := Open(dir, true, r)
	if err != nil {
		t.Fatal(err)
	}
	if empty.Identity.Store == s.Identity.Store || len(tree(t, dir)) != 2 {
		t.Errorf("%+v, %v", empty.Identity, tree(t, dir))
	}
	if !strings.Contains(empty.Notes[0], "3 files, 30 bytes, as --truncate yes says") || !strings.Contains(empty.Notes[0], s.Identity.Store.String()) {
		t.Errorf("%q", empty.Notes)
	}
}

// TestOriginals: the original's stores are recognised and left alone, also by --truncate.
func TestOriginals(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  []string
	}{
		{map[string]string{
			"rhm/jrnl/0007/queue/JournalData.jinf":      "<xml/>",
			"rhm/jrnl/0007/queue/JournalData.0000.jdat": "RHMf\x01\x00\x00\x00more",
			"rhm/jrnl/0007/queue/JournalData.0001.jdat": "",
			"rhm/dat/queues.db":                         "x",
		}, []string{"legacystore", "2 journal files", "RHM_JDAT_VERSION 1", "move", "--store-dir"}},
		{map[string]string{"rhm/dat/queues.db": "x"}, []string{"legacystore", "0 journal files"}},
		{map[string]string{
			"qls/jrnl2/queue/": "", "qls/p001/efp/2048k/in_use/0af1.jrnl": "QLSf\x02\x00\x00\x00more",
		}, []string{"linearstore", "1 journal files", "QLS_JRNL_VERSION 2"}},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if strings.HasSuffix(name, "/") {
				if err := os.MkdirAll(filepath.Join(dir, name), 0o750); err != nil {
					t.Fatal(err)
				}
				continue
			}
			write(t, filepath.Join(dir, name), text)
		}
		before := tree(t, dir)
		for _, truncate := range []bool{false, true} {
			_, err := Open(dir, truncate, random())
			var foreign *ForeignError
			if !errors.As(err, &foreign) {
				t.Fatalf("%v: %v", c.files, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
		}
		if _, err := Show(dir); err == nil {
			t.Error("it is shown as ours")
		}
		if _, err := Clear(filepath.Join(dir, "rhm")); err == nil {
			t.Error("it is cleared")
		}
		if !same(before, tree(t, dir)) {
			t.Error("it was changed")
		}
	}
	// Only a name it has in common.
	if _, err := Open(filepath.Join(t.TempDir(), "qls"), false, random()); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNotAStore: mistakes and damage are named, and nothing is changed.
func TestWhatIsNotAStore(t *testing.T) {
	good := (&Identity{Store: journal.UUID{1}, Cluster: journal.UUID{2}}).text()
	for _, c := range []struct {
		name, text, want string
	}{
		{"another version", strings.Replace(good, "format: 1", "format: 7\nmore: 1", 1), "the store has version 7, this broker reads and writes version 1"},
		{"no version", strings.Replace(good, "format: 1", "format: one", 1), "no number"},
		{"no format", strings.Replace(good, "format: 1\n", "", 1), "there is no format"},
		{"cut", good[:len(good)-11], "there is no clean"},
		{"empty", "", "there is no format"},
		{"no UUID", strings.Replace(good, "-0000", "-000g", 1), "no UUID"},
		{"short UUID", strings.Replace(good, "-0000", "-000", 1), "no UUID"},
		{"twice", good + "clean: yes\n", "clean: yes"},
		{"no answer", strings.Replace(good, "clean: no", "clean: perhaps", 1), "neither yes nor no"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "journal", "store"), c.text)
		before := tree(t, dir)
		for what, err := range map[string]error{
			"open": func() error { _, err := Open(dir, false, random()); return err }(),
			"show": func() error { _, err := Show(dir); return err }(),
			"mark": func() error { _, err := MarkClean(dir, random()); return err }(),
		} {
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir, "journal", "store")) {
				t.Errorf("%s, %s: %v, want %q", c.name, what, err, c.want)
			}
		}
		if !same(before, tree(t, dir)) {
			t.Errorf("%s: it was changed", c.name)
		}
		if _, err := Open(dir, true, random()); err != nil {
			t.Errorf("%s: cleared: %v", c.name, err)
		}
	}
	dir := t.TempDir()
	if s, err := Open(filepath.Join(dir, "new"), true, random()); err != nil || len(s.Notes) != 1 {
		t.Errorf("nothing is cleared: %+v, %v", s, err)
	}
	write(t, filepath.Join(dir, "journal", journal.SegmentName(3)), "")
	if _, err := Open(dir, false, random()); err == nil || !strings.Contains(err.Error(), "is missing that says whose it is") {
		t.Errorf("a journal without identity: %v", err)
	}
	if _, err := Show(filepath.Join(dir, "none")); err == nil {
		t.Error("nothing is shown")
	}
	if _, err := Show(t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no store in") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := Open(t.TempDir(), false, random()); err != nil {
		t.Error(err)
	}
	empty := t.TempDir()
	if _, err := Open(empty, false, random()); err != nil {
		t.Fatal(err)
	}
	if _, err := MarkClean(empty, random()); err == nil || !strings.Contains(err.Error(), "nothing to mark") {
		t.Errorf("an empty store: %v", err)
	}
}

// TestDamagedSegments: a broker would take a segment with a damaged header for an unused one.
func TestDamagedSegments(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, false, random())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Journal, journal.SegmentName(1))
	header := (&journal.SegmentHeader{Store: s.Store, Number: 1, Bytes: journal.BlockBytes, Run: 1}).Append(nil)
	for at := -1; at < 84; at++ {
		b := append([]byte(nil), header...)
		want := ""
		if at >= 0 {
			b[at] ^= 0x20
			want = "header is damaged"
		}
		if at >= 8 && at < 12 {
			want = "journal format version mismatch"
		}
		write(t, path, string(b))
		_, err := Open(dir, false, random())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), journal.SegmentName(1))) {
			t.Errorf("byte %d: %v, want %q", at, err, want)
		}
	}
	write(t, path, string(make([]byte, 2*journal.BlockBytes)))
	if _, err := Open(dir, false, random()); err != nil {
		t.Errorf("an unused segment: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.Cluster, s.Clean = journal.UUID{1}, true
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, false, random()); err == nil || !strings.Contains(err.Error(), "is missing from") {
		t.Errorf("a journal that is gone: %v", err)
	}
}

// TestOverwrite: where there is no room for a second file the first one is written over.
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	long := Identity{Store: journal.UUID{1}, Cluster: journal.UUID{2}, Clean: true}
	short := long
	short.Clean = false
	if err := long.save(dir); err != nil {
		t.Fatal(err)
	}
	for _, i := range []Identity{short, long, short} {
		if err := i.overwrite(filepath.Join(dir, identityName)); err != nil {
			t.Fatal(err)
		}
		if got, err := load(dir); err != nil || got != i {
			t.Errorf("%+v, %v, want %+v", got, err, i)
		}
	}
	write(t, filepath.Join(dir, identityName), strings.Repeat("#", sectorBytes+1))
	if err := long.overwrite(filepath.Join(dir, identityName)); err == nil {
		t.Error("more than a sector was written over")
	}
}
