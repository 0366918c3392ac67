package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/broker/session"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Version is what the broker calls itself.
const Version = "0.1.0"

// Broker is a running qpidd.
type Broker struct {
	opts     *config.Options
	log      *slog.Logger
	netLog   *slog.Logger
	engine   *engine
	mesh     *mesh
	link     link.Link
	session  session.Config
	listener []net.Listener
	lock     *os.File
	self     broker.MemberID

	status  atomic.Pointer[cluster.Status]
	member  chan struct{}
	once    sync.Once
	failed  chan error
	stopped chan struct{}

	mu      sync.Mutex
	lastID  broker.ConnID
	clients int
	closing bool
	wg      sync.WaitGroup
}

// Start makes a broker that listens and joins its cluster.
func Start(o *config.Options, l *logging.Log) (*Broker, error) {
	if o.WorkerThreads > 0 {
		runtime.GOMAXPROCS(o.WorkerThreads)
	}
	b := &Broker{opts: o, log: l.For("Broker"), netLog: l.For("Network"),
		member: make(chan struct{}), failed: make(chan error, 1), stopped: make(chan struct{})}
	if err := b.prepare(l); err != nil {
		b.release()
		return nil, err
	}
	go func() {
		b.engine.run()
		close(b.stopped)
	}()
	for _, ln := range b.listener {
		b.wg.Add(1)
		go func() {
			defer b.wg.Done()
			b.accept(ln)
		}()
	}
	return b, nil
}

// prepare takes what the broker needs; what it could take before an error, release gives back.
func (b *Broker) prepare(l *logging.Log) (err error) {
	if err := b.lockDataDir(); err != nil {
		return err
	}
	if err := b.configureSessions(l.For("Security")); err != nil {
		return err
	}
	if err := b.listen(); err != nil {
		return err
	}
	if b.engine, err = newEngine(b.log); err != nil {
		return err
	}
	return b.join(l.For("Cluster"))
}

// Member is closed once this broker serves clients.
func (b *Broker) Member() <-chan struct{} { return b.member }

// Failed gives the error that ended the broker.
func (b *Broker) Failed() <-chan error { return b.failed }

// Port is the TCP port that clients find.
func (b *Broker) Port() int { return b.listener[0].Addr().(*net.TCPAddr).Port }

func (b *Broker) lockDataDir() error {
	if b.opts.NoDataDir {
		return nil
	}
	dir := b.opts.DataDir
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("cannot use data directory: %w; give another --data-dir, or --no-data-dir", err)
	}
	f, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("data directory %s is in use or cannot be written: %w; give each broker a --data-dir of its own, or --no-data-dir", dir, err)
	}
	b.lock = f
	b.log.Warn("messages are kept in memory, and by the other members of a cluster; the data directory holds users and the ring's number only")
	return nil
}

// configureSessions says what all client connections share.
func (b *Broker) configureSessions(security *slog.Logger) error {
	o := b.opts
	b.session = session.Config{
		Product: "qpidd-cluster", Version: Version, Container: "qpidd-cluster",
		FrameBytes: uint32(o.MaxFrame), MessageBytes: uint64(o.MaxMessage),
		Negotiate: time.Duration(o.MaxNegotiate) * time.Millisecond,
		Random:    random, Hosts: b.hosts, Properties: b.properties,
	}
	if o.ClusterName != "" {
		b.session.Container = o.ClusterName
	}
	if !o.Auth {
		return nil
	}
	file, err := b.openUsers(security)
	if err != nil {
		return err
	}
	b.session.Users = file
	return nil
}

func random(p []byte) {
	if _, err := rand.Read(p); err != nil {
		panic("daemon: no randomness: " + err.Error())
	}
}

func (b *Broker) listen() error {
	addrs := b.opts.Interfaces
	if len(addrs) == 0 {
		addrs = []string{""}
	}
	port := b.opts.Port
	for _, a := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("cannot listen on port %d: %w; is another broker running? Give another --port, or 0 for a free one", port, err)
		}
		b.listener = append(b.listener, l)
		port = b.Port()
		b.netLog.Log(context.Background(), logging.Notice, fmt.Sprintf("Listening on TCP/TCP6 port %d", port))
	}
	return nil
}

