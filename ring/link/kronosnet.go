package link

import (
	"crypto/rand"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/knet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Kronosnet is a link over transport knet: package knet, and a socket.
type Kronosnet struct {
	m       *knet.Machine
	own     sockaddr
	fd      int
	peers   map[wire.NodeID]sockaddr
	up      []sockaddr
	stats   Stats
	reports reports
	begin   time.Time

	tx      sender
	rx      receiver
	small   smallPackets
	random  randomness
	closing bool
}

var _ Link = (*Kronosnet)(nil)

// fragmentBlocksKept: what packets are put together in, under way and held by the ring for
// three rotations of some packets of the greatest length.
const fragmentBlocksKept = 64

func openKronosnet(cfg Config) (*Kronosnet, error) {
	index, err := interfaceIndex(cfg)
	if err != nil {
		return nil, err
	}
	k := &Kronosnet{fd: -1, peers: map[wire.NodeID]sockaddr{}, reports: reports{to: cfg.Report}, begin: time.Now()}
	if k.m, err = k.machine(&cfg, index); err != nil {
		return nil, err
	}
	k.fd, err = socket(cfg.Address, func(fd int) error {
		if k.own, err = bindAddress(fd, &cfg, index, &k.stats); err != nil {
			return err
		}
		return forbidFragments(fd, cfg.Address.Unmap())
	})
	if err != nil {
		return nil, err
	}
	pool := wire.NewPool(receiveBlockBytes, receiveBlocksKept)
	k.small.pool = pool
	k.tx.init(k.fd, &k.stats)
	k.rx.init(k.fd, &k.stats, pool, &k.small, receiveBatch)
	k.tx.probe(cfg.NoSegmentation)
	k.rx.probe(cfg.NoCoalescing)
	return k, nil
}

func (k *Kronosnet) machine(cfg *Config, index int) (*knet.Machine, error) {
	c := knet.Config{
		Node: cfg.Node, Peers: map[wire.NodeID]netip.AddrPort{},
		PingInterval: cfg.Knet.PingInterval, PingTimeout: cfg.Knet.PingTimeout, PongCount: cfg.Knet.PongCount,
		Crypto: cfg.Crypto.knet(),
		MTU:    cfg.Knet.MTU, Random: k.random.fill, Blocks: wire.NewPool(knet.MaxMessageBytes, fragmentBlocksKept),
	}
	if c.MTU == 0 {
		i, err := net.InterfaceByIndex(index)
		if err != nil {
			return nil, err
		}
		c.MTU, c.PMTUDInterval = i.MTU, cfg.Knet.PMTUDInterval
	}
	for n, a := range cfg.Peers {
		s := makeSockaddr(a, index)
		k.peers[n], c.Peers[n] = s, s.addrPort()
	}
	return knet.New(c)
}

// randomness hands out random bytes, of which it asks the kernel for many at a time.
type randomness struct {
	bytes [4096]byte
	left  int
}

func (r *randomness) fill(b []byte) {
	for len(b) > 0 {
		if r.left == 0 {
			_, _ = rand.Read(r.bytes[:]) // it does not fail, but ends the program
			r.left = len(r.bytes)
		}
		at := len(r.bytes) - r.left
		n := copy(b, r.bytes[at:])
		clear(r.bytes[at : at+n])
		r.left -= n
		b = b[n:]
	}
}

func (k *Kronosnet) now() time.Duration { return time.Since(k.begin) + 1 }

// FDs implements Link.
func (k *Kronosnet) FDs() []int { return []int{k.fd} }

// Address implements Link.
func (k *Kronosnet) Address() netip.AddrPort { return k.own.addrPort() }

// Know implements Link: knet is configured with it.
func (k *Kronosnet) Know(wire.NodeID) {}

// Peer implements Link.
func (k *Kronosnet) Peer(node wire.NodeID) (netip.AddrPort, bool) {
	a, known := k.peers[node]
	if !known {
		return netip.AddrPort{}, false
	}
	return a.addrPort(), true
}

// Repeat implements Link: everything goes by unicast.
func (k *Kronosnet) Repeat() {}

// Trouble implements Link: what knet does not take is told by Config.Report.
func (k *Kronosnet) Trouble() Trouble { return Trouble{} }

// Stats implements Link.
func (k *Kronosnet) Stats() Stats {
	s := k.stats
	s.Knet = k.m.Stats()
	return s
}

// Close implements Link.
func (k *Kronosnet) Close() error {
	if k.closing {
		return nil
	}
	k.closing = true
	return unix.Close(k.fd)
}

// Tick implements Link.
func (k *Kronosnet) Tick() time.Duration {
	now := k.now()
	next := k.m.Tick(now)
	k.transmit()
	if next == 0 {
		return 0
	}
	return max(next-now, time.Millisecond)
}

// Send implements Link.
func (k *Kronosnet) Send(datagrams []wire.Datagram) {
	now := k.now()
	for len(datagrams) > 0 {
		datagrams = datagrams[k.m.Send(now, datagrams):]
		k.transmit()
	}
}

// transmit sends what the machine has ready.
func (k *Kronosnet) transmit() {
	if events := k.m.Events(); len(events) > 0 {
		k.changed(events)
	}
	list := k.m.Ready()
	for len(list) > 0 {
		n := k.tx.run(list)
		if to := list[0].To; to == 0 {
			k.tx.addTo(k.up, list[:n])
		} else {
			addr := k.peers[to]
			k.tx.add(&addr, list[:n])
		}
		list = list[n:]
	}
	k.tx.flush()
	k.m.Reset()
}

func (k *Kronosnet) changed(events []knet.Event) {
	k.up = k.up[:0]
	for _, n := range k.m.Up() {
		k.up = append(k.up, k.peers[n])
	}
	for _, e := range events {
		addr := k.peers[e.Node]
		if e.Up {
			k.reports.say(false, "knet: the link to node %d at %s is up", e.Node, addr.addrPort())
		} else {
			k.reports.say(true, "knet: the link to node %d at %s is down: it does not answer", e.Node, addr.addrPort())
		}
	}
}

// Recv implements Link.
func (k *Kronosnet) Recv(dst []wire.Packet) int {
	n, now := 0, k.now()
	k.rx.begin()
	for n < len(dst) {
		p, from, ok := k.rx.next(true)
		if !ok {
			break
		}
		q, ok := k.m.Receive(now, from.addrPort(), p)
		if cause := k.m.Refused(); cause != "" {
			k.reports.refused(string(cause), from)
		}
		if !ok {
			continue
		}
		if q.Block != p.Block && len(q.Data) <= copyBytes {
			q = k.copied(q)
		}
		if _, err := wire.ParseHeader(q.Data); err != nil {
			k.stats.Foreign++
			q.Release()
			continue
		}
		k.stats.Received++
		k.stats.ReceivedBytes += uint64(len(q.Data))
		dst[n] = q
		n++
	}
	k.transmit()
	return n
}

// copied lets a short packet not pin a block that is for long ones.
func (k *Kronosnet) copied(p wire.Packet) wire.Packet {
	data, block := k.small.copy(p.Data)
	p.Release()
	return wire.Packet{Data: data, Block: block}
}
