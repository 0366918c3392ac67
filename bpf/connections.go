package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// MaxPorts is to how many ports a limit to connections may apply.
const MaxPorts = 8

// ConnectionConfig says how many new connections a source may have.
type ConnectionConfig struct {
	Interfaces []int // their indices
	Ports      []uint16
	PerSecond  int // in the long run
	Burst      int // at once
}

// ConnectionLimit is a limit that is in force.
type ConnectionLimit struct {
	collection *ebpf.Collection
	program    *ebpf.Program
	attached   []link.Link
}

// LimitConnections puts a limit to new connections before some interfaces, on TC. A source is an IPv4
// address, or an IPv6 network of 64 bits.
func LimitConnections(cfg ConnectionConfig) (*ConnectionLimit, error) {
	l, err := loadLimit(cfg)
	if err != nil {
		return nil, err
	}
	for _, index := range cfg.Interfaces {
		if err := l.Attach(index); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Attach puts the limit before one more interface.
func (l *ConnectionLimit) Attach(index int) error {
	a, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: l.program, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		l.attached = append(l.attached, a)
		return nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("bpf: tcx is there since Linux 6.6: %w", err)
	}
	return fmt.Errorf("bpf: interface %d: %w", index, err)
}

func loadLimit(cfg ConnectionConfig) (*ConnectionLimit, error) {
	if len(cfg.Ports) > MaxPorts || cfg.PerSecond <= 0 || cfg.Burst <= 0 {
		return nil, fmt.Errorf("bpf: a limit of %d a second and %d at once to %d ports cannot be", cfg.PerSecond, cfg.Burst, len(cfg.Ports))
	}
	spec, err := loadConn()
	if err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	interval := time.Second / time.Duration(cfg.PerSecond)
	limits := connLimits{Interval: uint64(interval), Burst: uint64(interval) * uint64(cfg.Burst-1)}
	for i, p := range cfg.Ports {
		limits.Ports[i] = networkOrder(p)
	}
	if err := spec.Variables[connVarLimits].Set(limits); err != nil {
		return nil, fmt.Errorf("bpf: %w", err)
	}
	_ = rlimit.RemoveMemlock() // kernels before 5.11 want it; where it fails, loading does
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, refused(TC, err)
	}
	return &ConnectionLimit{collection: c, program: c.Programs[connProgNewConnections]}, nil
}

// networkOrder is a number whose bytes are those of another in network order.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// ConnectionCounts are how many new connections were let through, and how many refused, and of these
// where the last came from: of IPv6 the network.
type ConnectionCounts struct {
	Let, Refused uint64
	Last         netip.Addr
}

// Counts are what was counted so far.
func (l *ConnectionLimit) Counts() (n ConnectionCounts, err error) {
	for o, sum := range map[connOutcome]*uint64{connOutcomeLET: &n.Let, connOutcomeREFUSED: &n.Refused} {
		var cpus []connTally
		if err := l.collection.Maps[connMapTallies].Lookup(uint32(o), &cpus); err != nil {
			return n, fmt.Errorf("bpf: counts: %w", err)
		}
		for _, c := range cpus {
			*sum += c.Packets
			if o == connOutcomeREFUSED && c.Packets > 0 {
				n.Last = address([4]uint32{c.Last.Address[0], c.Last.Address[1]}, c.Last.Ipv6 == 0)
			}
		}
	}
	return n, nil
}

// Close lifts the limit.
func (l *ConnectionLimit) Close() {
	for _, a := range l.attached {
		_ = a.Close() // the kernel detaches it with its descriptor
	}
	l.attached = nil
	l.collection.Close()
}