// join makes the node, alone or in its cluster.
func (b *Broker) join(log *slog.Logger) error {
	e := b.engine
	e.hooks = hooks{event: func(ev cluster.Event) { b.event(log, ev) }, ended: b.fail,
		mesh: func(broker.MemberID, []byte) {}}
	cfg := cluster.Config{
		FormDelay: 1, Grace: cluster.DefaultGrace, Size: b.opts.ClusterSize,
		Memory: disk.Memory{}, MemoryBytes: b.memoryLimit(),
		Broker: broker.Config{Memory: disk.Memory{}, Shards: runtime.GOMAXPROCS(0), Headers: session.HeaderValue,
			Rewrite: session.Deaths{}.Rewrite, Unix: e.start.Unix()},
	}
	random(cfg.ClusterID[:])
	if b.opts.ClusterName == "" {
		e.alone = &cluster.Alone{}
		cfg.Self = broker.MemberID(os.Getpid()) | 1<<32
		b.self = cfg.Self
		cfg.URL = b.clientURL(netip.Addr{})
		e.node = cluster.New(cfg, e.alone)
		e.node.View(e.now(), &cluster.View{RingRep: 1, RingSeq: 1, Members: []broker.MemberID{cfg.Self}, Came: []broker.MemberID{cfg.Self}})
		return nil
	}
	cfg.FormDelay = cluster.DefaultFormDelay
	return b.joinRing(&cfg, log)
}

func (b *Broker) joinRing(cfg *cluster.Config, log *slog.Logger) error {
	e, o := b.engine, b.opts
	at, err := host.RingAddress(o.BindNetAddr)
	if err != nil {
		return err
	}
	group := link.MulticastAddr(o.ClusterName, at.Address.Is6(), 0)
	if o.McastAddr != "" {
		if group, err = netip.ParseAddr(o.McastAddr); err != nil || !group.IsMulticast() {
			return fmt.Errorf("--mcastaddr %q is no multicast address", o.McastAddr)
		}
	}
	udp, err := link.Open(link.Config{Address: at.Address, Interface: at.Interface, Group: group, Port: uint16(o.McastPort)})
	if err != nil {
		return err
	}
	b.link = udp
	self := cpg.Member{Node: nodeID(udp.Address(), uint16(o.McastPort)), PID: uint32(os.Getpid())}
	b.self, cfg.Self = memberID(self), memberID(self)
	seq, save := b.ringSeq(self.Node)
	window, visit := windowFor(udp.Stats().ReceiveBuffer)
	machine, err := cpg.New(cpg.Config{Group: o.ClusterName, PID: self.PID, Votes: 1, ExpectedVotes: uint32(max(o.ClusterSize, 1)),
		Totem: totem.Config{Node: self.Node, RingSeq: seq, Nodes: o.ClusterSize, Token: o.Token,
			NetMTU: min(defaultNetMTU, at.MTU), WindowSize: window, MaxMessages: visit}}, e.now())
	if err != nil {
		return err
	}
	h := fnv.New64a()
	h.Write([]byte(o.ClusterName))
	if b.mesh, err = newMesh(b.self, h.Sum64(), net.JoinHostPort(at.Address.String(), "0"), log); err != nil {
		return err
	}
	cfg.Mesh = b.mesh.listen.Addr().String()
	cfg.URL = b.clientURL(at.Address)
	e.ring = newRing(machine, udp, log, save)
	e.node = cluster.New(*cfg, machine)
	for _, fd := range udp.FDs() {
		if err := e.watch(fd); err != nil {
			return err
		}
	}
	b.mesh.take = func(from broker.MemberID, data []byte) { e.tell(message{kind: msgMesh, from: from, data: data}) }
	b.mesh.dead = b.suspect
	e.hooks.mesh = b.mesh.send
	b.mesh.start()
	s := udp.Stats()
	log.Log(context.Background(), logging.Notice, fmt.Sprintf(
		"ring on %s of %s (%s), group %s port %d, node id %d; %s, %s", at.Address, at.Interface, at.Reason, group, o.McastPort, self.Node, s.Segmentation, s.Coalescing))
	return nil
}

// defaultNetMTU is corosync's netmtu: what an Ethernet carries. Where the interface carries
// less, packets are made to fit it, so that none is cut into fragments.
const defaultNetMTU = 1500

