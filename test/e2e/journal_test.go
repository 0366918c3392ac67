package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// journalReport is what qpid-cluster journal prints of a journal.
type journalReport struct {
	Segments []struct {
		File   string
		Number uint64
		Runs   []struct {
			Run    uint64
			Offset int64
			Bytes  int64
		}
	}
	Messages int
	Problems []struct {
		File   string
		Offset int64
		What   string
	}
}

// journalCommand runs qpid-cluster journal on a broker's store.
func journalCommand(t *testing.T, c *harness.Cluster, status int, arguments ...string) *harness.Result {
	t.Helper()
	r := (&harness.Command{Program: "qpid-cluster", Arguments: append(append([]string{"journal"}, arguments...), c.Store(0)), Dir: c.Dir}).Run(t)
	if r.Status != status || strings.Contains(r.Stderr, "goroutine ") {
		t.Fatalf("journal %q: exit status %d: %s%s", arguments, r.Status, r.Stdout, r.Stderr)
	}
	return r
}

func report(t *testing.T, r *harness.Result) (p journalReport) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Stdout), &p); err != nil {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	return p
}

// TestDamagedJournals damages a broker's journal in more than one way. Each time the broker says where
// it is damaged and does not start, verify names the same place, and after repair, which says what
// is lost and asks, the broker starts.
func TestDamagedJournals(t *testing.T) {
	if testing.Short() {
		t.Skip("starts brokers and kills them")
	}
	c := harness.StartStored(t, 1)
	s := load.NewStage(t, c)
	s.RunOnce(s.Publishing, 0, s.Publish091("old"))
	s.Await(t, "load", 500, 0, 0)
	if r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{"journal", "verify", c.Store(0)}, Dir: c.Dir}).Run(t); r.Status != 1 || !strings.Contains(r.Stderr, "is in use") {
		t.Errorf("a running broker's journal: %d %s", r.Status, r.Stderr)
	}
	s.StopPublishing()
	s.Wait()
	c.Kill(0)
	healthy := report(t, journalCommand(t, c, 0, "verify", "--json"))
	if promised, _, _ := s.Ledger.Count(); healthy.Messages < promised {
		t.Errorf("%d messages of %d are in the journal", healthy.Messages, promised)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(c.Store(0))); err != nil {
		t.Fatal(err)
	}
	g := healthy.Segments[0]
	for _, x := range healthy.Segments {
		if x.Number == 1 {
			g = x
		}
	}
	run := g.Runs[len(g.Runs)/2]
	path := filepath.Join(c.Store(0), "journal", g.File)
	for _, d := range []struct {
		name   string
		damage func() error
		want   string // of the broker
		lost   bool
	}{
		{"a record", func() error { return flip(path, run.Offset+100) }, fmt.Sprintf("%s: offset %d: a record's checksum does not match", g.File, run.Offset+72), true},
		{"a run's head", func() error { return flip(path, run.Offset+20) }, g.File + ": offset", true},
		{"a segment that is gone", func() error { return os.Remove(path) }, "is missing", true},
		{"a segment's header", func() error { return flip(path, 50) }, g.File + ": offset 0: the segment's header is damaged", false},
		{"a segment that is cut short", func() error { return os.Truncate(path, run.Offset+10) }, g.File + ": offset", true},
	} {
		t.Run(d.name, func(t *testing.T) {
			if err := os.RemoveAll(c.Store(0)); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(c.Store(0), os.DirFS(saved)); err != nil {
				t.Fatal(err)
			}
			if err := d.damage(); err != nil {
				t.Fatal(err)
			}
			r := c.Command(nil, "-p0", "--cluster-name="+c.Name, "--log-output=damaged.log", "-d", "--no-data-dir", "--auth=no", "--store-dir="+c.Store(0)).Run(t)
			if r.Status == 0 || !strings.Contains(r.Stderr, d.want) || !strings.Contains(r.Stderr, c.Store(0)) {
				t.Fatalf("the broker: exit status %d: %s, want %q", r.Status, r.Stderr, d.want)
			}
			if p := report(t, journalCommand(t, c, 1, "verify", "--json")); len(p.Problems) == 0 {
				t.Error("verify finds nothing")
			}
			if r := journalCommand(t, c, 1, "repair"); !strings.Contains(r.Stderr, "there is no terminal to ask at") || strings.Contains(r.Stdout, "for good") != d.lost {
				t.Errorf("repair: %s%s", r.Stdout, r.Stderr)
			}
			journalCommand(t, c, 0, "repair", "--yes")
			journalCommand(t, c, 0, "verify")
			c.Restart(0)
			c.Kill(0)
		})
	}
}

// flip changes a byte of a file.
func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0xff
	_, err = f.WriteAt(b, at)
	return err
}
