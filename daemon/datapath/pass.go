package datapath

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/neigh"
)

// Pass lets the kernel pass the ring's token on while this member has nothing to say. It belongs to the
// goroutine of the ring's machine; a nil one does nothing.
type Pass struct {
	program *bpf.TokenPass
	table   *neigh.Table
	link    link.Link
	ipv4    bool
	say     func(trouble bool, text string)
	lease   time.Duration
	told    uint64        // of the passes in this ring
	look    time.Time     // when the neighbours are read again
	ahead   time.Duration // the program's clock, of ours
	passes  atomic.Uint64

	disarmed bool // and told when to look again

	fresh   bool      // some were passed on since a token was repeated last
	repeats uint64    // of tokens, by the machine
	lost    int       // times in a row that one had to be that was passed on
	rest    time.Time // until when none is passed on
}

const (
	// mostLease is for how long what a member has said counts: a member that hangs does not take part.
	mostLease = 250 * time.Millisecond
	lookEvery = 100 * time.Millisecond
	lookAgain = time.Millisecond
	// mostLost is how many tokens in a row that were passed on may have to be repeated before the member
	// does it itself for restFor: an interface whose other end has ceased to take what XDP sends does not
	// tell. Repeating so many takes less than the time after which the token is lost.
	mostLost = 2
	restFor  = time.Minute
)

// PassToken has the kernel pass the token on before a link, if it is wanted and can be. retransmit is the
// ring's time after which a token is repeated: what a member says does not outlive half of it.
func (c *Choice) PassToken(l link.Link, retransmit time.Duration) *Pass {
	if !c.TokenPass {
		return nil
	}
	p := &Pass{link: l, say: c.say, lease: min(mostLease, retransmit/2)}
	if err := p.open(c); err != nil {
		p.Close()
		c.say(true, "the kernel does not pass the token on: "+err.Error())
		return nil
	}
	c.mu.Lock()
	c.pass = p
	c.mu.Unlock()
	c.say(false, "the kernel passes the ring's token on while this member has nothing to say, on "+p.program.Where())
	return p
}

func (p *Pass) open(c *Choice) (err error) {
	if !c.place.Own.IsValid() {
		return errors.New("another member on this host has the ring's port, or the transport is knet")
	}
	if p.table, err = neigh.Open(c.place.Interface); err != nil {
		return err
	}
	p.ipv4 = c.place.Own.Addr().Unmap().Is4()
	err = errors.New("AF_PACKET and AF_XDP have the token before TC; give --ring-guard=xdp or xdp-generic, or --ring-datapath=udp")
	if c.attached != nil && c.attached.XDP() {
		if p.program, err = onXDP(c); err == nil {
			return nil
		}
	}
	if c.name != config.DatapathUDP {
		return err
	}
	if c.attached != nil && c.attached.XDP() {
		c.say(false, "the token is not passed on on "+c.attached.Where()+": "+err.Error())
	}
	// What is before TC leaves the token to it.
	p.program, err = bpf.AttachTokenPass(guardConfig(c.place, bpf.TC))
	return err
}

// onXDP has the guard's program pass the token on.
func onXDP(c *Choice) (*bpf.TokenPass, error) {
	if c.attached.Where() == string(bpf.Native) {
		if err := sendsBack(c.place.Interface); err != nil {
			return nil, err
		}
	}
	return c.attached.TokenPass()
}

// Take has the machine hear of the token that was passed on last.
func (p *Pass) Take(now time.Duration, m *cpg.Machine) {
	if p == nil {
		return
	}
	token, when, passes := p.program.Last()
	if passes == p.told {
		return
	}
	if passes > p.told {
		p.passes.Add(passes - p.told)
		if p.fresh || passes > p.told+1 {
			p.lost = 0 // one before has come round
		}
		p.fresh = true
	}
	p.told = passes
	if len(token) > 0 {
		m.Passed(now-max(monotonic()-when, 0), token)
	}
}

