package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// TokenPass is a program that passes the ring's token on while its member lets it: one of its own on TC,
// or that of a guard on XDP. It belongs to the member's goroutine, but for Times.
type TokenPass struct {
	collection *ebpf.Collection
	guard      *Guard // whose program it is; nil: its own, on TC
	program    *ebpf.Program
	attached   link.Link
	memory     [2][]byte
	order      *passOrder
	records    *[2]passRecord
	ring       [2]uint64     // of the order
	fresh      bool          // nothing was passed on in it
	then       time.Duration // by the kernel's clock
	start      time.Time     // the same by Go's
	token      [unsafe.Sizeof(passRecord{}.Token)]byte
}

// Order is what the token becomes at a visit of the member, and where it goes.
type Order struct {
	RingRep        uint32
	RingSeq        uint64
	Self, Next     uint32 // nodes
	Place, Members int    // of the member's mark, and how many there are
	Aru            uint32
	Heard          uint16
	After          uint32 // only tokens with a later token_seq
	To             netip.AddrPort
	MAC, Own       [6]byte // of the next member, or what leads to it; and ours
	Lease          time.Duration
}

// MostMembers is the largest ring whose token is passed.
const MostMembers = 32

// AttachTokenPass attaches the program on TC, which does nothing before it is ordered to.
func AttachTokenPass(cfg Config) (*TokenPass, error) {
	p, err := loadTokenPass(cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Move(cfg.Interface); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Move attaches it to an interface, and to no other any more. That of a guard goes where the guard does.
func (p *TokenPass) Move(index int) (err error) {
	if p.guard != nil {
		return nil
	}
	if p.attached != nil {
		_ = p.attached.Close() // what it was on may be gone
	}
	p.attached, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: p.program, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ebpf.ErrNotSupported):
		err = fmt.Errorf("bpf: tcx is there since Linux 6.6: %w", err)
	default:
		err = fmt.Errorf("bpf: token pass: %w", err)
	}
	p.attached = nil
	return err
}

func loadTokenPass(cfg Config) (*TokenPass, error) {
	if cfg.Sealed {
		return nil, errSealed
	}
	spec, err := loadPass()
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	if err := spec.Variables[passVarConfig].Set(cfg.constants()); err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	_ = rlimit.RemoveMemlock() // kernels before 5.11 want it; where it fails, loading does
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, refused(TC, err)
	}
	return share(&TokenPass{collection: c, program: c.Programs[passProgTokenPass]})
}

var errSealed = errors.New("bpf: the token is passed unprotected only")

// TokenPass is the part of a guard's program that passes the token on. The guard has to be closed after it.
func (g *Guard) TokenPass() (*TokenPass, error) {
	switch {
	case g.withPass != nil:
		return nil, g.withPass
	case g.collection.Maps[passMapOrders] == nil:
		return nil, fmt.Errorf("bpf: the program on %s does not pass the token on", g.hook)
	}
	return share(&TokenPass{collection: g.collection, guard: g, program: g.program})
}

