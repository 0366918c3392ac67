package ringtest

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Host is what packets are for.
type Host interface {
	// Receive takes one packet. Its block is the host's to retain.
	Receive(now time.Duration, p wire.Packet)
	// Wake does what is due and returns when it wants to be woken next, 0 for never.
	Wake(now time.Duration) time.Duration
}

// Faults is what happens to packets on their way. Chances are from 0 to 1.
type Faults struct {
	Loss      float64
	Duplicate float64
	Delay     time.Duration // of every packet
	Jitter    time.Duration // up to this more, so packets overtake each other
	LongDelay float64       // chance of a delay of up to 20 times Jitter
}

// Quiet is a fast network without faults.
func Quiet() Faults { return Faults{Delay: 20 * time.Microsecond} }

// Net is the network and its clock.
type Net struct {
	Faults Faults
	Rand   *rand.Rand
	Trace  func(now time.Duration, from, to wire.NodeID, data []byte) // if set, sees each arrival

	now   time.Duration
	order uint64
	queue events
	hosts []port
	Sent  uint64
	Lost  uint64
}

type port struct {
	id    wire.NodeID
	host  Host
	life  int // tells a restarted host from the one before
	side  int // of a partition
	wake  time.Duration
	lives bool
}

type event struct {
	at    time.Duration
	order uint64
	to    wire.NodeID
	from  wire.NodeID
	life  int
	data  []byte // nil: a wake-up
}

// New makes an empty network.
func New(seed uint64) *Net {
	return &Net{Faults: Quiet(), Rand: rand.New(rand.NewPCG(seed, 0x746f74656d)), now: time.Millisecond}
}

// Now is the virtual time.
func (n *Net) Now() time.Duration { return n.now }

// Attach plugs a host in, in place of one of the same id that was detached, and wakes it.
func (n *Net) Attach(id wire.NodeID, h Host) {
	i, found := n.find(id)
	if !found {
		n.hosts = slices.Insert(n.hosts, i, port{id: id})
	}
	p := &n.hosts[i]
	p.host, p.lives, p.wake = h, true, 0
	p.life++
	n.WakeAt(id, n.now)
}

// Detach unplugs a host: what is on the way to it is lost.
func (n *Net) Detach(id wire.NodeID) {
	if i, found := n.find(id); found {
		n.hosts[i].lives = false
		n.hosts[i].host = nil
		n.hosts[i].life++
	}
}

func (n *Net) find(id wire.NodeID) (int, bool) {
	return slices.BinarySearchFunc(n.hosts, id, func(p port, id wire.NodeID) int {
		return int(p.id) - int(id)
	})
}

// Partition lets packets pass only within each of the sides; hosts that no side names stay
// on the first.
func (n *Net) Partition(sides ...[]wire.NodeID) {
	for i := range n.hosts {
		n.hosts[i].side = 0
		for s, side := range sides {
			if slices.Contains(side, n.hosts[i].id) {
				n.hosts[i].side = s
			}
		}
	}
}

// Heal ends all partitions.
func (n *Net) Heal() { n.Partition() }

// Send puts datagrams on the network.
func (n *Net) Send(from wire.NodeID, datagrams []wire.Datagram) {
	for _, d := range datagrams {
		if d.To != 0 {
			n.post(from, d.To, d.Data)
			continue
		}
		for i := range n.hosts {
			if n.hosts[i].id != from {
				n.post(from, n.hosts[i].id, d.Data)
			}
		}
	}
}

func (n *Net) post(from, to wire.NodeID, data []byte) {
	n.Sent++
	copies := 1
	f := &n.Faults
	if f.Duplicate > 0 && n.Rand.Float64() < f.Duplicate {
		copies = 2
	}
	for range copies {
		if f.Loss > 0 && n.Rand.Float64() < f.Loss {
			n.Lost++
			continue
		}
		at := n.now + f.Delay
		if f.Jitter > 0 {
			at += time.Duration(n.Rand.Int64N(int64(f.Jitter)))
			if f.LongDelay > 0 && n.Rand.Float64() < f.LongDelay {
				at += time.Duration(n.Rand.Int64N(20 * int64(f.Jitter)))
			}
		}
		n.push(event{at: at, to: to, from: from, data: slices.Clone(data)})
	}
}

// WakeAt asks for a call of Wake.
func (n *Net) WakeAt(id wire.NodeID, at time.Duration) {
	i, found := n.find(id)
	if !found || at == 0 {
		return
	}
	p := &n.hosts[i]
	at = max(at, n.now)
	if p.wake != 0 && p.wake <= at && p.wake > n.now {
		return
	}
	p.wake = at
	n.push(event{at: at, to: id, life: p.life})
}

func (n *Net) push(e event) {
	n.order++
	e.order = n.order
	heap.Push(&n.queue, e)
}

// Step lets the next thing happen; it reports false when nothing is left.
func (n *Net) Step() bool {
	if len(n.queue) == 0 {
		return false
	}
	e := heap.Pop(&n.queue).(event)
	n.now = max(n.now, e.at)
	i, found := n.find(e.to)
	if !found || !n.hosts[i].lives {
		return true
	}
	p := &n.hosts[i]
	if e.data == nil {
		if e.life == p.life && p.wake == e.at {
			p.wake = 0
			n.WakeAt(e.to, p.host.Wake(n.now))
		}
		return true
	}
	if j, ok := n.find(e.from); !ok || n.hosts[j].side != p.side {
		n.Lost++
		return true
	}
	if n.Trace != nil {
		n.Trace(n.now, e.from, e.to, e.data)
	}
	b := wire.NewBlock(e.data)
	p.host.Receive(n.now, wire.Packet{Data: e.data, Block: b})
	b.Release()
	return true
}

// Run lets d of virtual time pass.
func (n *Net) Run(d time.Duration) {
	end := n.now + d
	for len(n.queue) > 0 && n.queue[0].at <= end {
		n.Step()
	}
	n.now = end
}

// RunUntil runs until done says so, at most for d, and reports whether it did.
func (n *Net) RunUntil(d time.Duration, done func() bool) bool {
	end := n.now + d
	for !done() {
		if len(n.queue) == 0 || n.queue[0].at > end {
			return false
		}
		n.Step()
	}
	return true
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].order < e[j].order
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}
