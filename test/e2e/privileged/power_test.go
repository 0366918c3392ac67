package privileged

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// onDisks starts brokers each of whose stores is on a disk of its own.
func onDisks(t *testing.T, kind string, n int) (*harness.Cluster, []*harness.Volume) {
	t.Helper()
	var disks []*harness.Volume
	for range n {
		disks = append(disks, harness.NewFaultyVolume(t, kind, journalVolume))
	}
	c := harness.StartStored(t, 0)
	for i, v := range disks {
		if err := os.Symlink(v.Dir, c.Store(i)); err != nil {
			t.Fatal(err)
		}
		c.Add()
	}
	return c, disks
}

// cutPower ends brokers and their disks at the same moment: what the brokers had not flushed is lost,
// or there in part.
func cutPower(t *testing.T, c *harness.Cluster, disks []*harness.Volume, list ...int) {
	t.Helper()
	c.Signal(syscall.SIGSTOP, list...)
	for _, i := range list {
		if err := disks[i].Disk.CutPower(rand.New(rand.NewPCG(rand.Uint64(), 1))); err != nil {
			t.Fatal(err)
		}
	}
	c.Kill(list...)
	for _, i := range list {
		disks[i].PowerCycle()
	}
}

// TestPowerFailure has one broker lose its power under load, again and again. Everything that it has confirmed
// is there when it is back, in its order.
func TestPowerFailure(t *testing.T) {
	for _, kind := range harness.FileSystems {
		t.Run(kind, func(t *testing.T) {
			c, disks := onDisks(t, kind, 1)
			load.Outages(t, c, 3, func(victims ...int) { cutPower(t, c, disks, victims...) })
		})
	}
}

// TestPowerFailureOfAll has three brokers lose their power at the same moment, or some of them.
func TestPowerFailureOfAll(t *testing.T) {
	c, disks := onDisks(t, "ext4", 3)
	load.Outages(t, c, 4, func(victims ...int) { cutPower(t, c, disks, victims...) })
}

// TestFlushFails has one member's disk fail a flush, or a write, and work again at once: the member says so
// and leaves all the same, the others go on, and it is back when it is started again.
func TestFlushFails(t *testing.T) {
	c, disks := onDisks(t, "ext4", 3)
	for i, fail := range []func(on bool){disks[1].Disk.FailFlushes, disks[2].Disk.FailWrites} {
		victim := i + 1
		s := load.NewStage(t, c)
		s.Ledger.AcksLost = true
		for k := range c.Brokers {
			s.Run(s.Publishing, k, s.Publish091(fmt.Sprintf("old%d", k)))
		}
		s.Run(s.Consuming, 0, s.Consume091("consumer", false))
		s.Await(t, "load", 300, 100, 0)
		fail(true)
		c.AwaitEnd(victim)
		fail(false)
		c.AwaitLog(victim, 1, "this member leaves: see to the disk")
		s.Await(t, "load without it", 300, 100, 0)
		disks[victim].PowerCycle() // the file system may have given up, too
		c.Restart(victim)
		s.Await(t, "load with it again", 300, 100, 0)
		s.Settle(t)
		s.StopConsuming()
	}
}

// TestSlowFlushes has members whose disks take their time. Nobody is thrown out for that, and publishers
// share flushes.
func TestSlowFlushes(t *testing.T) {
	c, disks := onDisks(t, "ext4", 3)
	const takes = 100 * time.Millisecond
	for _, v := range disks {
		v.Disk.FlushTakes(takes)
	}
	s := load.NewStage(t, c)
	for k := range c.Brokers {
		s.Run(s.Publishing, k, s.Publish091(fmt.Sprintf("old%d", k)))
	}
	s.Run(s.Consuming, 0, s.Consume091("consumer", false))
	s.Await(t, "load begins", 10, 10, 0)
	was, before := disks[0].Disk.Flushes(), promised(s)
	s.Await(t, "load", 1000, 100, 0)
	flushes, messages := disks[0].Disk.Flushes()-was, promised(s)-before
	t.Logf("%d messages of %d publishers took %d flushes", messages, len(c.Brokers), flushes)
	if flushes == 0 || messages < 5*flushes {
		t.Errorf("%d messages took %d flushes", messages, flushes)
	}
	for _, v := range disks {
		v.Disk.FlushTakes(0)
	}
	s.Settle(t)
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
}

func promised(s *load.Stage) int {
	n, _, _ := s.Ledger.Count()
	return n
}
