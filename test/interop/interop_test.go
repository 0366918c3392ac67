package interop

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// How long things may take on a busy machine, and how many messages a burst has.
const (
	startLimit    = 20 * time.Second
	viewLimit     = 20 * time.Second
	exchangeLimit = 60 * time.Second
	burstMessages = 150
)

// members of a lab: one ringnode, and corosync on the other hosts.
func (l *lab) members(ours int, oursFirst bool) (list []*process) {
	l.t.Helper()
	if oursFirst {
		list = append(list, l.ringnode(ours, 0))
		list[0].awaitView(viewLimit, ours)
	}
	for i := 1; i <= hosts; i++ {
		if i != ours {
			list = append(list, l.corosync(i))
		}
	}
	if !oursFirst {
		theirs := others(ours)
		for _, p := range list {
			p.awaitView(viewLimit, theirs...)
		}
		list = append([]*process{l.ringnode(ours, 0)}, list...)
	}
	for _, p := range list {
		p.awaitView(viewLimit, 1, 2, 3)
	}
	return list
}

func others(than int) (list []int) {
	for i := 1; i <= hosts; i++ {
		if i != than {
			list = append(list, i)
		}
	}
	return list
}

// roles are ours in a ring of two corosync nodes and one of ours: the member with the lowest id,
// which forms the ring, and one that does not; and the first and the last to come.
var roles = []struct {
	name      string
	ours      int
	oursFirst bool
}{
	{"we join, they form", 3, false},
	{"we join and form", 1, false},
	{"they join, we form", 1, true},
	{"they join and form", 2, true},
}

// TestForm forms rings with us in each role.
func TestForm(t *testing.T) {
	for _, x := range roles {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t)
			list := l.members(x.ours, x.oursFirst)
			exchange(t, exchangeLimit, burstMessages, list...)
			l.seen(x.ours, list[0].cmd.Process.Pid)
		})
	}
}

// seen looks at our member with corosync's tools.
func (l *lab) seen(ours, pid int) {
	l.t.Helper()
	at := others(ours)[0]
	harness.Eventually(l.t, viewLimit, "corosync-quorumtool and corosync-cpgtool show us", func() error {
		if err := l.votes(at); err != nil {
			return err
		}
		if out := l.ask(at, "corosync-cpgtool"); !listed(out, pid, uint32(ours)) {
			return fmt.Errorf("no process %d on node %d in\n%s", pid, ours, out)
		}
		return nil
	})
}

// votes looks for a vote of every host.
func (l *lab) votes(at int) error {
	out := l.ask(at, "corosync-quorumtool", "-s")
	for _, want := range []string{"Nodes:3", "Quorate:Yes", "Totalvotes:3"} {
		if !strings.Contains(strings.ReplaceAll(out, " ", ""), want) {
			return fmt.Errorf("no %s in\n%s", want, out)
		}
	}
	return nil
}

func listed(out string, pid int, node uint32) bool {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == fmt.Sprint(pid) && f[1] == fmt.Sprint(node) {
			return true
		}
	}
	return false
}

// TestKillCorosync kills a corosync in the midst of what its client multicasts. The others
// agree on what they got of it, and it comes back.
func TestKillCorosync(t *testing.T) {
	for _, ours := range []int{1, 3} {
		t.Run(fmt.Sprintf("we are %d", ours), func(t *testing.T) {
			l := newLab(t)
			list := l.members(ours, false)
			victim, left := list[2], list[:2]
			killInFlood(l, left, victim, func() { l.daemons[victim.host].kill() })
			again := l.corosync(victim.host)
			list[2] = again
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

// TestKillOurs does the same with our process as the victim.
func TestKillOurs(t *testing.T) {
	for _, ours := range []int{1, 3} {
		t.Run(fmt.Sprintf("we are %d", ours), func(t *testing.T) {
			l := newLab(t)
			list := l.members(ours, false)
			killInFlood(l, list[1:], list[0], func() { list[0].kill() })
			list[0] = l.ringnode(ours, 1<<20) // as saved; it has to be above all before
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

// killInFlood kills a member that multicasts without end, while the others have a burst under
// way, and compares what they were delivered.
func killInFlood(l *lab, left []*process, victim *process, kill func()) {
	l.t.Helper()
	left[0].say("start %d", len(left))
	for _, p := range append([]*process{victim}, left...) {
		p.await(startLimit, "started")
	}
	begun := map[*process]int{}
	for _, p := range left {
		begun[p] = p.seen
	}
	victim.say("flood 1")
	sent := time.NewTimer(200 * time.Millisecond)
	<-sent.C
	go func() {
		// While the bursts below are under way.
		under := time.NewTimer(50 * time.Millisecond)
		<-under.C
		kill()
	}()
	burst(l.t, exchangeLimit, burstMessages, left...)
	for _, p := range left {
		p.seen = begun[p] // the report may have come before or after it
		p.await(viewLimit, fmt.Sprintf("left %d 3", victim.host))
	}
}

// TestLeave has our member say good-bye, and then a corosync. Nobody waits for a timeout.
func TestLeave(t *testing.T) {
	for _, ours := range []int{1, 3} {
		t.Run(fmt.Sprintf("we are %d", ours), func(t *testing.T) {
			l := newLab(t)
			list := l.members(ours, false)
			list[0].say("leave")
			for _, p := range list[1:] {
				p.await(token*time.Millisecond, fmt.Sprintf("left %d 2", ours))
			}
			exchange(t, exchangeLimit, burstMessages, list[1:]...)
			list[0] = l.ringnode(ours, 1<<20)
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			if err := l.daemons[list[2].host].cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for _, p := range list[:2] {
				p.await(5*token*time.Millisecond, fmt.Sprintf("left %d", list[2].host))
			}
			exchange(t, exchangeLimit, burstMessages, list[:2]...)
		})
	}
}

// TestJoinInTheMidst has a third member come while the others multicast: ours to a corosync
// and ours, and a corosync likewise. Messages that were sent in part when the ring changed
// reach those that were there, and do not confuse who came.
func TestJoinInTheMidst(t *testing.T) {
	for _, x := range []struct {
		name string
		come func(l *lab) *process
	}{
		{"ours", func(l *lab) *process { return l.ringnode(1, 0) }},
		{"corosync", func(l *lab) *process { return l.corosync(1) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t)
			list := []*process{l.ringnode(2, 0), l.corosync(3)}
			for _, p := range list {
				p.awaitView(viewLimit, 2, 3)
			}
			list[0].say("start 2")
			for _, p := range list {
				p.await(startLimit, "started")
				p.say("flood 2")
			}
			come := x.come(l)
			for _, p := range append([]*process{come}, list...) {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			burst(t, exchangeLimit, burstMessages, list...)
			exchange(t, exchangeLimit, burstMessages, come, list[0], list[1])
		})
	}
}

// TestPartition takes our host off the bridge until both sides have gone on alone, and puts it
// back: the rings find each other, also when nobody multicasts.
func TestPartition(t *testing.T) {
	for _, ours := range []int{1, 3} {
		t.Run(fmt.Sprintf("we are %d", ours), func(t *testing.T) {
			l := newLab(t)
			list := l.members(ours, false)
			l.host(ours).Isolate()
			list[0].awaitView(viewLimit, ours)
			for _, p := range list[1:] {
				p.awaitView(viewLimit, others(ours)...)
			}
			l.host(ours).Rejoin()
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}
