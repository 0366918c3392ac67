// Command ringnode is one member of a ring and of a group on it, without a broker; package
// interop says what it takes and prints.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ringnode:", err)
		os.Exit(1)
	}
}

func run() error {
	file := flag.String("ring-config", "", "corosync.conf, with this host in its nodelist")
	seq := flag.Uint64("ringseq", 0, "number of the last ring")
	client := flag.Bool("corosync", false, "be a client of this host's corosync, in place of a ring of our own")
	flag.Parse()
	if err := unix.SetNonblock(0, true); err != nil {
		return err
	}
	if *client {
		return runClient()
	}
	n, err := join(*file, *seq)
	if err != nil {
		return err
	}
	defer n.link.Close()
	n.leave = func() { n.machine.Leave(n.now()) }
	for !n.machine.Left() && !n.eof { // without input the test has ended
		if err := n.turn(); err != nil {
			return err
		}
	}
	return nil
}

// join opens the ring that a file describes, as a broker does.
func join(file string, seq uint64) (*node, error) {
	o, err := config.Load([]string{"--config=/dev/null", "--no-data-dir", "--cluster-name=interop", "--ring-config=" + file,
		"--ring-datapath=" + cmp.Or(os.Getenv("QPID_RING_DATAPATH"), config.DatapathUDP), "--ring-guard=" + cmp.Or(os.Getenv("QPID_RING_GUARD"), config.GuardOff)}, nil)
	if err != nil {
		return nil, err
	}
	ring, err := ringconf.Load(o, func(notice string) { fmt.Println("notice", notice) })
	if err != nil {
		return nil, err
	}
	ring.Link.Report = func(_ bool, text string) { fmt.Println("notice", text) }
	way := datapath.New(o.Datapath, o.RingGuard, ring.Link.Report)
	way.Configure(&ring.Link)
	l, err := link.Open(ring.Link)
	if err != nil {
		return nil, err
	}
	way.Opened(l)
	n := &node{link: l, way: way, begin: time.Now(), packets: make([]wire.Packet, 128)}
	totem := ring.Totem
	totem.Node, totem.RingSeq = ring.Node(l.Address()), seq
	l.Know(totem.Node)
	n.machine, err = cpg.New(cpg.Config{
		Group: "interop", PID: uint32(os.Getpid()), Votes: ring.Votes, ExpectedVotes: ring.ExpectedVotes, ConfigVersion: ring.ConfigVersion,
		AllowDownscale: ring.Quorum.AllowDownscale, Totem: totem,
	}, n.now())
	return n, err
}

// node is the loop of a broker's engine in miniature.
type node struct {
	machine  *cpg.Machine
	link     link.Link
	way      *datapath.Choice
	begin    time.Time
	packets  []wire.Packet
	state    string      // of the machine, as told last
	starving wire.NodeID // as told last
	more     bool        // there is something to send
	commander
}

func (n *node) now() time.Duration { return time.Since(n.begin) + 1 }

// maxReceives bounds the batches of a turn, so that timers have theirs.
const maxReceives = 16

// turn waits for something to do and does it.
func (n *node) turn() error {
	n.wait()
	for range maxReceives {
		k := n.link.Recv(n.packets)
		for i := range k {
			n.machine.Step(n.now(), n.packets[i])
			n.packets[i].Release()
			n.hand()
		}
		if k == 0 {
			break
		}
	}
	if err := n.commands(); err != nil {
		return err
	}
	n.more = n.work.send(n.machine.Multicast)
	n.machine.Tick(n.now())
	n.hand()
	if node, yes := n.machine.Starving(); yes {
		n.link.Repeat()
		if node != n.starving {
			fmt.Println("starving", node)
		}
		n.starving = node
	}
	return nil
}

// wait sleeps until a packet or a command comes, or the machine wants a tick.
func (n *node) wait() {
	fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	for _, fd := range n.link.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	wait := n.link.Tick()
	if every := n.work.every; every != 0 && (wait == 0 || every < wait) {
		wait = every
	}
	if next := n.machine.Next(); next != 0 {
		if d := max(next-n.now(), 1); wait == 0 || d < wait {
			wait = d
		}
	}
	timeout := -1
	if n.more {
		timeout = 0
	} else if wait != 0 {
		timeout = int((wait + time.Millisecond - 1) / time.Millisecond)
	}
	_, _ = unix.Poll(fds, timeout) // interrupted: the next turn comes early
}

// hand sends what the machine wants sent, and looks at what it has delivered.
func (n *node) hand() {
	if newest, yes := n.machine.Outdated(); yes {
		fmt.Println("outdated", newest)
		n.machine.Quit(n.now())
	}
	r := n.machine.Ready()
	n.way.Hold(n.machine)
	n.link.Send(r.Send)
	if s := n.machine.State(); s != n.state {
		n.state = s
		fmt.Println("state", s)
	}
	for i := range r.Events {
		e := &r.Events[i]
		if e.Message {
			n.work.take(e.From, e.From == n.machine.Self(), bytes.Join(e.Parts, nil))
			continue
		}
		printView(e.View.Members, e.View.Left)
	}
}

func printView(members []cpg.Member, left []cpg.Left) {
	fmt.Print("view")
	for _, m := range members {
		fmt.Print(" ", m.Node)
	}
	fmt.Println()
	for _, l := range left {
		fmt.Println("left", l.Node, uint32(l.Reason))
	}
}
