package interop

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestUnplug pulls the cable of a host, ours or a corosync's, while all multicast, until both sides
// have gone on alone, and puts it in again.
func TestUnplug(t *testing.T) {
	for _, x := range []struct{ ours, host int }{{1, 1}, {3, 3}, {1, 3}, {3, 1}} {
		t.Run(fmt.Sprintf("we are %d, %d is cut off", x.ours, x.host), func(t *testing.T) {
			l := newLab(t)
			list := l.members(x.ours, false)
			for _, p := range list {
				p.say("trickle %d", p.host)
			}
			l.host(x.host).Unplug()
			for _, p := range list {
				if p.host == x.host {
					p.awaitView(viewLimit, p.host)
				} else {
					p.awaitView(viewLimit, others(x.host)...)
				}
			}
			l.host(x.host).Plug()
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			drain(exchangeLimit, list...)
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

// TestPause stops members for half a second, as a machine does that has other things to do: with
// the usual timeouts that is no reason to go on without them.
func TestPause(t *testing.T) {
	const pause = 500 * time.Millisecond
	l := newLab(t)
	l.totem = ""
	list := l.members(2, false)
	before := map[*process]int{}
	for _, p := range list {
		before[p] = p.seen
	}
	for i, p := range []*process{list[0], l.daemons[1], l.daemons[3]} {
		list[i].say("start %d", len(list))
		for _, p := range list {
			p.await(startLimit, "started")
		}
		for _, p := range list {
			p.say("burst %d %d", burstMessages, i)
		}
		for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := p.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			if s == syscall.SIGSTOP {
				<-time.NewTimer(pause).C
			}
		}
		report := list[0].await(exchangeLimit, "report")
		for _, p := range list[1:] {
			if other := p.await(exchangeLimit, "report"); other != report {
				t.Errorf("%s: %s, and %s: %s", list[0].name, report, p.name, other)
			}
		}
	}
	// Who was missed is so by now: a token's time after the last pause.
	harness.Always(t, 4*time.Second, "nobody is thrown out", func() error {
		for _, p := range list {
			for line := range strings.Lines(p.since(before[p])) {
				if strings.HasPrefix(line, "view ") || strings.HasPrefix(line, "left ") || strings.HasPrefix(line, "state gather") {
					return fmt.Errorf("%s said %q", p.name, line)
				}
			}
		}
		return nil
	})
}

// TestLoss exchanges messages while the network loses packets of all kinds, tokens and joins
// included, and then kills a corosync or ours in the midst of what it multicasts, so that old
// messages are recovered that some lack.
func TestLoss(t *testing.T) {
	for _, x := range []struct{ percent, ours, victim int }{{1, 3, 1}, {5, 1, 0}, {20, 3, 0}, {20, 2, 1}} {
		t.Run(fmt.Sprintf("%d percent, we are %d, kill %d", x.percent, x.ours, x.victim), func(t *testing.T) {
			l := newLab(t)
			if x.percent > 5 {
				// With the usual four repetitions of a token one rotation in sixty takes too long.
				l.totem = "token: 2000\n\ttoken_coefficient: 0\n\ttoken_retransmits_before_loss_const: 12"
			}
			list := l.members(x.ours, false)
			victim := list[x.victim]
			left := slices.Delete(slices.Clone(list), x.victim, x.victim+1)
			l.Lose(10*x.percent, "udp")
			count := burstMessages / (1 + x.percent/5)
			exchangeInLoss(t, count, func() {}, list...)
			victim.say("flood 1")
			exchangeInLoss(t, count, func() {
				if d := l.daemons[victim.host]; d != nil {
					d.kill()
				}
				victim.kill()
			}, left...)
			if n := l.Lost(); n < 10 {
				t.Errorf("the network lost %d packets: too few to prove anything", n)
			} else {
				t.Logf("the network lost %d packets", n)
			}
		})
	}
}

// exchangeInLoss is exchange where much is lost. A ring falls apart there at times though all live,
// and those who part deliver different messages: then they are given time to be together again, and
// the exchange is repeated. What is done in the midst of the first is done once.
func exchangeInLoss(t *testing.T, count int, midst func(), senders ...*process) {
	t.Helper()
	whole := []string{"view"}
	for _, p := range senders {
		whole = append(whole, fmt.Sprint(p.host))
	}
	slices.Sort(whole)
	const most = 5
	for range most {
		err := attempt(t, count, midst, senders...)
		midst = func() {}
		together := func() error {
			for _, p := range senders {
				got := strings.Fields(p.last("view "))
				slices.Sort(got)
				if !slices.Equal(got, whole) {
					return fmt.Errorf("%s has %v", p.name, got)
				}
			}
			return nil
		}
		harness.Eventually(t, 3*viewLimit, "all are together", together)
		if err == nil {
			return
		}
		t.Logf("once more: %v", err)
		if err := attempt(t, 1, midst, senders...); err != nil { // behind what was under way
			t.Logf("and not: %v", err)
		}
	}
	t.Fatalf("%d times the ring fell apart in the midst of an exchange", most)
}

// attempt exchanges messages once, and gives an error if the senders were parted meanwhile.
func attempt(t *testing.T, count int, midst func(), senders ...*process) error {
	t.Helper()
	begun := map[*process]int{}
	for _, p := range senders {
		begun[p] = p.said()
	}
	all := func(words string) error {
		t.Helper()
		var parted error
		harness.Eventually(t, exchangeLimit, "each says "+words, func() error {
			for _, p := range senders {
				text := p.since(begun[p])
				for _, other := range senders {
					if strings.Contains(text, fmt.Sprintf("left %d ", other.host)) {
						parted = fmt.Errorf("%s lost %s", p.name, other.name)
						return nil
					}
				}
				if !strings.Contains(text, words) {
					return errors.New(p.name + " has not")
				}
			}
			return nil
		})
		return parted
	}
	senders[0].say("start %d", len(senders))
	if err := all("started"); err != nil {
		return err
	}
	for _, p := range senders {
		p.say("burst %d %d", count, time.Now().UnixNano())
	}
	midst()
	if err := all("report "); err != nil {
		return err
	}
	report := senders[0].last("report ")
	for _, p := range senders[1:] {
		if other := p.last("report "); other != report {
			t.Errorf("%s: %s, and %s: %s", senders[0].name, report, p.name, other)
		}
	}
	return nil
}

// TestDeafCorosync has no multicasts reach the host of a corosync. What our member multicasts goes
// there by unicast, too, when nothing else helps: a corosync takes it, and the ring goes on.
func TestDeafCorosync(t *testing.T) {
	l := newLab(t)
	list := l.mixed([]int{2}, 1, 2)
	l.Deafen(l.host(1))
	exchange(t, exchangeLimit, burstMessages, list...)
	list[1].seen = 0
	list[1].await(startLimit, "starving 1")
	for _, p := range list {
		if left := p.last("left "); left != "" {
			t.Errorf("%s said %q", p.name, left)
		}
	}
}
