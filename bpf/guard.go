package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Hook is where a program sits.
type Hook string

// The hooks.
const (
	Native  Hook = "native XDP"
	Generic Hook = "generic XDP"
	TC      Hook = "TC" // by tcx, since Linux 6.6
)

// Config says what the ring's packets are.
type Config struct {
	Interface int // its index
	Hook      Hook
	Own       netip.AddrPort
	Group     netip.Addr // invalid: there is none
	Sealed    bool       // packets are protected
	// Listed are the only addresses that are heard; empty: all are.
	Listed []netip.Addr
	// Drop has what cannot be the ring's dropped; else it is counted, and goes on to the stack.
	Drop bool
	// Longest is the longest frame that AF_XDP sockets take; longer ones go on to the stack.
	Longest int
	// Taken tells a program on TC that an AF_PACKET socket takes the ring's packets, which need go no
	// further.
	Taken bool
	// TokenPass has a program on XDP that can pass the ring's token on, too, if the kernel has what that
	// takes (Guard.TokenPass).
	TokenPass bool
	// Redirect has tokens that native XDP sends redirected to the interface, as veth needs it.
	Redirect bool
}

// Guard is a program that is attached.
type Guard struct {
	hook       Hook
	collection *ebpf.Collection
	program    *ebpf.Program
	attached   link.Link
	ipv4       bool
	memory     []byte // of what the member says; nil: it cannot
	held       *xdpHeld
	ring       holding // said last
	slot       int     // where
	withPass   error   // why it does not pass the token on, as it was to
}

