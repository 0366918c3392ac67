package datapath

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Figures are what sending over a datapath costs.
type Figures struct {
	Name      string
	PerPacket time.Duration // until it was handed over
	CPU       time.Duration // of this thread, for a packet
	Packets   int
	Bytes     int // of a packet
	Detail    string
	Cuts      bool  // AF_PACKET: the interface cuts aggregates itself
	Err       error // why it was not measured
}

func (f Figures) String() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %v", f.Name, f.Err)
	}
	return fmt.Sprintf("%s %.2f µs (CPU %.2f)", f.Name, micros(f.PerPacket), micros(f.CPU))
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// Limits of a measurement: a network is not to be filled with packets that nobody wants.
const (
	// Budget is how long all datapaths may take.
	Budget = 200 * time.Millisecond
	// probeBatch is what a visit of the token sends at most.
	probeBatch = 64
	// mostPackets of 1400 bytes take a network of 1 Gbit/s 12 ms.
	mostPackets = 16 * probeBatch
	candidates  = 3
)

// Measure sends packets over each datapath of cfg's interface, to its group, at a port at which nobody
// listens here, and hence hardly elsewhere. Thorough also tries AF_XDP where it has to copy.
func Measure(cfg link.Config, thorough bool) []Figures {
	runtime.LockOSThread() // whose CPU is measured
	defer runtime.UnlockOSThread()
	list := []Figures{measure(cfg, config.DatapathUDP), measure(cfg, config.DatapathPacket)}
	index, err := interfaceIndex(cfg)
	zero := false
	if err == nil {
		zero, err = zeroCopy(index)
	}
	switch {
	case zero || thorough:
		list = append(list, measure(cfg, config.DatapathXDP))
	case err != nil:
		list = append(list, Figures{Name: config.DatapathXDP, Err: err})
	default:
		list = append(list, Figures{Name: config.DatapathXDP, Err: errors.New("the interface's driver has no zero-copy, without which it is slower")})
	}
	return list
}

// Probe measures thoroughly on the interface that bindnetaddr means.
func Probe(bindnetaddr string) (host.Choice, []Figures, error) {
	at, err := host.RingAddress(bindnetaddr)
	if err != nil {
		return at, nil, err
	}
	return at, Measure(link.Config{
		Transport: link.Multicast, Address: at.Address, Interface: at.Interface, Group: link.MulticastAddr("probe", at.Address.Is6(), 0),
	}, true), nil
}

func interfaceIndex(cfg link.Config) (int, error) {
	i, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}

// measure sends over one datapath.
func measure(cfg link.Config, name string) (f Figures) {
	f.Name = name
	var said []string
	cfg.Report = func(_ bool, text string) { said = append(said, text) }
	cfg.OpenPath = opener(name, besides{}, nil)
	if cfg.Port, f.Err = freePort(cfg.Address); f.Err != nil {
		return f
	}
	l, err := link.Open(cfg)
	if err != nil {
		f.Err = err
		return f
	}
	defer func() { _ = l.Close() }() // what it was for is done
	if s := l.Stats(); s.Datapath != name {
		f.Err = errors.New(strings.TrimPrefix(strings.Join(said, "; "), "the ring's datapath is udp: "))
		return f
	}
	i, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		f.Err = err
		return f
	}
	f.Bytes = min(cfg.PacketBytes(i.MTU), 1400)
	f.send(l)
	s := l.Stats()
	f.Detail, f.Cuts = s.Path.Detail, s.Path.Cuts
	if name == config.DatapathUDP {
		f.Detail = s.Segmentation
	}
	if s.SendErrors > 0 {
		f.Err = fmt.Errorf("%d of %d packets were refused", s.SendErrors, s.SendErrors+s.Sent)
	}
	return f
}

// send sends batches until there were enough, or the time is up, and takes the fastest half, as what
// else the machine does makes only the others slow.
func (f *Figures) send(l link.Link) {
	batch := make([]wire.Datagram, probeBatch)
	memory := make([]byte, probeBatch*f.Bytes) // of zeros, which are no ring's packets
	for i := range batch {
		batch[i].Data = memory[i*f.Bytes : (i+1)*f.Bytes]
	}
	l.Send(batch) // the first finds out what the kernel can do
	end := time.Now().Add(Budget / candidates * 2 / 3)
	best, bestCPU := time.Duration(1<<62), time.Duration(1<<62)
	for f.Packets < mostPackets && time.Now().Before(end) {
		start, cpu := time.Now(), threadCPU()
		l.Send(batch)
		best, bestCPU = min(best, time.Since(start)), min(bestCPU, threadCPU()-cpu)
		f.Packets += probeBatch
	}
	f.PerPacket, f.CPU = best/probeBatch, bestCPU/probeBatch
}

func threadCPU() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // cannot fail: the clock exists
	return time.Duration(t.Nano())
}

// freePort is one at which nobody listens.
func freePort(at netip.Addr) (uint16, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // it is to be free
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// better is by how much another datapath has to be cheaper than udp to be taken.
const better = 0.75

// Pick is the datapath to use, and why. What receiving costs was not measured. Where the interface
// cuts aggregates itself, as between machines of one host, they arrive whole, and with udp a receiver
// has half the CPU a packet that it has with AF_PACKET (perf/results/link.json), whatever sending costs.
func Pick(list []Figures) (name, why string) {
	why = "nothing else was measured"
	var udp, best *Figures
	for i := range list {
		f := &list[i]
		switch {
		case f.Err != nil:
		case f.Name == config.DatapathUDP:
			udp = f
		case f.Cuts:
			why = "the interface cuts aggregates itself, which serves udp best"
		case best == nil || f.CPU < best.CPU:
			best = f
		}
	}
	if udp == nil || best == nil {
		return config.DatapathUDP, why
	}
	if float64(best.CPU) > better*float64(udp.CPU) || best.PerPacket > udp.PerPacket {
		return config.DatapathUDP, "nothing is cheaper by a quarter"
	}
	return best.Name, fmt.Sprintf("it takes %.0f %% of the CPU that udp takes", 100*float64(best.CPU)/float64(udp.CPU))
}
