package group

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// world is a corosync of several nodes as its clients see it: one order for each ring.
type world struct {
	t       *testing.T
	seed    uint64
	rand    *rand.Rand
	now     time.Duration
	rings   uint64
	members []*member
	pids    uint32
	holders map[uint64][]*member // of a message, who has delivered it
	made    uint64
	safes   int
	came    int
}

// member is one process: its machine, and what corosync has queued for it.
type member struct {
	*Machine
	w     *world
	id    cpg.Member
	ring  wire.RingID
	inbox []func()
	dead  bool
	still bool // takes nothing from its inbox

	view    *cpg.View
	log     []uint64            // what it delivered in its view
	history map[string][]uint64 // by view
	numbers map[uint64]uint64   // number to message, of the present view and the last
	safe    uint64
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), now: 1, holders: map[uint64][]*member{}}
}

func (w *world) fail(format string, a ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, a...))
}

// on lists the living members of a ring, in order.
func (w *world) on(ring wire.RingID) (list []*member) {
	for _, m := range w.members {
		if !m.dead && m.ring == ring {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *member) int { return compareMembers(a.id, b.id) })
	return list
}

func ids(list []*member) (ids []cpg.Member) {
	for _, m := range list {
		ids = append(ids, m.id)
	}
	return ids
}

// configure has corosync tell members of a ring who is in the group.
func (w *world) configure(ring wire.RingID, left ...cpg.Left) {
	list := ids(w.on(ring))
	for _, m := range w.on(ring) {
		m.inbox = append(m.inbox, func() { m.Configuration(w.now, list, left) })
	}
}

func (w *world) totem(m *member) {
	ring := m.ring
	m.inbox = append(m.inbox, func() { m.Totem(w.now, ring, []wire.NodeID{1, 2, 3}) })
}

// join starts a process on a ring.
func (w *world) join(ring wire.RingID) *member {
	w.pids++
	m := &member{w: w, id: cpg.Member{Node: wire.NodeID(1 + w.pids%3), PID: w.pids}, ring: ring,
		history: map[string][]uint64{}, numbers: map[uint64]uint64{}}
	m.Machine = New(Config{Self: m.id, Stall: time.Second})
	w.members = append(w.members, m)
	w.configure(ring)
	w.totem(m)
	return m
}

// end ends a process.
func (w *world) end(m *member, why wire.Reason) {
	m.dead = true
	w.configure(m.ring, cpg.Left{Member: m.id, Reason: why})
}

func (w *world) newRing() wire.RingID {
	w.rings += 4
	return wire.RingID{Rep: 1, Seq: w.rings}
}

// split takes some members of a ring to another one.
func (w *world) split(ring wire.RingID) {
	list := w.on(ring)
	if len(list) < 2 {
		return
	}
	k := 1 + w.rand.IntN(len(list)-1)
	w.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	sides := [][]*member{list[:k], list[k:]}
	for i, side := range sides {
		to := w.newRing()
		for _, m := range side {
			m.ring = to
		}
		var left []cpg.Left
		for _, m := range sides[1-i] {
			left = append(left, cpg.Left{Member: m.id, Reason: wire.ReasonNodeDown})
		}
		w.configure(to, left...)
		for _, m := range side {
			w.totem(m)
		}
	}
}

// merge brings two rings together. With forgotten set corosync does not tell that anybody was
// away, as when it has changed rings twice before its services have synchronised.
func (w *world) merge(a, b wire.RingID, forgotten bool) {
	one, two := w.on(a), w.on(b)
	to := w.newRing()
	for _, m := range append(slices.Clone(one), two...) {
		m.ring = to
	}
	all := ids(w.on(to))
	for i, side := range [][]*member{one, two} {
		for _, m := range side {
			for _, o := range [][]*member{two, one}[i] {
				if !forgotten {
					left := []cpg.Left{{Member: o.id, Reason: wire.ReasonNodeDown}}
					m.inbox = append(m.inbox, func() { m.Configuration(w.now, ids(side), left) })
				}
			}
			m.inbox = append(m.inbox, func() { m.Configuration(w.now, all, nil) })
			w.totem(m)
		}
	}
}

// order gives one message that a member wants sent its place.
func (w *world) order(m *member) bool {
	head, data, ok := m.Front()
	if !ok {
		return false
	}
	b := append(slices.Clone(head), data...)
	m.Sent(w.now)
	cut := w.rand.IntN(len(b) + 1)
	for _, to := range w.on(m.ring) {
		to.inbox = append(to.inbox, func() { to.Message(w.now, m.id, b[:cut:cut], b[cut:]) })
	}
	return true
}

// take has a member take so many events, and looks at what it makes of them.
func (m *member) take(n int) {
	for ; n > 0 && len(m.inbox) > 0 && !m.dead; n-- {
		m.inbox[0]()
		m.inbox = m.inbox[1:]
		m.look()
	}
}

func (m *member) name() string { return fmt.Sprint(m.id) }