// Attach loads and attaches a program.
func Attach(cfg Config) (*Guard, error) {
	g, err := load(cfg)
	if err != nil {
		return nil, err
	}
	if err := g.attach(cfg.Interface); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Load loads a program without an interface, to Run it.
func Load(cfg Config) (*Guard, error) { return load(cfg) }

// Run runs the program on a frame as if it had come in, and tells whether it was dropped.
func (g *Guard) Run(frame []byte) (dropped bool, err error) {
	drop := uint32(1) // XDP_DROP
	if g.hook == TC {
		drop = 2 // TCX_DROP
	}
	answer, err := g.program.Run(&ebpf.RunOptions{Data: frame})
	return answer == drop, err
}

// load loads a program and fills its maps.
func load(cfg Config) (g *Guard, err error) {
	if cfg.TokenPass && cfg.Hook != TC {
		without := errSealed
		if !cfg.Sealed {
			if g, without = loadProgram(cfg, loadPassXdp, xdpProgRingXdp); without == nil {
				return g, g.prepare(cfg.Listed)
			}
			without = fmt.Errorf("on XDP the token is passed on since Linux 5.18: %w", without)
		}
		defer func() {
			if err == nil {
				g.withPass = without
			}
		}()
	}
	if cfg.Hook == TC {
		g, err = loadProgram(cfg, loadTc, tcProgRingTc)
	} else {
		g, err = loadProgram(cfg, loadXdp, xdpProgRingXdp)
	}
	if err != nil {
		return nil, err
	}
	return g, g.prepare(cfg.Listed)
}

func loadProgram(cfg Config, specOf func() (*ebpf.CollectionSpec, error), name string) (*Guard, error) {
	spec, err := specOf()
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	constants := cfg.constants()
	if cfg.Hook != TC && features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil {
		// A program that takes frames in pieces may be on interfaces of any MTU.
		constants.Frags = 1
		spec.Programs[name].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	if err := spec.Variables[xdpVarConfig].Set(constants); err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	for name, on := range map[string]bool{passXdpVarGeneric: cfg.Hook == Generic, passXdpVarRedirected: cfg.Redirect && cfg.Hook == Native} {
		if v := spec.Variables[name]; v != nil && on {
			if err := v.Set(uint8(1)); err != nil {
				return nil, fmt.Errorf("bpf: %w", err)
			}
		}
	}
	if features.HaveMapFlag(features.BPF_F_MMAPABLE) != nil {
		spec.Maps[xdpMapHeld].Flags = 0 // before Linux 5.5 nothing is dropped for what the member has
	}
	_ = rlimit.RemoveMemlock() // kernels before 5.11 want it; where it fails, loading does
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, refused(cfg.Hook, err)
	}
	return &Guard{hook: cfg.Hook, collection: c, program: c.Programs[name], ipv4: cfg.Own.Addr().Unmap().Is4()}, nil
}

// prepare has only some sources heard, if any are listed, and shares memory with the program.
func (g *Guard) prepare(sources []netip.Addr) error {
	for _, a := range sources {
		if err := g.collection.Maps[xdpMapSources].Put(xdpSource{Address: words(a)}, uint8(1)); err != nil {
			g.Close()
			return fmt.Errorf("bpf: listing %v: %w", a, err)
		}
	}
	if err := g.mapHeld(); err != nil {
		g.Close()
		return err
	}
	return nil
}

// constants are what the program is told.
func (c *Config) constants() xdpConfiguration {
	x := xdpConfiguration{Own: words(c.Own.Addr()), Longest: uint16(c.Longest)}
	x.Port = networkOrder(c.Own.Port())
	if c.Group.IsValid() {
		x.Group = words(c.Group)
	}
	for _, flag := range []struct {
		on bool
		at *uint8
	}{{!c.Own.Addr().Unmap().Is4(), &x.Ipv6}, {c.Sealed, &x.Sealed}, {len(c.Listed) > 0, &x.Listed}, {c.Taken, &x.Taken}, {c.Drop, &x.Drop},
		// Generic XDP sees aggregates. For native XDP they are cut up, and TC tells them.
		{c.Hook != Generic, &x.Whole}} {
		if flag.on {
			*flag.at = 1
		}
	}
	return x
}

// words are an address as the programs have it: in network order, IPv4 in the first word.
func words(a netip.Addr) (w [4]uint32) {
	b := a.Unmap().AsSlice()
	for i := 0; i < len(b); i += 4 {
		w[i/4] = binary.NativeEndian.Uint32(b[i:])
	}
	return w
}

// address undoes words.
func address(w [4]uint32, ipv4 bool) netip.Addr {
	var b [16]byte
	for i, x := range w {
		binary.NativeEndian.PutUint32(b[4*i:], x)
	}
	if ipv4 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

// refused says why the kernel does not load a program.
func refused(h Hook, err error) error {
	var complaint *ebpf.VerifierError
	switch {
	case errors.As(err, &complaint):
		return fmt.Errorf("bpf: the kernel's verifier refuses the program for %s, please report it: %+v", h, complaint)
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("bpf: programs for %s take CAP_BPF, CAP_NET_ADMIN and a kernel that is not locked down: %w", h, err)
	case errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("bpf: the kernel has no programs for %s: %w", h, err)
	}
	return fmt.Errorf("bpf: %w", err)
}

func (g *Guard) attach(index int) (err error) {
	switch g.hook {
	case TC:
		g.attached, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: g.program, Attach: ebpf.AttachTCXIngress})
	case Native:
		g.attached, err = link.AttachXDP(link.XDPOptions{Interface: index, Program: g.program, Flags: link.XDPDriverMode})
	default:
		g.attached, err = link.AttachXDP(link.XDPOptions{Interface: index, Program: g.program, Flags: link.XDPGenericMode})
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST):
		return fmt.Errorf("bpf: %s: another XDP program is on the interface, and is left alone: %w", g.hook, err)
	case errors.Is(err, ebpf.ErrNotSupported) && g.hook == TC:
		return fmt.Errorf("bpf: TC: tcx is there since Linux 6.6: %w", err)
	case errors.Is(err, unix.EOPNOTSUPP) && g.hook == Native:
		return fmt.Errorf("bpf: the interface's driver has no XDP: %w", err)
	case errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL):
		return fmt.Errorf("bpf: %s: the interface refuses it, as drivers do whose MTU is longer than they or the kernel take with XDP: %w", g.hook, err)
	}
	return fmt.Errorf("bpf: %s: %w", g.hook, err)
}

// Move attaches the program to another interface, as when one was removed and made again. That takes
// CAP_NET_ADMIN at the most: the program is loaded.
func (g *Guard) Move(index int) error {
	if g.attached != nil {
		_ = g.attached.Close() // what it was on may be gone
		g.attached = nil
	}
	return g.attach(index)
}

// Where says where it sits, in words.
func (g *Guard) Where() string { return string(g.hook) }

// XDP tells whether it is on XDP, native or generic.
func (g *Guard) XDP() bool { return g.hook != TC }

// Steer has a queue's packets go to an AF_XDP socket. With TC there is no such thing.
func (g *Guard) Steer(queue, socket int) error {
	m := g.collection.Maps[xdpMapSockets]
	if m == nil {
		return fmt.Errorf("bpf: there is no AF_XDP behind %s", g.hook)
	}
	if err := m.Put(uint32(queue), uint32(socket)); err != nil {
		return fmt.Errorf("bpf: queue %d: %w", queue, err)
	}
	return nil
}

// Closed tells whether it was closed, or is attached to nothing.
func (g *Guard) Closed() bool { return g.attached == nil }

// Close detaches it.
func (g *Guard) Close() {
	if g.attached != nil {
		_ = g.attached.Close() // the kernel detaches it with its descriptor
		g.attached = nil
	}
	g.unmapHeld()
	g.collection.Close()
}
