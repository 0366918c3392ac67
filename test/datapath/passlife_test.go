package datapath

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/ringtest"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	passNodes = 5
	passTurns = 400
	passToken = 200 * time.Millisecond
)

// passLease is how long what a member has said counts, as in daemon/datapath.
var passLease = totem.Config{Token: passToken}.WithDefaults().TokenRetransmit / 2

// life is of five members that send, lose packets, are cut off, stop, crash and start again, of whom the
// first so many have the program.
type life struct {
	t       *testing.T
	seed    uint64
	kernel  kernel
	compare bool
	sloppy  int
	net     *ringtest.Net
	check   *ringtest.Checker
	nodes   []*ringtest.Node // nil: it is down
	passing []*passing       // nil: it has none, or is down
	ended   []*passing       // of processes that have crashed
	seqs    []uint64
	pid     uint32
	before  func(i int, n *ringtest.Node) // puts something else before a node
}

// lives has five members send, lose packets, and be cut off. Each is shown first to those that put
// something before it.
func lives(t *testing.T, seed uint64, before func(i int, n *ringtest.Node)) {
	begin(&life{t: t, seed: seed, before: before}).run(passTurns)
}

func newLife(t *testing.T, seed uint64, k kernel, compare bool, sloppy int) *life {
	return begin(&life{t: t, seed: seed, kernel: k, compare: compare, sloppy: sloppy})
}

func begin(l *life) *life {
	l.net, l.check = ringtest.New(l.seed), ringtest.NewChecker()
	l.nodes, l.passing, l.seqs = make([]*ringtest.Node, passNodes), make([]*passing, passNodes), make([]uint64, passNodes)
	for i := range passNodes {
		l.start(i)
	}
	l.net.Faults.Jitter = 50 * time.Microsecond
	l.net.Run(time.Second)
	return l
}

func (l *life) start(i int) {
	l.t.Helper()
	l.pid++
	n, err := ringtest.Start(l.net, cpg.Config{Group: "pass", PID: l.pid, Totem: totem.Config{
		Node: wire.NodeID(i + 1), RingSeq: l.seqs[i], Token: passToken, Join: 20 * time.Millisecond, Merge: 50 * time.Millisecond,
		MaxMessages: 8, WindowSize: 24, NetMTU: 400, FailRecvConst: 200,
	}}, l.check.Use)
	if err != nil {
		l.t.Fatal(err)
	}
	l.nodes[i] = n
	if l.before != nil {
		l.before(i, n)
	}
	if i < l.kernel.nodes {
		l.passing[i] = newPassing(l.t, n, l.kernel, l.compare, l.sloppy)
	}
}

// crash ends a member, and the program with its process, as the kernel does.
func (l *life) crash(i int) {
	n := l.nodes[i]
	l.check.Crashed(n.Machine.Self())
	l.seqs[i] = n.Config.Totem.RingSeq
	n.Crash()
	l.nodes[i] = nil
	if x := l.passing[i]; x != nil {
		x.pass.Close()
		l.ended, l.passing[i] = append(l.ended, x), nil
	}
}

// list are all programs there were.
func (l *life) list() (list []*passing) {
	list = append(list, l.ended...)
	for _, x := range l.passing {
		if x != nil {
			list = append(list, x)
		}
	}
	return list
}

// run has things happen. Where something is compared with the members nobody crashes or hangs, as there is
// nobody then with whom to compare.
func (l *life) run(turns int) *life {
	r := l.net.Rand
	for range turns {
		i := r.IntN(passNodes)
		switch k := r.IntN(100); {
		case k < 3:
			l.net.Partition([]wire.NodeID{1, 2, 3, 4, 5}[:1+r.IntN(4)], nil)
		case k < 8:
			l.net.Heal()
		case k < 12:
			l.weather()
		case k < 16 && !l.compare && l.before == nil:
			l.trouble(i)
		default:
			l.send(i)
		}
		pause := 10 * time.Millisecond
		if r.IntN(10) == 0 {
			pause = time.Second // in which a ring forms
		}
		l.net.Run(time.Duration(r.Int64N(int64(pause))))
		l.faultless()
	}
	l.settle()
	return l
}

// trouble crashes a member, or starts one that is down, or stops its process for a while.
func (l *life) trouble(i int) {
	x := l.passing[i]
	switch r := l.net.Rand; {
	case l.nodes[i] == nil:
		l.start(i)
	case x != nil && x.since != 0:
		x.resume(l.net.Now())
	case x != nil && r.IntN(3) > 0:
		x.hang(l.net.Now())
		if r.IntN(2) == 0 {
			// Short: what it had said counts through most of it, and the others work.
			for end := l.net.Now() + time.Duration(r.Int64N(int64(2*passLease))); l.net.Now() < end; {
				l.send(r.IntN(passNodes))
				l.net.Run(time.Duration(r.Int64N(int64(time.Millisecond))))
			}
			x.resume(l.net.Now())
		}
	default:
		l.crash(i)
	}
}

