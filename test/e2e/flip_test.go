package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// flips is how often a store is damaged, each time anew: FLIPS says otherwise. FLIPSEED picks other places.
func flips(t testing.TB) (n int, seed uint64) {
	n, seed = 8, rand.Uint64()
	for name, to := range map[string]func(uint64){"FLIPS": func(v uint64) { n = int(v) }, "FLIPSEED": func(v uint64) { seed = v }} {
		if text := os.Getenv(name); text != "" {
			v, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			to(v)
		}
	}
	return n, seed
}

// TestDamageAnywhere changes one byte of a store, in any of its files, or cuts one short, or removes it, and starts
// its broker. That has all messages, as they were and in their order; or it does not start, and says which file is
// damaged and, if it is a segment, where. Then verify finds it, too, and what repair leaves can be started with.
func TestDamageAnywhere(t *testing.T) {
	short(t)
	n, seed := flips(t)
	t.Logf("FLIPSEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	const taken, kept, bytes = 300, 900, 512
	c := harness.StartStored(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Duration(n)*20*time.Second)
	defer cancel()
	fillQueue(ctx, t, c.Brokers[0], "kept", rabbit.Persistent, kept, bytes)
	c.Signal(syscall.SIGTERM, 0) // with a checkpoint
	c.AwaitEnd(0)
	c.Restart(0)
	drainQueue(ctx, t, c.Brokers[0], "kept", 0, taken, bytes)
	proven(t, c.Store(0))
	c.Kill(0)
	saved := filepath.Join(t.TempDir(), "saved")
	copyStore(t, c.Store(0), saved)
	for i := range n {
		copyStore(t, saved, c.Store(0))
		name, at, bits := anywhere(t, rnd, c.Store(0))
		how := fmt.Sprintf("%#x", bits)
		path := filepath.Join(c.Store(0), "journal", name)
		damage, removed := func() error { return change(path, at, bits) }, false
		switch rnd.IntN(8) {
		case 0:
			how, damage, removed = "gone", func() error { return os.Remove(path) }, true
		case 1:
			how, damage, removed = "cut", func() error { return os.Truncate(path, at) }, at < journal.BlockBytes
		}
		t.Run(fmt.Sprintf("%d: %s at %d %s", i, name, at, how), func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			start := func() (r *harness.Result) {
				for r == nil || strings.Contains(r.Stderr, "address already in use") { // by a connection of somebody's
					r = c.Command(nil, fmt.Sprintf("-p%d", c.Brokers[0].Port), "--cluster-name="+c.Name, "--log-output="+c.Brokers[0].Log, "-d",
						"--no-data-dir", "--auth=no", "--store-dir="+c.Store(0)).Run(t)
				}
				return r
			}
			said, r := len(c.LogText(0)), start()
			text, segment := r.Stderr, strings.HasSuffix(name, journal.SegmentSuffix) && !removed
			if r.Status == 0 {
				c.Adopt(c.Brokers[0])
				err := drain(ctx, c.Brokers[0], "kept", taken, kept, bytes)
				switch {
				case err == nil:
					c.Kill(0)
					return
				case !errors.Is(err, errLost):
					t.Fatal(err)
				}
				// What a checkpoint knows of is read when it is wanted.
				c.AwaitEnd(0)
				text = c.LogText(0)[said:]
			} else if strings.Count(text, "\n") != 1 {
				t.Errorf("it should say what is wrong in one line")
			}
			if !strings.Contains(text, c.Store(0)) || strings.Contains(text, "goroutine ") || segment && !(strings.Contains(text, name) && strings.Contains(text, "offset")) {
				t.Fatalf("exit status %d: %s", r.Status, text)
			}
			t.Log(text)
			if name == "store" { // it is text, and a person's to put right
				return
			}
			journalCommand(t, c, 1, "verify")
			if how == "cut" || how == "gone" { // that much may be more than can be mended: then it says so, and what is left to do
				r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{"journal", "repair", "--yes", c.Store(0)}, Dir: c.Dir}).Run(t)
				if r.Status == 1 && strings.Contains(r.Stderr, "it cannot be repaired: put the directory back from a backup") {
					return
				}
			} else {
				journalCommand(t, c, 0, "repair", "--yes")
			}
			journalCommand(t, c, 0, "verify")
			if r := start(); r.Status != 0 {
				t.Fatalf("after repair: exit status %d: %s", r.Status, r.Stderr)
			}
			c.Adopt(c.Brokers[0])
			c.Kill(0)
		})
	}
}

// proven waits until a store's journal says that all of it is on the disk.
func proven(t *testing.T, store string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "the journal says that all of it is on the disk", func() error {
		files, err := filepath.Glob(filepath.Join(store, "journal", "*"+journal.SegmentSuffix))
		if err != nil {
			return err
		}
		var last journal.RunHeader
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for at := 0; at < len(b); at += journal.BlockBytes {
				if h, ok := journal.ParseRunHeader(b[at:]); ok && h.Run > last.Run {
					last = h
				}
			}
		}
		if last.Run == 0 || last.Count > 0 {
			return fmt.Errorf("run %d has %d records", last.Run, last.Count)
		}
		return nil
	})
}

// copyStore puts one in another's place. Most of its bytes are zeros.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-r", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// anywhere picks a byte of a store, and what of it is changed: mostly one that is in use.
func anywhere(t *testing.T, rnd *rand.Rand, store string) (name string, at int64, bits byte) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(store, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	f := list[rnd.IntN(len(list))]
	info, err := f.Info()
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	switch rnd.IntN(4) {
	case 0:
		size = min(size, 2*journal.BlockBytes)
	case 1, 2:
		size = min(size, journal.ExtentBytes)
	}
	bits = 1 << rnd.IntN(8)
	if rnd.IntN(3) == 0 {
		bits = 0xff
	}
	return f.Name(), rnd.Int64N(size), bits
}

// change changes bits of a byte of a file.
func change(path string, at int64, bits byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, at); err == nil {
		b[0] ^= bits
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}