// windowFor is how many packets a rotation and a visit may have with a receive buffer of so
// many bytes; 0 leaves the ring's defaults. A packet takes about 2304 bytes there, and a
// member may sleep through a rotation, so a window fills half of it; where net.core.rmem_max
// is small, that is less than the default.
func windowFor(buffer int) (window, visit int) {
	const packet, enough = 2304, 2 << 20
	if buffer >= enough {
		return 0, 0
	}
	window = max(buffer/2/packet, 50)
	return window, max(window/4, 17)
}

// nodeID is the ring's name for this member: its address if it holds the ring's port there,
// as corosync has it, else a number made of address and port.
func nodeID(at netip.AddrPort, mcastport uint16) wire.NodeID {
	ip := at.Addr().Unmap()
	if ip.Is4() && at.Port() == mcastport {
		a := ip.As4()
		return wire.NodeID(binary.BigEndian.Uint32(a[:]))
	}
	h := fnv.New32a()
	b, _ := at.MarshalBinary() // of a valid address it does not fail
	h.Write(b)
	return wire.NodeID(max(h.Sum32(), 1))
}

// ringSeq is the ring number to begin with, and how it is saved. Without a data directory the
// clock stands in: it runs ahead of a number that grows by four with each new ring.
func (b *Broker) ringSeq(node wire.NodeID) (seq uint64, save func(uint64) error) {
	if b.opts.NoDataDir {
		return uint64(time.Now().UnixMilli()), func(uint64) error { return nil }
	}
	path := filepath.Join(b.opts.DataDir, fmt.Sprintf("ringid_%d", node))
	if old, err := os.ReadFile(path); err == nil && len(old) == 8 {
		seq = binary.NativeEndian.Uint64(old)
	}
	return seq, func(seq uint64) error {
		return os.WriteFile(path, binary.NativeEndian.AppendUint64(nil, seq), 0o600)
	}
}

func (b *Broker) clientURL(ring netip.Addr) string {
	if b.opts.ClusterURL != "" {
		return b.opts.ClusterURL
	}
	addr := b.listener[0].Addr().(*net.TCPAddr)
	ip := addr.IP
	if ip.IsUnspecified() && ring.IsValid() {
		ip = ring.AsSlice()
	} else if ip.IsUnspecified() {
		ip = net.IPv4(127, 0, 0, 1)
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(addr.Port))
}

func (b *Broker) fail(err error) {
	select {
	case b.failed <- err:
	default:
	}
}

// event is told by the engine what happened in the cluster.
func (b *Broker) event(log *slog.Logger, ev cluster.Event) {
	s := b.engine.node.Status()
	b.mourn(b.status.Swap(&s), &s)
	if b.mesh != nil {
		where := map[broker.MemberID]string{}
		for _, m := range s.Members {
			where[m.ID] = m.Mesh
		}
		b.mesh.members(where)
	}
	b.tell(log, ev)
	if ev.Kind == cluster.EventJoined {
		b.once.Do(func() { close(b.member) })
	}
	if ev.Kind == cluster.EventFatal {
		b.fail(errors.New(ev.Text))
	}
}

// tell logs what happened in the cluster.
func (b *Broker) tell(log *slog.Logger, ev cluster.Event) {
	if b.opts.ClusterName == "" {
		return
	}
	name, who := b.opts.ClusterName, fmt.Sprintf("%d/%d", ev.Member>>32, uint32(ev.Member))
	say := func(level slog.Level, text string) { log.Log(context.Background(), level, text) }
	switch ev.Kind {
	case cluster.EventForeign:
		say(logging.Warning, "from member "+who+": "+ev.Text)
	case cluster.EventView:
		say(logging.Info, "view of cluster "+name+": "+ev.Text)
	case cluster.EventWaiting:
		say(logging.Notice, ev.Text)
	case cluster.EventFormed:
		say(logging.Notice, "founded "+ev.Text)
	case cluster.EventJoining:
		say(logging.Notice, "joining cluster "+name+": "+ev.Text+" from member "+who)
	case cluster.EventJoined:
		say(logging.Notice, "joined cluster "+name)
	case cluster.EventOther:
		say(logging.Notice, "member "+who+" has joined cluster "+name)
	case cluster.EventFrozen:
		say(logging.Error, "no quorum: "+ev.Text+"; nothing is accepted until others are back")
	case cluster.EventThawed:
		say(logging.Notice, "quorum is back: "+ev.Text)
	case cluster.EventDemoted:
		say(logging.Warning, ev.Text+"; joining it again")
	case cluster.EventFatal:
		say(logging.Critical, ev.Text)
	}
}
