package daemon

import (
	"cmp"
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

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/broker/session"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
	"github.com/qpidd-cluster/qpidd-cluster/manage/metrics"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Version is what the broker calls itself.
const Version = "0.1.0"

// Broker is a running qpidd.
type Broker struct {
	opts        *config.Options
	log         *slog.Logger
	storeLog    *slog.Logger
	netLog      *slog.Logger
	securityLog *slog.Logger
	engine      *engine
	mesh        *mesh
	provider    provider
	ring        *ringconf.Setup      // nil: it is not ours
	datapath    *datapath.Choice     // nil: likewise
	limit       *bpf.ConnectionLimit // nil: there is none
	limitAt     []string             // interfaces
	spreads     []*spread            // over several acceptors
	session     session.Config
	listener    []net.Listener
	lock        *os.File
	store       *store.Store // nil: nothing is stored
	disk        *disk.Disk
	self        broker.MemberID

	metrics *metrics.Server // nil: nobody is told

	service atomic.Pointer[Service]
	guard   atomic.Pointer[guard]
	// examiner is asked by doctors of other hosts, by one at a time.
	examiner  atomic.Pointer[Examiner]
	examining sync.Mutex
	status    atomic.Pointer[cluster.Status]
	noRoom    atomic.Bool // its disk is full
	member    chan struct{}
	once      sync.Once
	failed    chan error
	stopped   chan struct{}

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
	b := &Broker{opts: o, log: l.For("Broker"), netLog: l.For("Network"), securityLog: l.For("Security"),
		member: make(chan struct{}), failed: make(chan error, 1), stopped: make(chan struct{})}
	if err := b.prepare(l); err != nil {
		b.release()
		return nil, err
	}
	if err := b.relinquish(); err != nil {
		b.log.Warn(err.Error())
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
	b.inspect(l.For("Security"))
	if err := b.lockDataDir(); err != nil {
		return err
	}
	if err := b.configureSessions(l.For("Security")); err != nil {
		return err
	}
	if err := b.listen(); err != nil {
		return err
	}
	b.limitConnections(l.For("Network"))
	if b.engine, err = newEngine(b.log); err != nil {
		return err
	}
	b.storeLog = l.For("Store")
	if err := b.join(l.For("Cluster")); err != nil {
		return err
	}
	return b.serveMetrics()
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

func (b *Broker) listen() (err error) {
	if b.listener, err = inherited(); err != nil {
		return err
	}
	for _, l := range b.listener {
		b.netLog.Log(context.Background(), logging.Notice, fmt.Sprintf("Listening on %s, passed by the service manager; --port, --interface and --acceptors have no effect", l.Addr()))
	}
	if len(b.listener) > 0 {
		return nil
	}
	addrs, err := listenAddresses(b.opts.Interfaces)
	if err != nil {
		return err
	}
	port := b.opts.Port
	for _, a := range addrs {
		list, err := listenSeveral(net.JoinHostPort(a, strconv.Itoa(port)), b.opts.Acceptors)
		b.listener = append(b.listener, list...)
		if err != nil {
			return listenError(a, port, err)
		}
		b.spread(list)
		port = b.Port()
		b.netLog.Log(context.Background(), logging.Notice, fmt.Sprintf("Listening on TCP/TCP6 port %d", port))
	}
	return nil
}

// pooledBytes is what the log may keep of memory that large messages have left, for the next: a few
// hundred of them, or a few dozen of a MiB.
const pooledBytes = 32 << 20

// join makes the node, alone or in its cluster.
func (b *Broker) join(log *slog.Logger) error {
	e := b.engine
	e.hooks = hooks{event: func(ev cluster.Event) { b.event(log, ev) }, ended: b.fail,
		mesh: func(broker.MemberID, []byte) {}}
	cfg := cluster.Config{
		FormDelay: 1, Grace: cluster.DefaultGrace, Quorum: cluster.All(b.opts.ClusterSize),
		Memory: disk.NewPool(pooledBytes), MemoryBytes: b.memoryLimit(),
		Broker: broker.Config{Memory: disk.Memory{}, Shards: runtime.GOMAXPROCS(0), Headers: session.HeaderValue,
			Rewrite: session.Deaths{}.Rewrite, Unix: e.start.Unix()},
	}
	random(cfg.ClusterID[:])
	if err := b.openStore(&cfg, b.storeLog); err != nil {
		return err
	}
	if b.opts.ClusterName == "" {
		cfg.Alone = true
		e.alone = &cluster.Alone{}
		cfg.Self = broker.MemberID(os.Getpid()) | 1<<32
		b.self = cfg.Self
		cfg.URL = b.clientURL(netip.Addr{})
		e.node = cluster.New(cfg, e.alone)
		if err := b.recover(b.storeLog); err != nil {
			return err
		}
		e.node.View(e.now(), &cluster.View{RingRep: 1, RingSeq: 1, Members: []broker.MemberID{cfg.Self}, Came: []broker.MemberID{cfg.Self}})
		return nil
	}
	cfg.FormDelay = cluster.DefaultFormDelay
	if b.opts.Provider == config.Corosync {
		return b.joinCorosync(&cfg, log)
	}
	return b.joinRing(&cfg, log)
}

func (b *Broker) joinRing(cfg *cluster.Config, log *slog.Logger) error {
	e, o := b.engine, b.opts
	ring, err := ringconf.Load(o, func(notice string) { log.Log(context.Background(), logging.Notice, notice) })
	if err != nil {
		return err
	}
	ring.Link.Report = func(trouble bool, text string) {
		level := logging.Notice
		if trouble {
			level = logging.Warning
		}
		log.Log(context.Background(), level, text)
	}
	b.datapath = datapath.New(o.Datapath, o.RingGuard, ring.Link.Report)
	b.datapath.TokenPass = bool(o.TokenPass)
	b.datapath.Configure(&ring.Link)
	ring.Link.Moved = func(p link.Place) {
		b.datapath.Moved(p)
		b.limitAgain(p.Interface)
	}
	udp, err := link.Open(ring.Link)
	if err != nil {
		return err
	}
	b.datapath.Opened(udp)
	b.ring = ring
	self := cpg.Member{Node: ring.Node(udp.Address()), PID: uint32(os.Getpid())}
	b.loadTracked(&ring.Quorum, log)
	cfg.Quorum = ring.Quorum
	seq, save := b.ringSeq(self.Node)
	totem := ring.Totem
	totem.Node, totem.RingSeq = self.Node, seq
	window, visit := windowFor(udp.Stats().ReceiveBuffer)
	totem.WindowSize, totem.MaxMessages = cmp.Or(totem.WindowSize, window), cmp.Or(totem.MaxMessages, visit)
	machine, err := cpg.New(cpg.Config{Group: o.ClusterName, PID: self.PID,
		Votes: ring.Votes, ExpectedVotes: max(ring.ExpectedVotes, uint32(ring.Quorum.Tracked)), AllowDownscale: ring.Quorum.AllowDownscale, ConfigVersion: ring.ConfigVersion, Totem: totem}, e.now())
	if err != nil {
		udp.Close()
		return err
	}
	udp.Know(self.Node)
	own := newOwnRing(machine, udp, save, e.now, &troubles{log: log, name: o.ClusterName, everyone: ring.Destination(),
		token: totem.WithDefaults().Token, warning: totem.WithDefaults().Token * time.Duration(ring.TokenWarning) / 100,
		multicast: ring.Link.Transport == link.Multicast, nodelist: ring.Link.Peers, expected: int(ring.ExpectedVotes)})
	own.guard, own.outdated = b.datapath, b.outdated(ring, log)
	own.pass = b.datapath.PassToken(udp, totem.WithDefaults().TokenRetransmit)
	b.provider = own
	if err := b.joinMembers(cfg, cluster.MemberOf(self), ring.At.Address, log); err != nil {
		return err
	}
	if err := b.openGuard(ring, udp.Address(), log); err != nil {
		return err
	}
	for _, fd := range udp.FDs() {
		if err := e.watch(fd); err != nil {
			return err
		}
	}
	s := udp.Stats()
	log.Log(context.Background(), logging.Notice, fmt.Sprintf("ring on %s of %s (%s), %s port %d, node id %d; %s, %s",
		ring.At.Address, ring.At.Interface, ring.At.Reason, ring.Everyone(), ring.Link.Port, self.Node, s.Segmentation, s.Coalescing))
	return nil
}

// joinMembers makes this member, which others find at an address, on the provider.
func (b *Broker) joinMembers(cfg *cluster.Config, self broker.MemberID, at netip.Addr, log *slog.Logger) (err error) {
	e := b.engine
	b.self, cfg.Self = self, self
	h := fnv.New64a()
	h.Write([]byte(b.opts.ClusterName))
	if b.mesh, err = newMesh(self, h.Sum64(), net.JoinHostPort(at.String(), strconv.Itoa(b.opts.MeshPort)), log); err != nil {
		return err
	}
	cfg.Mesh = b.mesh.listen.Addr().String()
	cfg.URL = b.clientURL(at)
	e.ring = &ring{provider: b.provider, engine: e, log: log}
	e.node = cluster.New(*cfg, b.provider)
	if err := b.recover(b.storeLog); err != nil {
		return err
	}
	b.mesh.take = func(from broker.MemberID, data []byte) { e.tell(message{kind: msgMesh, from: from, data: data}) }
	b.mesh.dead, b.mesh.examined = b.suspect, b.examined
	e.hooks.mesh = b.mesh.send
	b.mesh.start()
	return nil
}

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
	b.keepIdentity(&s)
	if b.mesh != nil {
		where := map[broker.MemberID]string{}
		for _, m := range s.Members {
			where[m.ID] = m.Mesh
		}
		b.mesh.members(where)
	}
	if g := b.guard.Load(); g != nil {
		g.learn(&s)
	}
	switch ev.Kind {
	case cluster.EventDiskFull:
		b.noRoom.Store(true)
	case cluster.EventDiskRoom:
		b.noRoom.Store(false)
	case cluster.EventTracked:
		b.keepTracked(b.engine.node.Tracked(), log)
	}
	if votes := b.engine.node.Expected(); b.provider != nil && votes > 0 {
		b.provider.expect(votes)
	}
	b.tell(log, ev)
	if service := b.service.Load(); service != nil {
		service.event(b.opts.ClusterName, &s)
	}
	if ev.Kind == cluster.EventJoined {
		b.once.Do(func() { close(b.member) })
	}
	if ev.Kind == cluster.EventFatal {
		b.fail(errors.New(ev.Text))
	}
}

// tell logs what happened in the cluster.
func (b *Broker) tell(log *slog.Logger, ev cluster.Event) {
	disk := ev.Kind == cluster.EventDiskFull || ev.Kind == cluster.EventDiskRoom
	if b.opts.ClusterName == "" && !disk { // it is a cluster of one, which is nobody's business
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
	case cluster.EventDiskFull:
		say(logging.Error, ev.Text)
	case cluster.EventDiskRoom:
		say(logging.Notice, ev.Text)
	case cluster.EventFewer:
		say(logging.Notice, "no more than "+ev.Text+" are expected from now on")
	case cluster.EventFatal:
		say(logging.Critical, ev.Text)
	}
}
