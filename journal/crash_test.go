package journal_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk/faulty"
)

// TestCrashes lives many lives that end in a loss of power, on a disk that does things in an order
// of its own: what the log said was on the disk is there in the next life, as it was, and nothing
// else is.
func TestCrashes(t *testing.T) {
	for seed := range uint64(6) {
		crashes(t, seed)
	}
}

func crashes(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	d := faulty.New(faulty.Options{Rand: rng, Done: finish})
	var p promise
	for life := range 12 {
		k, err := recoverFrom(t, d)
		if err == nil && life > 0 {
			err = k.keeps(p)
		}
		if err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		taken := map[journal.Index]bool{}
		for range 30 + rng.IntN(200) {
			k.something(d, rng, taken)
			k.log.Prepare(1)
		}
		if err := k.log.Failed(); err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		p = k.promise(taken)
		d.Crash()
	}
}

// something does one thing to the log, or has the disk do one.
func (k *keeper) something(d *faulty.Disk, rng *rand.Rand, taken map[journal.Index]bool) {
	switch rng.IntN(14) {
	case 0:
		if k.log.Unproven() {
			if err := k.log.Prove(); err != nil {
				k.t.Fatal(err)
			}
		}
		k.log.Sync(1, true)
	case 1, 2, 3:
		for range rng.IntN(8) {
			d.Step()
		}
	case 4:
		if k.log.CheckpointDue() || rng.IntN(4) == 0 && !k.log.Checkpointing() {
			k.checkpoint()
		}
	case 5, 6, 7:
		if i, ok := k.any(rng); ok {
			taken[i] = true
			k.take(i)
		}
	case 8:
		if i, ok := k.any(rng); ok {
			k.carry(i)
		}
	default:
		n := rng.IntN(20000)
		if rng.IntN(15) == 0 {
			n = rng.IntN(3 << 20)
		}
		k.put(n)
	}
}

// script is a short life with some of everything, of which each step is looked at. It returns
// when the log has failed.
func (k *keeper) script(taken map[journal.Index]bool, after func()) {
	steps := []func(){
		func() { k.put(100); k.put(5000) },
		func() { k.log.Sync(1, true) },
		func() { k.put(200 << 10) },
		func() { k.put(10); k.log.Sync(2, true) },
		func() { taken[1] = true; k.take(1); k.put(900 << 10) },
		func() { k.checkpoint() },
		func() { k.carry(2); k.log.Sync(3, true) },
		func() { k.put(3 << 20); k.put(1) },
		func() { taken[5] = true; k.take(5); k.log.Sync(4, true) },
		func() { k.put(70 << 10); k.put(70 << 10); k.log.Sync(5, true) },
	}
	for _, s := range steps {
		s()
		after()
		k.log.Prepare(1)
		if k.log.Failed() != nil {
			return
		}
	}
}

// TestEveryFailure has each operation of the script fail in turn, for want of space or for good,
// or come to nothing: the log fails or goes on, and what it had promised is there.
func TestEveryFailure(t *testing.T) {
	total := scriptOps(t)
	for _, cause := range []error{faulty.ErrNoSpace, faulty.ErrIO} {
		for n := 1; n <= total; n++ {
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			d := faulty.New(faulty.Options{Rand: rng, Done: finish})
			d.Fail(n, cause)
			k, err := recoverFrom(t, d)
			if err != nil {
				t.Fatal(err)
			}
			taken := map[journal.Index]bool{}
			k.script(taken, d.Run)
			if err := k.log.Failed(); err != nil && !failure(err) {
				t.Fatalf("operation %d of %d fails with %v: %v", n, total, cause, err)
			}
			if cause == faulty.ErrIO && k.log.Failed() == nil {
				t.Fatalf("operation %d of %d met a broken disk, and the log goes on", n, total)
			}
			p := k.promise(taken)
			d.Crash()
			if k, err = recoverFrom(t, d); err == nil {
				err = k.keeps(p)
			}
			if err != nil {
				t.Fatalf("operation %d of %d failed with %v, then: %v", n, total, cause, err)
			}
		}
	}
}

// scriptOps is how many operations the script takes when all goes well.
func scriptOps(t *testing.T) int {
	d := faulty.New(faulty.Options{Rand: rand.New(rand.NewPCG(1, 2)), Done: finish})
	k, err := recoverFrom(t, d)
	if err != nil {
		t.Fatal(err)
	}
	k.script(map[journal.Index]bool{}, d.Run)
	return d.Started()
}

// TestEveryCrash loses power after each operation of the script, with each of what was not flushed
// on the disk or not, and with some of how it may be torn.
func TestEveryCrash(t *testing.T) {
	const torn, most = 3, 64
	d := faulty.New(faulty.Options{Rand: rand.New(rand.NewPCG(1, 1)), Done: finish, InOrder: true})
	k, err := recoverFrom(t, d)
	if err != nil {
		t.Fatal(err)
	}
	taken := map[journal.Index]bool{}
	ways := 0
	lose := func() {
		e := new(faulty.Every)
		for more := true; more; more = e.Next() && ways%most != 0 {
			k.lose(d, taken, faulty.Options{Rand: e, Tearing: faulty.TearNone, InOrder: true})
			ways++
		}
		for seed := range uint64(torn) {
			k.lose(d, taken, faulty.Options{Rand: rand.New(rand.NewPCG(seed, uint64(ways))), Tearing: faulty.TearSectors, InOrder: true})
			ways++
		}
	}
	k.script(taken, func() {
		for lose(); d.Step(); lose() {
		}
	})
	t.Logf("power was lost in %d ways", ways)
}

