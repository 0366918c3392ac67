package datapath

import (
	"errors"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/packet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/xdp"
)

var hooks = map[string]bpf.Hook{config.GuardNative: bpf.Native, config.GuardGeneric: bpf.Generic, config.GuardTC: bpf.TC}

// guardConfig is what a guard is told of a place.
func guardConfig(p link.Place, h bpf.Hook) bpf.Config {
	return bpf.Config{Interface: p.Interface, Hook: h, Own: p.Own, Group: p.Group.Addr(), Sealed: p.Sealed, Listed: p.Listed}
}

// passing adds to it that the token is passed on, or not.
func passing(cfg bpf.Config, on bool) bpf.Config {
	cfg.TokenPass, cfg.Redirect = on, on && veth(cfg.Interface)
	return cfg
}

// besides is what a program that steers does besides.
type besides struct{ drop, tokenPass bool }

// opener opens the path of a name; nil: UDP, which takes none. A program that is attached is shown to
// attached, which may be nil.
func opener(name string, also besides, attached func(*bpf.Guard)) func(link.Place) (link.Path, error) {
	switch name {
	case config.DatapathPacket:
		return packet.Open
	case config.DatapathXDP:
		return xdp.Opener(func(p link.Place, l xdp.Limits) (xdp.Program, error) { return steer(p, l, also, attached) })
	}
	return nil
}

// steer attaches the program that brings packets to AF_XDP sockets: where the driver does it, else behind
// it.
func steer(p link.Place, limits xdp.Limits, also besides, attached func(*bpf.Guard)) (xdp.Program, error) {
	if err := tagsHidden(p.Interface); err != nil {
		return nil, err
	}
	var errs []error
	for _, h := range []bpf.Hook{bpf.Native, bpf.Generic} {
		cfg := passing(guardConfig(p, h), also.tokenPass)
		cfg.Longest, cfg.Drop = limits.Native, also.drop
		if h == bpf.Generic {
			cfg.Longest = limits.Generic
		}
		g, err := bpf.Attach(cfg)
		if err == nil {
			if attached != nil {
				attached(g)
			}
			return g, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no program can be attached: %w", errors.Join(errs...))
}
