package ringtest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// world is a run of the simulation: nodes come, go, are cut off and suspected while they
// send.
type world struct {
	t     *testing.T
	net   *Net
	check *Checker
	nodes []*Node // by id-1; nil while down
	seqs  []uint64
	pid   uint32
}

const worldNodes = 5

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, net: New(seed), check: NewChecker(),
		nodes: make([]*Node, worldNodes), seqs: make([]uint64, worldNodes),
	}
	if os.Getenv("TRACE") != "" {
		w.net.Trace = func(now time.Duration, from, to wire.NodeID, data []byte) {
			fmt.Println(now, from, "->", to, Describe(data))
		}
	}
	w.net.Faults.Jitter = 50 * time.Microsecond
	for i := range w.nodes {
		w.start(i)
	}
	return w
}

func (w *world) config(i int) cpg.Config {
	w.pid++
	return cpg.Config{
		Group: "sim", PID: w.pid, Votes: uint32(i % 2),
		Totem: totem.Config{
			Node: wire.NodeID(i + 1), RingSeq: w.seqs[i],
			Token: 200 * time.Millisecond, Join: 20 * time.Millisecond, Merge: 50 * time.Millisecond,
			MaxMessages: 8, WindowSize: 24, MaxWindow: 24 << w.net.Rand.IntN(3), NetMTU: 400, MaxNetMTU: 400 << w.net.Rand.IntN(3), FailRecvConst: 200, Plain: w.chance(20),
			SendJoin: time.Duration(w.pid%3) * 5 * time.Millisecond, HeartbeatFailuresAllowed: int(w.pid % 4), CancelTokenHoldOnRetransmit: w.pid%2 == 0,
		},
	}
}

func (w *world) start(i int) {
	n, err := Start(w.net, w.config(i), w.check.Use)
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes[i] = n
}

func (w *world) stop(i int) {
	n := w.nodes[i]
	w.check.Crashed(n.Machine.Self())
	w.seqs[i] = n.Config.Totem.RingSeq
	n.Crash()
	w.nodes[i] = nil
}

func (w *world) chance(percent int) bool { return w.net.Rand.IntN(100) < percent }

// pause is mostly short, so that things happen in the middle of others.
func (w *world) pause() time.Duration {
	switch {
	case w.chance(70):
		return time.Duration(w.net.Rand.Int64N(int64(2 * time.Millisecond)))
	case w.chance(70):
		return time.Duration(w.net.Rand.Int64N(int64(50 * time.Millisecond)))
	}
	return time.Duration(w.net.Rand.Int64N(int64(time.Second)))
}

func (w *world) send(n *Node) {
	size := w.net.Rand.IntN(300)
	if w.chance(10) {
		size = w.net.Rand.IntN(5000)
	}
	for range 1 + w.net.Rand.IntN(8) {
		err := n.Multicast(w.check.Message(n.Machine.Self(), size))
		if err == nil {
			w.check.Sent(n.Machine.Self())
		} else if !errors.Is(err, cpg.ErrFull) {
			w.t.Fatal(err)
		}
		n.Do()
	}
}

func (w *world) act() {
	r := w.net.Rand
	i := r.IntN(worldNodes)
	n := w.nodes[i]
	if n == nil {
		if w.chance(10) {
			w.start(i)
		}
		return
	}
	switch k := r.IntN(100); {
	case k < 80:
		w.send(n)
	case k < 82:
		w.stop(i)
	case k < 84:
		n.Machine.Suspect(w.net.Now(), wire.NodeID(1+r.IntN(worldNodes)))
		n.Do()
	case k < 85:
		w.leave(i)
	case k < 87:
		w.split()
	case k < 90:
		w.net.Heal()
	case k < 92:
		w.weather()
	}
}

// leave says goodbye; what follows is as after a crash.
func (w *world) leave(i int) {
	n := w.nodes[i]
	n.Machine.Leave(w.net.Now())
	n.Do()
	w.net.Run(w.pause())
	w.stop(i)
}

func (w *world) split() {
	var sides [3][]wire.NodeID
	for id := wire.NodeID(1); id <= worldNodes; id++ {
		s := w.net.Rand.IntN(3)
		sides[s] = append(sides[s], id)
	}
	w.net.Partition(sides[:]...)
}

// weather changes what happens to packets.
func (w *world) weather() {
	r := w.net.Rand
	w.net.Faults = Faults{Delay: 20 * time.Microsecond, Jitter: time.Duration(1 + r.Int64N(int64(200*time.Microsecond)))}
	if w.chance(50) {
		w.net.Faults.Loss = r.Float64() * 0.15
		w.net.Faults.Duplicate = r.Float64() * 0.05
		w.net.Faults.LongDelay = r.Float64() * 0.02
	}
}

// settle ends all trouble; everybody must find everybody within bounded time.
func (w *world) settle() {
	w.net.Heal()
	w.net.Faults = Quiet()
	for i, n := range w.nodes {
		if n == nil {
			w.start(i)
		}
	}
	if !w.net.RunUntil(10*time.Second, func() bool { return together(w.nodes) }) {
		for _, n := range w.nodes {
			w.t.Logf("node %d %s ring %v of %v, group %v, queued %d", n.ID(), n.Machine.State(), n.Machine.Ring(),
				n.Machine.RingMembers(), n.Machine.Members(), n.Machine.Queued())
		}
		w.t.Fatal("no single ring within 10 s after the network healed")
	}
	done := func() bool {
		for _, n := range w.nodes {
			l := w.check.life(n.Machine.Self())
			if n.Machine.Queued() > 0 || l.last[l.who] != l.sent || l.safe != uint64(len(l.order)) {
				return false
			}
		}
		return true
	}
	for _, n := range w.nodes {
		w.send(n)
	}
	if !w.net.RunUntil(10*time.Second, done) {
		w.t.Fatal("messages are not delivered and safe within 10 s")
	}
	w.net.Run(time.Second)
}

func (w *world) run(actions int) {
	w.net.Run(w.pause())
	for range actions {
		w.act()
		w.net.Run(w.pause())
		if len(w.check.Faults) > 0 {
			return
		}
	}
	w.settle()
	w.check.Finish()
}

// TestSimulation runs whole rings under seeds; SEED=n runs one, RUNS=n that many,
// TRACE=1 prints every packet.
func TestSimulation(t *testing.T) {
	first, runs := uint64(1), uint64(40)
	if testing.Short() {
		runs = 8
	}
	if s := os.Getenv("RUNS"); s != "" {
		runs, _ = strconv.ParseUint(s, 10, 64)
	}
	if s := os.Getenv("SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		if os.Getenv("RUNS") == "" {
			runs = 1
		}
	}
	for seed := first; seed < first+runs; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			w := newWorld(t, seed)
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
					panic(p)
				}
			}()
			w.run(200)
			for _, f := range w.check.Faults {
				t.Error(f)
			}
			if t.Failed() {
				t.Logf("run again with SEED=%d go test -run TestSimulation ./ring/ringtest", seed)
			}
		})
	}
}
