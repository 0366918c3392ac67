package datapath

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// Choice is a broker's datapath and guard.
type Choice struct {
	// TokenPass has the kernel pass the token on, if it can be. It is set before Configure.
	TokenPass bool

	datapath, guard string
	say             func(trouble bool, text string)

	name    string // chosen
	why     string
	figures []Figures
	place   link.Place
	detail  string

	mu       sync.Mutex // a client may ask for the status at any time
	attached *bpf.Guard
	owned    bool // we close it; else the path does
	told     map[bpf.Cause]uint64
	pass     *Pass
	stop     chan struct{} // closed: nothing more is told
	done     sync.WaitGroup
}

// New makes a choice of a datapath and a guard, by the names that options have. say tells people.
func New(datapath, guard string, say func(trouble bool, text string)) *Choice {
	return &Choice{datapath: datapath, guard: guard, say: say, name: config.DatapathUDP}
}

// Configure has a link use the datapath.
func (c *Choice) Configure(cfg *link.Config) {
	c.name, c.why = c.datapath, "--ring-datapath="+c.datapath
	switch {
	case cfg.Transport == link.Knet:
		if c.datapath != config.DatapathAuto && c.datapath != config.DatapathUDP || c.guard != config.GuardOff {
			c.say(false, "--ring-datapath and --ring-guard have no effect with transport knet")
		}
		c.name, c.why, c.guard = config.DatapathUDP, "transport knet", config.GuardOff
	case c.datapath == config.DatapathAuto:
		c.choose(*cfg)
	}
	open := opener(c.name, besides{c.guard != config.GuardOff, c.TokenPass}, func(g *bpf.Guard) { c.attach(g, false) })
	cfg.Moved = c.Moved
	cfg.OpenPath = func(p link.Place) (link.Path, error) {
		c.place = p
		if open == nil {
			return nil, nil
		}
		return open(p)
	}
}

// choose measures, where there is a choice.
func (c *Choice) choose(cfg link.Config) {
	if cfg.Transport == link.Unicast || cfg.Address.IsLoopback() {
		// To whom could one send that does not mind? And on the loopback there is only udp.
		c.name, c.why = config.DatapathUDP, "nothing is measured on the loopback, or with transport udpu"
		return
	}
	c.figures = Measure(cfg, false)
	c.name, c.why = Pick(c.figures)
}

// Opened is told that the link was opened. It puts the guard before it.
func (c *Choice) Opened(l link.Link) {
	s := l.Stats()
	switch {
	case s.Datapath == c.name:
	case !c.place.Own.IsValid():
		c.name, c.why = config.DatapathUDP, "another member on this host has the ring's port"
	default: // the link has said more
		c.name, c.why = config.DatapathUDP, c.name+" cannot be had"
	}
	c.detail = s.Path.Detail
	c.putGuard()
	c.say(false, "the ring's datapath is "+c.Status())
	if c.attached != nil && c.guard != config.GuardOff {
		c.stop, c.told = make(chan struct{}), map[bpf.Cause]uint64{}
		c.done.Go(c.watch)
	}
}

// tellInterval is how often people are told of what the guard has dropped.
const tellInterval = time.Second

// watch tells of what is dropped before the link could: a member with a wrong key, or a forgotten one.
func (c *Choice) watch() {
	t := time.NewTicker(tellInterval)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.tell()
		}
	}
}

// tell tells of causes that are new since they were told, each of which is told when it has grown
// tenfold.
func (c *Choice) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil {
		return
	}
	counts, err := c.attached.Counts()
	if err != nil {
		return // it is about to end
	}
	for _, n := range counts {
		// Duplicates come with every repair of the ring, and are nobody's mistake.
		if n.Cause.Dropped() && n.Cause != bpf.Duplicate && n.Packets > 0 && n.Packets >= 10*c.told[n.Cause] {
			c.told[n.Cause] = n.Packets
			c.say(true, fmt.Sprintf("the guard on %s has dropped %d packets to the ring's port, the last from %s: %s", c.attached.Where(), n.Packets, n.Last, n.Cause.Reason()))
		}
	}
}

// Hold tells the guard what a member has, whose goroutine calls it: when it has gone round, and before it
// sends anything, which may be for another ring.
func (c *Choice) Hold(m *cpg.Machine) {
	if c == nil || c.attached == nil { // which the same goroutine has set
		return
	}
	if ring, aru, ok := m.Held(); ok {
		c.attached.Hold(uint32(ring.Rep), ring.Seq, uint32(aru))
	} else {
		c.attached.Release()
	}
}

// putGuard attaches the guard. With AF_XDP there is a program, which is the guard, too.
func (c *Choice) putGuard() {
	if c.guard == config.GuardOff || c.attached != nil {
		return
	}
	if !c.place.Own.IsValid() {
		c.say(true, "there is no guard: another member on this host has the ring's port")
		return
	}
	cfg := passing(guardConfig(c.place, hooks[c.guard]), c.TokenPass)
	cfg.Drop = true
	cfg.Taken = cfg.Hook == bpf.TC && c.name == config.DatapathPacket
	g, err := guard(cfg)
	if err != nil {
		c.say(true, "there is no guard before the ring, which goes on without: "+err.Error())
		return
	}
	c.attach(g, true)
}

func guard(cfg bpf.Config) (*bpf.Guard, error) {
	if cfg.Hook != bpf.TC {
		if err := tagsHidden(cfg.Interface); err != nil {
			return nil, fmt.Errorf("%w, or give --ring-guard=tc", err)
		}
	}
	return bpf.Attach(cfg)
}

func (c *Choice) attach(g *bpf.Guard, owned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached, c.owned = g, owned
}

// Status is what is used, and why, in words.
func (c *Choice) Status() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.name
	if c.detail != "" {
		text += " (" + c.detail + ")"
	}
	text += ": " + c.why
	var list []string
	for _, f := range c.figures {
		list = append(list, f.String())
	}
	if list != nil {
		text += "; measured for a packet: " + strings.Join(list, ", ")
	}
	return text
}

// Guard is where the guard sits and what it has counted, in words; empty: there is none.
func (c *Choice) Guard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil {
		return ""
	}
	counts, err := c.attached.Counts()
	if err != nil {
		return fmt.Sprintf("%s: %v", c.attached.Where(), err)
	}
	var list []string
	for _, n := range counts {
		if n.Packets == 0 {
			continue
		}
		text := fmt.Sprintf("%s %d", n.Cause, n.Packets)
		if n.Cause.Dropped() {
			text = fmt.Sprintf("%s %d, the last from %s", n.Cause.Reason(), n.Packets, n.Last)
		}
		list = append(list, text)
	}
	return fmt.Sprintf("%s: %s", c.attached.Where(), strings.Join(list, ", "))
}

// Counts are what the guard has counted, and on which hook; nil: there is none, or it is about to end.
func (c *Choice) Counts() (hook string, list []bpf.Count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attached == nil {
		return "", nil
	}
	list, err := c.attached.Counts()
	if err != nil {
		return "", nil
	}
	return c.attached.Where(), list
}

// Close takes the guard away. It is called after the link was closed, which closes a path's.
func (c *Choice) Close() {
	if c.stop != nil {
		close(c.stop)
		c.done.Wait()
		c.stop = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass != nil {
		c.pass.Close()
		c.pass = nil
	}
	if c.attached != nil && c.owned {
		c.attached.Close()
	}
	c.attached = nil
}
