// Command ringnode is one member of a ring and of a group on it, without a broker; package
// interop says what it takes and prints.
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ringnode:", err)
		os.Exit(1)
	}
}

func run() error {
	id := flag.Uint("node", 0, "node id")
	address := flag.String("address", "", "own address, which has the ring's port")
	group := flag.String("mcastaddr", "", "multicast group")
	token := flag.Duration("token", time.Second, "token timeout")
	seq := flag.Uint64("ringseq", 0, "number of the last ring")
	flag.Parse()

	at, err := netip.ParseAddr(*address)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddr(*group)
	if err != nil {
		return err
	}
	l, err := link.Open(link.Config{Address: at, Group: to})
	if err != nil {
		return err
	}
	defer l.Close()
	n := &node{link: l, begin: time.Now(), packets: make([]wire.Packet, 128)}
	n.machine, err = cpg.New(cpg.Config{
		Group: "interop", PID: uint32(os.Getpid()), Votes: 1, ExpectedVotes: 3,
		Totem: totem.Config{Node: wire.NodeID(*id), RingSeq: *seq, Token: *token},
	}, n.now())
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(0, true); err != nil {
		return err
	}
	for !n.machine.Left() && !n.eof { // without input the test has ended
		if err := n.turn(); err != nil {
			return err
		}
	}
	return nil
}

// node is the loop of a broker's engine in miniature.
type node struct {
	machine *cpg.Machine
	link    *link.UDP
	begin   time.Time
	packets []wire.Packet
	input   []byte // commands that have not come whole
	eof     bool
	work    work
}

func (n *node) now() time.Duration { return time.Since(n.begin) + 1 }

// turn waits for something to do and does it.
func (n *node) turn() error {
	n.wait()
	for {
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
	n.work.send(n.machine)
	n.machine.Tick(n.now())
	n.hand()
	return nil
}

// wait sleeps until a packet or a command comes, or the machine wants a tick.
func (n *node) wait() {
	fds := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	for _, fd := range n.link.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	timeout := -1
	if next := n.machine.Next(); next != 0 {
		timeout = max(0, int((next-n.now()+time.Millisecond-1)/time.Millisecond))
	}
	_, _ = unix.Poll(fds, timeout) // interrupted: the next turn comes early
}

// hand sends what the machine wants sent, and looks at what it has delivered.
func (n *node) hand() {
	r := n.machine.Ready()
	n.link.Send(r.Send)
	for i := range r.Events {
		e := &r.Events[i]
		if e.Message {
			n.work.take(n.machine, e)
			continue
		}
		fmt.Print("view")
		for _, m := range e.View.Members {
			fmt.Print(" ", m.Node)
		}
		fmt.Println()
		for _, l := range e.View.Left {
			fmt.Println("left", l.Node, uint32(l.Reason))
		}
	}
}
