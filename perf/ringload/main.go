package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ringload:", err)
		os.Exit(1)
	}
}

// task is what the arguments behind the flags ask for.
type task struct {
	members int
	mode    string
	size    int
	warm    time.Duration
	time    time.Duration // to measure, or between two messages
	count   int           // of messages; or 1 if it is to send
}

func parse(args []string) (t task, err error) {
	if len(args) != 6 {
		return t, fmt.Errorf("six arguments are wanted, MEMBERS MODE SIZE WARM TIME COUNT, not %d", len(args))
	}
	numbers := make([]int64, len(args))
	for i, a := range args {
		if i == 1 {
			continue
		}
		if numbers[i], err = strconv.ParseInt(a, 10, 64); err != nil {
			return t, err
		}
	}
	return task{int(numbers[0]), args[1], int(numbers[2]), time.Duration(numbers[3]), time.Duration(numbers[4]), int(numbers[5])}, nil
}

func run() error {
	node := flag.Uint("node", 0, "node id")
	address := flag.String("address", "", "own address")
	group := flag.String("mcastaddr", "239.255.78.2", "multicast address")
	port := flag.Uint("mcastport", link.DefaultPort, "port")
	mtu := flag.Int("netmtu", 0, "longest packet")
	most := flag.Int("maxnetmtu", 0, "longest packet where all members hear such")
	window := flag.Int("window", 0, "packets of all members in a rotation")
	visit := flag.Int("messages", 0, "packets of one member in a visit")
	plain := flag.Bool("plain", false, "do as corosync does")
	path := flag.String("datapath", "udp", "udp, sendmmsg (udp without segmentation), single (and one packet a call), packet, xdp, or xdp-generic")
	pass := flag.Bool("token-pass", false, "have the kernel pass the token on")
	guard := flag.String("guard", "", "where a guard is put: native, generic or tc")
	flag.Parse()
	t, err := parse(flag.Args())
	if err != nil {
		return err
	}
	at, err := netip.ParseAddr(*address)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddr(*group)
	if err != nil {
		return err
	}
	if t.mode == "foreign" {
		return t.foreign(at, netip.AddrPortFrom(to, uint16(*port)))
	}
	cfg := link.Config{Address: at, Group: to, Port: uint16(*port)}
	l, way, err := open(&cfg, *path, *guard, *pass)
	if err != nil {
		return err
	}
	defer way.Close()
	defer l.Close()
	if *guard != "" && !*pass {
		g, err := guardAt(*guard, cfg, at)
		if err != nil {
			return err
		}
		defer g.Close()
	}
	m := &member{task: t, link: l, way: way, node: wire.NodeID(*node), packets: make([]wire.Packet, 128), body: make([]byte, t.size), perCall: rawBatch}
	if *path == "single" {
		m.perCall = 1
	}
	if t.mode == "raw" {
		return m.raw()
	}
	setup := totem.Config{
		Node: m.node, RingSeq: uint64(time.Now().UnixMilli()), Nodes: t.members,
		NetMTU: *mtu, MaxNetMTU: *most, WindowSize: *window, MaxMessages: *visit, Plain: *plain,
		CancelTokenHoldOnRetransmit: !*plain, // as a broker without a file
	}
	if m.machine, err = cpg.New(cpg.Config{Group: "load", PID: uint32(os.Getpid()), Totem: setup}, monotonic()); err != nil {
		return err
	}
	l.Know(m.node)
	if *pass {
		if m.pass = way.PassToken(l, setup.WithDefaults().TokenRetransmit); m.pass == nil {
			return errors.New("the kernel cannot pass the token on")
		}
	}
	return m.run()
}

// start is when the program was, by both clocks: the kernel's, and Go's, which asks it without a call.
var start = struct {
	kernel time.Duration
	clock  time.Time
}{kernelClock(), time.Now()}

func monotonic() time.Duration { return start.kernel + time.Since(start.clock) }

func kernelClock() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return time.Duration(t.Nano())
}
