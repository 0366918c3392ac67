package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// refused starts a broker on a store, and wants it to say why it does not, and to change nothing.
func refused(t *testing.T, c *harness.Cluster, store, want string, arguments ...string) {
	t.Helper()
	before := content(t, store)
	r := c.Command(nil, append([]string{"-p0", "--log-output=refused.log", "-d", "--no-data-dir", "--auth=no", "--store-dir=" + store}, arguments...)...).Run(t)
	if r.Status == 0 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, store) {
		t.Errorf("exit status %d: %s, want %q", r.Status, r.Stderr, want)
	}
	after := content(t, store)
	for path, text := range before {
		if after[path] != text {
			t.Errorf("%s was changed", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files are there, there were %d", len(after), len(before))
	}
}

func content(t *testing.T, dir string) map[string]string {
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

// TestOldStores has a broker find stores of the original, and of other versions of itself.
func TestOldStores(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	c := harness.StartStored(t, 1)
	for _, old := range []struct{ file, text, want string }{
		{"rhm/jrnl/000a/orders/JournalData.0000.jdat", "RHMf\x01\x00\x00\x00", "legacystore, 1 journal files, RHM_JDAT_VERSION 1"},
		{"qls/jrnl2/orders/0af1.jrnl", "QLSf\x02\x00\x00\x00", "linearstore, 1 journal files, QLS_JRNL_VERSION 2"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, old.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(old.text), 0o640); err != nil {
			t.Fatal(err)
		}
		refused(t, c, dir, old.want)
		refused(t, c, dir, old.want, "--truncate=yes")
	}
	c.Kill(0)
	store := filepath.Join(c.Store(0), "journal", "store")
	text, err := os.ReadFile(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, []byte(strings.Replace(string(text), "format: 1", "format: 2", 1)), 0o640); err != nil {
		t.Fatal(err)
	}
	refused(t, c, c.Store(0), "the store has version 2, this broker reads and writes version 1")
	if err := os.WriteFile(store, text, 0o640); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(c.Store(0), "journal", "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 9)
		if _, err := f.ReadAt(head, 0); err != nil {
			t.Fatal(err)
		}
		if head[0] != 0 { // one that is in use
			if _, err := f.WriteAt([]byte{head[8] + 1}, 8); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	refused(t, c, c.Store(0), "journal format version mismatch: the file has version 2, this broker reads and writes version 1")
}

// TestTruncate: with --truncate yes a broker begins with an empty store, and says what there was.
func TestTruncate(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	c := harness.StartStored(t, 1)
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("old"))
	s.Await(t, "load", 100, 0, 0)
	s.StopPublishing()
	s.Wait()
	c.Stop(0)
	r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{"store", c.Store(0)}, Dir: c.Dir}).Run(t)
	if !strings.HasPrefix(r.Stdout, "status: clean\n") {
		t.Errorf("after an end in order: %s%s", r.Stdout, r.Stderr)
	}
	c.Stored = false // the next one has the same
	b := c.Add("--store-dir="+c.Store(0), "--truncate=yes")
	c.AwaitLog(b.Index, 1, "as --truncate yes says")
	r = (&harness.Command{Program: "qpid-cluster", Arguments: []string{"store", c.Store(0)}, Dir: c.Dir}).Run(t)
	if !strings.HasPrefix(r.Stdout, "status: dirty\n") {
		t.Errorf("while the broker runs: %s%s", r.Stdout, r.Stderr)
	}
	ctx := t.Context()
	ch, end, err := load.Dial091(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	if _, err := ch.QueueDeclarePassive(s.Queue, true, false, false, false, nil); err == nil {
		t.Error("the queue is still there")
	}
}