func (m *member) look() {
	r := m.Ready()
	for i := range r.Events {
		e := &r.Events[i]
		if !e.Message {
			m.newView(e.View)
			continue
		}
		id := binary.LittleEndian.Uint64(bytes.Join(e.Parts, nil))
		m.log = append(m.log, id)
		m.numbers[e.Number] = id
		m.w.holders[id] = append(m.w.holders[id], m)
	}
	if r.Safe < m.safe {
		m.w.fail("%s: safe goes back from %d to %d", m.name(), m.safe, r.Safe)
	}
	for ; m.safe < r.Safe; m.safe++ {
		m.checkSafe(m.numbers[m.safe+1])
	}
}

// checkSafe looks whether all who are with m and came along have a message.
func (m *member) checkSafe(id uint64) {
	m.w.safes++
	for _, o := range m.w.members {
		if slices.Contains(m.view.Members, o.id) && !slices.Contains(m.view.Joined, o.id) && !slices.Contains(m.w.holders[id], o) {
			m.w.fail("%s: message %d is not safe: %s does not have it", m.name(), id, o.name())
		}
	}
}

// newView compares with those who came along what they delivered in the last one.
func (m *member) newView(v *cpg.View) {
	w := m.w
	if m.view != nil {
		key := fmt.Sprint(m.Machine.view, v.Transitional)
		m.history[key] = slices.Clone(m.log)
		for _, o := range w.members {
			if other, there := o.history[key]; there && o != m && slices.Contains(v.Transitional, o.id) && !slices.Equal(other, m.log) {
				w.fail("%s and %s come together to %s, and delivered %v and %v", m.name(), o.name(), key, m.log, other)
			}
		}
		if !slices.Contains(v.Transitional, m.id) {
			w.fail("%s has not come along with itself: %+v", m.name(), v)
		}
		for _, o := range v.Transitional {
			if o != m.id {
				w.came++
			}
		}
	}
	m.view, m.log = v, nil
}

// turn does something at random.
func (w *world) turn() {
	w.now += time.Duration(w.rand.IntN(int(5 * time.Millisecond)))
	m := w.members[w.rand.IntN(len(w.members))]
	if m.dead {
		return
	}
	switch w.rand.IntN(4) {
	case 0:
		m.Tick(w.now)
		m.look()
	case 1:
		if m.view != nil && w.rand.IntN(2) == 0 {
			w.made++
			if err := m.Push(binary.LittleEndian.AppendUint64(nil, w.made)); err != nil {
				w.fail("%s: %v", m.name(), err)
			}
		}
	case 2:
		w.order(m)
	case 3:
		if !m.still {
			m.take(1 + w.rand.IntN(5))
		}
	}
	if m.Err() != nil {
		w.fail("%s: %v", m.name(), m.Err())
	}
}

// disturb changes who is there.
func (w *world) disturb() {
	m := w.members[w.rand.IntN(len(w.members))]
	living := slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool { return m.dead })
	switch k := w.rand.IntN(5); {
	case k == 0 && len(living) < 6:
		w.join(m.ring)
	case k == 1 && len(living) > 2 && !m.dead:
		w.end(m, wire.ReasonProcDown)
	case k == 2:
		w.split(m.ring)
	default:
		o := living[w.rand.IntN(len(living))]
		if !m.dead && m.ring != o.ring {
			w.merge(m.ring, o.ring, w.rand.IntN(3) == 0)
		}
	}
}

// settle lets everything come to rest.
func (w *world) settle() {
	for quiet := 0; quiet < 20; quiet++ { // a tenth of a second
		busy := false
		w.now += 5 * time.Millisecond
		for _, m := range w.members {
			if m.dead || m.still {
				continue
			}
			busy = busy || len(m.inbox) > 0
			m.take(100)
			m.Tick(w.now)
			for w.order(m) {
				busy = true
			}
			if m.Err() != nil {
				w.fail("%s: %v", m.name(), m.Err())
			}
		}
		if busy {
			quiet = 0
		}
	}
}

// rested checks what must be when nothing happens any more.
func (w *world) rested() {
	for _, m := range w.members {
		if m.dead {
			continue
		}
		if want := ids(w.on(m.ring)); m.view == nil || !slices.Equal(m.view.Members, want) {
			w.fail("%s: view %+v, want %v; it is %s", m.name(), m.view, want, m)
		}
		if m.Ready().Safe != m.number {
			w.fail("%s: only %d of %d messages are safe", m.name(), m.safe, m.number)
		}
	}
}

// TestVirtualSynchrony has processes come, go, part and meet while they multicast.
func TestVirtualSynchrony(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() {
		seeds = 100
	}
	came, safes := 0, 0
	for seed := range seeds {
		w := newWorld(t, seed)
		first := w.newRing()
		for range 3 {
			w.join(first)
		}
		for range 20 {
			for range w.rand.IntN(200) {
				w.turn()
			}
			w.disturb()
		}
		w.settle()
		w.rested()
		came, safes = came+w.came, safes+w.safes
	}
	if came < int(seeds) || safes < 100*int(seeds) {
		t.Errorf("%d times somebody came along, %d messages were safe: too few to tell anything", came, safes)
	}
}
