package link_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// member drives a machine and a link in a thread of its own, as the daemon does.
type member struct {
	m     *cpg.Machine
	l     link.Link
	start time.Time
	onMsg func(e *cpg.Event)
	feed  func(m *cpg.Machine) // called on every turn
	stop  atomic.Bool
	views atomic.Int64 // members in the last view
	done  chan struct{}
}

func openMember(t testing.TB, id int, group string, port uint16) *member {
	l, err := link.Open(link.Config{
		Address: netip.MustParseAddr("127.0.0.1"),
		Group:   link.MulticastAddr(group, false, 0), Port: port,
	})
	if err != nil {
		t.Fatal(err)
	}
	x := &member{l: l, start: time.Now(), done: make(chan struct{})}
	x.m, err = cpg.New(cpg.Config{
		Totem: totem.Config{Node: wire.NodeID(id), Nodes: 3}, Group: group, PID: uint32(id),
	}, x.now())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *member) now() time.Duration { return time.Since(x.start) + time.Millisecond }

func (x *member) run() {
	runtime.LockOSThread()
	defer close(x.done)
	var packets [64]wire.Packet
	fds := []unix.PollFd{}
	for _, fd := range x.l.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for !x.stop.Load() {
		now := x.now()
		for {
			n := x.l.Recv(packets[:])
			if n == 0 {
				break
			}
			for i := range packets[:n] {
				x.m.Step(now, packets[i])
				packets[i].Release()
			}
			x.flush()
		}
		if x.feed != nil {
			x.feed(x.m)
		}
		next := x.m.Tick(now)
		x.flush()
		wait := 100
		if next != 0 {
			wait = int(min(100, max(0, (next-x.now()+time.Millisecond-1)/time.Millisecond)))
		}
		if x.feed != nil {
			wait = min(wait, 1)
		}
		_, _ = unix.Poll(fds, wait)
	}
	x.l.Close()
}

func (x *member) flush() {
	r := x.m.Ready()
	x.l.Send(r.Send)
	for i := range r.Events {
		e := &r.Events[i]
		if e.View != nil {
			x.views.Store(int64(len(e.View.Members)))
		} else if x.onMsg != nil {
			x.onMsg(e)
		}
	}
}

func await(t testing.TB, what string, done func() bool) {
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("timed out: ", what)
		}
		runtime.Gosched()
		unix.Poll(nil, 1)
	}
}

// three starts a ring of three and waits for its view.
func three(t testing.TB, group string, port uint16, prepare func(x *member, i int)) []*member {
	var all []*member
	for i := range 3 {
		x := openMember(t, i+1, group, port)
		prepare(x, i)
		all = append(all, x)
		go x.run()
	}
	await(t, "a view of three", func() bool {
		for _, x := range all {
			if x.views.Load() != 3 {
				return false
			}
		}
		return true
	})
	return all
}

func stopAll(all []*member) {
	for _, x := range all {
		x.stop.Store(true)
		<-x.done
	}
}

// TestTotalOrderOverLoopback: three members send 20 MB in messages of mixed sizes; all
// deliver the same sequence of the same bytes.
func TestTotalOrderOverLoopback(t *testing.T) {
	const each, most = 2000, 7000
	var sums [3]atomic.Uint64
	var counts [3]atomic.Int64
	var start atomic.Bool
	all := three(t, fmt.Sprint("order", time.Now().UnixNano()), 15405, func(x *member, i int) {
		h := fnv.New64a()
		x.onMsg = func(e *cpg.Event) {
			for _, p := range e.Parts {
				h.Write(p)
			}
			sums[i].Store(h.Sum64())
			counts[i].Add(1)
		}
		sent := 0
		buf := make([]byte, most)
		x.feed = func(m *cpg.Machine) {
			for start.Load() && sent < each {
				n := 8 + (sent*7919+i*31)%(most-8)
				binary.BigEndian.PutUint64(buf, uint64(i)<<32|uint64(sent))
				buf[n-1] = byte(sent)
				if m.Multicast(buf[:n]) != nil {
					return
				}
				sent++
			}
		}
	})
	start.Store(true)
	await(t, "all messages", func() bool {
		for i := range counts {
			if counts[i].Load() != 3*each {
				return false
			}
		}
		return true
	})
	stopAll(all)
	for i := range sums {
		if sums[i].Load() != sums[0].Load() {
			t.Errorf("member %d delivered another sequence", i+1)
		}
		t.Logf("%+v", all[i].l.Stats())
		t.Logf("%+v", all[i].m.Stats())
	}
}

func BenchmarkDelivered(b *testing.B) {
	for _, size := range []int{256, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var counts [3]atomic.Int64
			var target atomic.Int64
			all := three(b, fmt.Sprint("bench", size), 15406, func(x *member, i int) {
				x.onMsg = func(*cpg.Event) { counts[i].Add(1) }
				sent := int64(0)
				buf := make([]byte, size)
				x.feed = func(m *cpg.Machine) {
					for sent < target.Load() && m.Queued() < 1<<20 && m.Multicast(buf) == nil {
						sent++
					}
				}
			})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			each := int64(b.N+2) / 3
			target.Store(each)
			await(b, "all messages", func() bool {
				return counts[0].Load() >= 3*each && counts[1].Load() >= 3*each && counts[2].Load() >= 3*each
			})
			b.StopTimer()
			b.ReportMetric(float64(3*each)/b.Elapsed().Seconds(), "msgs/s")
			stopAll(all)
			for _, x := range all {
				b.Logf("%+v", x.m.Stats().Totem)
			}
		})
	}
}
