package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/reach"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
	"github.com/qpidd-cluster/qpidd-cluster/host/firewall"
)

// guard keeps the firewall as the broker wants it: a table of its own, that lets nobody but
// members at the ring's ports, and an eye on what other tables would still drop.
type guard struct {
	log        *slog.Logger
	table      string
	configured []netip.Addr
	probes     []firewall.Probe
	watch      *firewall.Watch
	rules      *firewall.Firewall // nil: none of our own

	mu   sync.Mutex
	told map[string]bool // obstacles
	news chan []netip.Addr
	done chan struct{}
}

// openGuard begins to guard, if that is asked for. A firewall that cannot be set is no reason
// not to start, unless it is required: the ring's packets carry no more trust than without it.
func (b *Broker) openGuard(ring *ringconf.Setup, at netip.AddrPort, log *slog.Logger) error {
	if b.opts.Firewall == config.FirewallOff || at.Addr().IsLoopback() {
		return nil
	}
	r := reach.Reach{Ring: ring, At: at, Mesh: uint16(b.mesh.listen.Addr().(*net.TCPAddr).Port)}
	for _, l := range b.listener {
		r.Clients = append(r.Clients, uint16(l.Addr().(*net.TCPAddr).Port))
	}
	policy := r.Policy(fmt.Sprintf("qpidd-%d", b.Port()))
	g := &guard{log: log, table: policy.Table, configured: policy.Peers, probes: r.Probes(),
		told: map[string]bool{}, news: make(chan []netip.Addr, 1), done: make(chan struct{})}
	say := func(trouble bool, text string) {
		level := logging.Notice
		if trouble {
			level = logging.Warning
		}
		log.Log(context.Background(), level, text)
	}
	var err error
	if b.opts.Firewall != config.FirewallCheck {
		g.rules, err = firewall.Open(policy, say)
		if err != nil && b.opts.Firewall == config.FirewallRequired {
			return err
		}
		if err != nil {
			say(true, err.Error()+"; it stays as it is")
			return nil
		}
		say(false, fmt.Sprintf("firewall: table inet %s lets members at UDP port %v and TCP port %d, clients at TCP port %v", policy.Table, policy.Ring, policy.Mesh, policy.Clients))
	}
	if g.watch, err = firewall.NewWatch(g.look); err != nil {
		say(true, err.Error())
	}
	g.look()
	go g.run()
	b.guard.Store(g)
	return nil
}

// look names what other tables drop, each once.
func (g *guard) look() {
	list, err := firewall.Obstacles(g.table, g.probes)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		if !g.told[err.Error()] {
			g.told[err.Error()] = true
			g.log.Warn("cannot look whether the firewall lets everything in: " + err.Error())
		}
		return
	}
	now := map[string]bool{}
	for i := range list {
		text := list[i].String()
		if now[text] = true; !g.told[text] {
			g.log.Warn(text)
		}
	}
	g.told = now
}

// learn takes who is a member, on the engine.
func (g *guard) learn(s *cluster.Status) {
	peers := slices.Clone(g.configured)
	for _, m := range s.Members {
		if at, err := netip.ParseAddrPort(m.Mesh); err == nil {
			peers = append(peers, at.Addr())
		}
	}
	for {
		select {
		case g.news <- peers:
			return
		case <-g.news: // what was not taken yet is old
		}
	}
}

func (g *guard) run() {
	defer close(g.done)
	for peers := range g.news {
		if g.rules == nil {
			continue
		}
		if err := g.rules.SetPeers(peers); err != nil {
			g.log.Warn(err.Error())
		}
	}
}

// close takes the rules away. The engine has stopped, and learns no more.
func (g *guard) close() {
	if g.watch != nil {
		g.watch.Close()
	}
	close(g.news)
	<-g.done
	if g.rules == nil {
		return
	}
	if err := g.rules.Close(); err != nil {
		g.log.Warn(fmt.Sprintf("table inet %s stays in the firewall: %v; nft delete table inet %s removes it", g.table, err, g.table))
	}
}