func (l *life) weather() {
	r := l.net.Rand
	l.net.Faults = ringtest.Faults{Delay: 20 * time.Microsecond, Jitter: time.Duration(1 + r.Int64N(int64(100*time.Microsecond)))}
	if r.IntN(2) == 0 {
		l.net.Faults.Loss, l.net.Faults.Duplicate, l.net.Faults.LongDelay = r.Float64()*0.05, r.Float64()*0.1, r.Float64()*0.02
	}
}

func (l *life) send(i int) {
	n := l.nodes[i]
	if n == nil || l.passing[i] != nil && l.passing[i].since != 0 {
		return
	}
	if x := l.passing[i]; x != nil {
		x.take()
		defer func() { x.take(); x.say() }()
	}
	for range 1 + l.net.Rand.IntN(40) {
		if err := n.Multicast(l.check.Message(n.Machine.Self(), l.net.Rand.IntN(300))); err == nil {
			l.check.Sent(n.Machine.Self())
		} else if !errors.Is(err, cpg.ErrFull) {
			l.t.Fatal(err)
		}
	}
}

func (l *life) faultless() {
	l.t.Helper()
	if len(l.check.Faults) > 0 {
		l.t.Fatalf("seed %d: %v", l.seed, l.check.Faults)
	}
}

// settle ends all trouble: everybody finds everybody, and all promises were kept.
func (l *life) settle() {
	l.t.Helper()
	l.net.Heal()
	l.net.Faults = ringtest.Quiet()
	for i, n := range l.nodes {
		if n == nil {
			l.start(i)
		} else if x := l.passing[i]; x != nil && x.since != 0 {
			x.resume(l.net.Now())
		}
	}
	if !l.net.RunUntil(20*time.Second, func() bool { return l.together(passNodes) && l.queued() == 0 }) {
		l.t.Fatalf("seed %d: no single ring within 20 s", l.seed)
	}
	l.net.Run(time.Second)
	l.check.Finish()
	l.faultless()
}

// together tells whether so many of the members that work are one group.
func (l *life) together(want int) bool {
	n := 0
	for i, node := range l.nodes {
		if node == nil || l.passing[i] != nil && l.passing[i].since != 0 {
			continue
		}
		n++
		if len(node.Machine.Members()) != want {
			return false
		}
	}
	return n >= want
}

func (l *life) queued() (n int) {
	for _, node := range l.nodes {
		n += node.Machine.Queued()
	}
	return n
}

// passRuns is how many seeds a ring is tried with, or RUNS says.
func passRuns(t *testing.T, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv("RUNS")
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRingsWithPasses: rings of which some members, or all, have their tokens passed in the kernel keep
// every promise of the ring while they lose packets, are cut off, crash, start again, and hang, with
// members that are slow to say how they stand, too.
func TestRingsWithPasses(t *testing.T) {
	passPrivileged(t)
	hung := uint64(0)
	for i, k := range kernels {
		for _, k.nodes = range []int{1, 3, passNodes} {
			for _, sloppy := range []int{0, 50} {
				if i > 0 && (k.nodes == 1 || k.nodes == 3 != (sloppy > 0)) {
					continue // what a member does is the same with all programs
				}
				t.Run(fmt.Sprintf("%v, %d of %d, %d %% sloppy", k, k.nodes, passNodes, sloppy), func(t *testing.T) {
					passes := uint64(0)
					for seed := range passRuns(t, 4) {
						for _, x := range newLife(t, seed, k, false, sloppy).run(passTurns).list() {
							passes, hung = passes+x.passes, hung+x.hung
						}
					}
					t.Logf("%d tokens were passed on", passes)
					if passes < 500 {
						t.Errorf("only %d tokens were passed on", passes)
					}
				})
			}
		}
	}
	t.Logf("%d tokens were passed on for members that hung", hung)
	if hung == 0 && !t.Failed() {
		t.Error("no token was passed on for a member that hung")
	}
}

// TestHangIsNoticed: the token of a member that hangs is passed on for no longer than what it said counts,
// so that the others lose the token and go on without it as they would without the program. When it goes on
// it comes back.
func TestHangIsNoticed(t *testing.T) {
	passPrivileged(t)
	hung := uint64(0)
	for _, k := range kernels[:3] {
		k.nodes = passNodes
		for seed := range passRuns(t, 10) {
			l := newLife(t, seed, k, false, 0)
			x := l.passing[seed%passNodes]
			for range 20 {
				l.send(int(seed+1) % passNodes) // the token goes round
				l.net.Run(time.Millisecond)
			}
			begin := l.net.Now()
			x.hang(begin)
			alone := func() bool {
				l.send(int(seed+1) % passNodes)
				return l.together(passNodes - 1)
			}
			for !alone() {
				if l.net.Run(time.Millisecond); l.net.Now() > begin+passLease+3*passToken {
					t.Fatalf("%v, seed %d: a member hangs for %v, and is not missed", k, seed, l.net.Now()-begin)
				}
			}
			hung += x.hung
			l.settle()
		}
	}
	if hung == 0 {
		t.Error("no token was passed on for a member that hung")
	}
}