// share maps what the program and the member tell each other.
func share(p *TokenPass) (_ *TokenPass, err error) {
	for i, m := range []*ebpf.Map{p.collection.Maps[passMapOrders], p.collection.Maps[passMapRecords]} {
		length := (int(m.ValueSize())*int(m.MaxEntries()) + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
		if p.memory[i], err = unix.Mmap(m.FD(), 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			p.Close()
			return nil, fmt.Errorf("bpf: token pass: mmap: %w", err)
		}
	}
	p.then, p.start = monotonic(), time.Now()
	p.order = (*passOrder)(unsafe.Pointer(&p.memory[0][0]))
	p.records = (*[2]passRecord)(unsafe.Pointer(&p.memory[1][0]))
	return p, nil
}

// Where says where it sits, in words.
func (p *TokenPass) Where() string {
	if p.guard != nil {
		return p.guard.Where()
	}
	return string(TC)
}

// Arm lets tokens be passed on, for a while. With a new ring it has them claimed for the member only:
// what came before that nobody has claimed. It lets them be passed on when it is called again, and drained
// says that the member has since taken in all that had come.
func (p *TokenPass) Arm(o *Order, drained bool) {
	generation := p.order.Generation
	armed := uint32(1)
	if p.fresh && !drained {
		armed = 0
	} else {
		p.fresh = false
	}
	if ring := [2]uint64{uint64(o.RingRep), o.RingSeq}; ring != p.ring || generation == 0 {
		// A record that no program uses: that of the ring before the last one.
		generation++
		p.records[generation&1] = passRecord{Last: o.After, Passed: o.After}
		p.ring, p.fresh, armed = ring, true, 0
	}
	p.write(func(x *passOrder) {
		x.Armed, x.Expires = armed, uint64(p.now()+o.Lease)
		x.RingRep, x.RingSeq = o.RingRep, o.RingSeq
		x.Self, x.Next = o.Self, o.Next
		x.Place, x.Members = uint32(o.Place), uint32(o.Members)
		x.Aru, x.Heard, x.After = o.Aru, uint32(o.Heard), o.After
		x.Generation = generation
		x.To = words(o.To.Addr())
		x.Port = uint32(networkOrder(o.To.Port()))
		copy(x.Mac[:], o.MAC[:])
		copy(x.Own[:], o.Own[:])
	})
}

// Disarm leaves all tokens to the member. One that comes in just now may still be passed on.
func (p *TokenPass) Disarm() {
	if p.order.Armed != 0 {
		p.write(func(x *passOrder) { x.Armed = 0 })
	}
}

// write changes the order, of which the program sees that it is being written. The atomics are barriers, too.
func (p *TokenPass) write(change func(*passOrder)) {
	atomic.AddUint32(&p.order.Version, 1)
	change(p.order)
	atomic.AddUint32(&p.order.Version, 1)
}

// Last is the last token that was passed on, as it was, when that was on the monotonic clock, and how
// many there were in this ring. It is valid until the next call.
func (p *TokenPass) Last() (token []byte, at time.Duration, passes uint64) {
	r := &p.records[p.order.Generation&1]
	for {
		version := atomic.LoadUint32(&r.Version)
		length, when := min(int(r.Length), len(p.token)), r.When
		passes = r.Passes
		p.token = r.Token
		if version&1 == 0 && atomic.LoadUint32(&r.Version) == version {
			return p.token[:length], time.Duration(when), passes
		}
	}
}

// Arrived is when a token came in, on the monotonic clock, if it was the last.
func (p *TokenPass) Arrived(tokenSeq uint32) (at time.Duration, yes bool) {
	r := &p.records[p.order.Generation&1]
	at = time.Duration(atomic.LoadUint64(&r.Arrived))
	return at, at != 0 && atomic.LoadUint32(&r.Last) == tokenSeq
}

// Timing is what the program measures.
type Timing uint32

// The timings.
const (
	Rotation = Timing(passTimingROTATION) // from one token to the next
	Hop      = Timing(passTimingHOP)      // how long a token stayed that was passed on
)

// Times are how long something took, how often: the first count is of less than 256 ns, and each octave
// from there on has four, of equal width. The last has what is longer, too.
type Times struct {
	Counts    [len(passHistogram{}.Counts)]uint64
	Sum, Most time.Duration
}

// Times are what was measured since the program was loaded. Any goroutine may ask until Close.
func (p *TokenPass) Times(which Timing) (t Times, err error) {
	var cpus []passHistogram
	if err := p.collection.Maps[passMapTimes].Lookup(uint32(which), &cpus); err != nil {
		return t, fmt.Errorf("bpf: times: %w", err)
	}
	for i := range cpus {
		for at, n := range cpus[i].Counts {
			t.Counts[at] += n
		}
		t.Sum += time.Duration(cpus[i].Sum)
		t.Most = max(t.Most, time.Duration(cpus[i].Most))
	}
	return t, nil
}

// Run runs the program on a frame as if it had come in, and tells whether it was sent on, or ended; of
// neither it goes to the member.
func (p *TokenPass) Run(frame []byte) (out []byte, sent, ended bool, err error) {
	drop, send := uint32(2), uint32(7) // of TC: the second is a redirection
	if p.guard != nil {
		drop, send = 1, 3 // of XDP
	}
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64)}
	answer, err := p.program.Run(&o)
	return o.DataOut, answer == send, answer == drop, err
}

// Close detaches the program.
func (p *TokenPass) Close() {
	if p.attached != nil {
		_ = p.attached.Close() // the kernel detaches it with its descriptor
		p.attached = nil
	}
	for i, m := range p.memory {
		if m != nil {
			_ = unix.Munmap(m) // it was mapped
			p.memory[i] = nil
		}
	}
	if p.guard == nil {
		p.collection.Close()
	}
}

// now is by the clock of bpf_ktime_get_ns, which Go's own goes by without a call to the kernel.
func (p *TokenPass) now() time.Duration { return p.then + time.Since(p.start) }

// monotonic is that clock.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock exists
	return time.Duration(t.Nano())
}

// LoadTokenPass loads the program of a hook without an interface, to Run it.
func LoadTokenPass(hook Hook, own netip.AddrPort) (*TokenPass, error) {
	if hook == TC {
		return loadTokenPass(Config{Own: own})
	}
	g, err := load(Config{Hook: hook, Own: own, TokenPass: true, Drop: true})
	if err != nil {
		return nil, err
	}
	p, err := g.TokenPass()
	if err != nil {
		g.Close()
	}
	return p, err
}