// lose looks at what would be left if power were lost now.
func (k *keeper) lose(d *faulty.Disk, taken map[journal.Index]bool, how faulty.Options) {
	p := k.promise(taken)
	how.Done = finish
	crashed := d.Clone(how)
	crashed.Crash()
	next, err := recoverFrom(k.t, crashed)
	if err == nil {
		err = next.keeps(p)
	}
	if err != nil {
		k.t.Fatalf("power lost after operation %d: %v", d.Steps(), err)
	}
}

// TestRecoveryTwice recovers twice from the same crash, the second time from what the first left.
func TestRecoveryTwice(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := faulty.New(faulty.Options{Rand: rng, Done: finish})
		k, err := recoverFrom(t, d)
		if err != nil {
			t.Fatal(err)
		}
		taken := map[journal.Index]bool{}
		for range 200 {
			k.something(d, rng, taken)
			k.log.Prepare(1)
		}
		d.Crash()
		first, err := recoverFrom(t, d)
		if err != nil {
			t.Fatal(err)
		}
		d.Run()
		d.Crash()
		second, err := recoverFrom(t, d)
		if err != nil {
			t.Fatalf("seed %d: the second time: %v", seed, err)
		}
		if first.log.LastIndex() != second.log.LastIndex() {
			t.Fatalf("seed %d: recovered up to %d, then up to %d", seed, first.log.LastIndex(), second.log.LastIndex())
		}
		p := first.promise(nil)
		p.mark = first.log.LastIndex()
		if err := second.keeps(p); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestDamage changes what was flushed: recovery says where, and does not go on without it.
func TestDamage(t *testing.T) {
	d := faulty.New(faulty.Options{Rand: rand.New(rand.NewPCG(1, 4)), Done: finish})
	k, err := recoverFrom(t, d)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		k.put(1000)
		k.log.Sync(1, true)
		d.Run()
	}
	name := used(t, d)
	for _, damage := range []struct {
		what string
		do   func(*faulty.Disk)
	}{
		{"a byte of a record", func(c *faulty.Disk) { c.Flip(name, journal.BlockBytes+200, 1) }},
		{"a run's header", func(c *faulty.Disk) { c.Flip(name, 3*journal.BlockBytes+17, 4) }},
		{"the segment's header", func(c *faulty.Disk) { c.Flip(name, 50, 1) }},
		{"the segment is gone", func(c *faulty.Disk) { c.Delete(name) }},
		{"the segment is cut short", func(c *faulty.Disk) { c.Truncate(name, 5*journal.BlockBytes) }},
		{"all runs are cut off", func(c *faulty.Disk) { c.Truncate(name, journal.BlockBytes) }},
		{"the last blocks are cut off", func(c *faulty.Disk) { c.Truncate(name, 20*journal.BlockBytes) }},
	} {
		c := d.Clone(faulty.Options{Rand: rand.New(rand.NewPCG(1, 5)), Done: finish})
		damage.do(c)
		next, err := recoverFrom(t, c)
		var corrupt *journal.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: recovered up to %d of %d: %v", damage.what, next.log.LastIndex(), k.log.LastIndex(), err)
		}
	}
}

// TestDamageOfTheLastRun: once it has been said that the last run is on the disk, damage to it is told from
// the end of the log, and what says so is needed for nothing else.
func TestDamageOfTheLastRun(t *testing.T) {
	d := faulty.New(faulty.Options{Rand: rand.New(rand.NewPCG(1, 6)), Done: finish})
	k, err := recoverFrom(t, d)
	if err != nil {
		t.Fatal(err)
	}
	const runs = 5
	for range runs {
		k.put(1000)
		k.log.Sync(1, true)
		d.Run()
	}
	for range 2 { // the second time there is nothing to be said
		if k.log.Unproven() {
			if err := k.log.Prove(); err != nil {
				t.Fatal(err)
			}
		}
		k.log.Sync(2, true)
		d.Run()
	}
	if k.log.Unproven() || k.log.Unsynced() {
		t.Error("it would be written to without end")
	}
	p, name := k.promise(nil), used(t, d)
	for at := int64(runs * journal.BlockBytes); at < (runs+2)*journal.BlockBytes; at += 7 {
		c := d.Clone(faulty.Options{Rand: rand.New(rand.NewPCG(1, 7)), Done: finish})
		c.Flip(name, at, 1<<(at%8))
		next, err := recoverFrom(t, c)
		var corrupt *journal.CorruptError
		if err == nil {
			err = next.keeps(p) // what is behind the records matters to nobody
		} else if errors.As(err, &corrupt) && at < (runs+1)*journal.BlockBytes {
			continue
		}
		if err != nil {
			t.Errorf("a bit at %d of the last runs: %v", at, err)
		}
	}
}

// used is the name of the one segment that is in use.
func used(t *testing.T, d *faulty.Disk) string {
	t.Helper()
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		b := make([]byte, journal.BlockBytes)
		if _, err := d.ReadAt(f.Name, b, 0); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := journal.ParseSegmentHeader(f.Name, b); ok && err == nil {
			return f.Name
		}
	}
	t.Fatal("no segment is in use")
	return ""
}