// Arrived is when a token came in, on the clock that shows now, if the program has seen it come last.
func (p *Pass) Arrived(now time.Duration, tokenSeq uint32) (at time.Duration, yes bool) {
	if p.ahead == 0 {
		p.ahead = monotonic() - now // both clocks go alike
	}
	at, yes = p.program.Arrived(tokenSeq)
	return at - p.ahead, yes
}

// Say tells the program how the machine stands, which has taken in all that had come, or not. It returns when
// the machine has to be shown what was passed on since, should nothing else wake it; 0: it need not. A token
// that comes in just now may still be passed on after the machine has something to send, and may come to rest
// elsewhere, which the machine has to know to ask for it.
func (p *Pass) Say(now time.Duration, m *cpg.Machine, drained bool) (again time.Duration) {
	if p == nil {
		return 0
	}
	if o, ok := p.order(m); ok {
		p.program.Arm(&o, drained)
		p.disarmed = false
		if _, _, passes := p.program.Last(); passes < p.told {
			p.told = passes // a new ring's
		}
		return 0
	}
	p.program.Disarm()
	if p.disarmed {
		return 0
	}
	p.disarmed = true
	return now + lookAgain
}

// order is what a visit would come to, and where the token goes then, if all of that is known.
func (p *Pass) order(m *cpg.Machine) (o bpf.Order, ok bool) {
	s, ok := m.Standing()
	now := time.Now()
	if !p.arrive(m.Stats().Totem.TokenRepeats, now) || !ok || s.Members > bpf.MostMembers {
		return o, false
	}
	if now.After(p.look) {
		p.table.Read()
		p.look = now.Add(lookEvery)
	}
	to, known := p.link.Peer(s.Next)
	mac, reachable := p.table.Way(to.Addr(), now)
	d := p.table.Device()
	if !known || !reachable || !d.Up || to.Addr().Unmap().Is4() != p.ipv4 {
		return o, false
	}
	return bpf.Order{
		RingRep: uint32(s.Ring.Rep), RingSeq: s.Ring.Seq, Self: uint32(s.Self), Next: uint32(s.Next),
		Place: s.Place, Members: s.Members, Aru: uint32(s.Aru), Heard: s.Heard, After: uint32(s.TokenSeq),
		To: to, MAC: mac, Own: d.MAC, Lease: p.lease,
	}, true
}

// arrive tells whether what is passed on arrives, as far as one sees, by how many tokens the machine has
// repeated.
func (p *Pass) arrive(repeats uint64, now time.Time) bool {
	if repeats != p.repeats {
		if p.fresh {
			p.lost++
		}
		p.repeats, p.fresh = repeats, false
	}
	if p.lost >= mostLost {
		p.lost, p.rest = 0, now.Add(restFor)
		p.say(true, fmt.Sprintf("tokens that the kernel passes on, on %s, do not arrive; this member passes them on itself for %v", p.program.Where(), restFor))
	}
	return !now.Before(p.rest)
}

// Close takes the program away.
func (p *Pass) Close() {
	if p.program != nil {
		p.program.Close()
	}
	if p.table != nil {
		p.table.Close()
	}
}

func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return time.Duration(t.Nano())
}

// Times are those of rotations, and of hops in the kernel, as the program measures them that passes tokens on;
// not ok: there is none.
func (c *Choice) Times() (rotation, hop bpf.Times, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass == nil {
		return rotation, hop, false
	}
	rotation, err := c.pass.program.Times(bpf.Rotation)
	if err == nil {
		hop, err = c.pass.program.Times(bpf.Hop)
	}
	return rotation, hop, err == nil
}

// Passed is how many tokens the kernel has passed on, and on which hook; not ok: it does not.
func (c *Choice) Passed() (tokens uint64, hook string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass == nil {
		return 0, "", false
	}
	return c.pass.passes.Load(), c.pass.program.Where(), true
}

// Passes is how many tokens the kernel has passed on, in words; empty: it does not.
func (c *Choice) Passes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass == nil {
		return ""
	}
	return fmt.Sprintf("%d passed on by the kernel, on %s", c.pass.passes.Load(), c.pass.program.Where())
}
