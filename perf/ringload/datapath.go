package main

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	choice "github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/packet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/xdp"
)

var hooks = map[string]bpf.Hook{"native": bpf.Native, "generic": bpf.Generic, "tc": bpf.TC}

// datapath makes a configuration one for a datapath.
func datapath(c *link.Config, name string) error {
	c.Report = func(_ bool, text string) { fmt.Fprintln(os.Stderr, text) }
	steer := func(h bpf.Hook) xdp.Attach {
		return func(p link.Place, limits xdp.Limits) (xdp.Program, error) {
			longest := limits.Native
			if h == bpf.Generic {
				longest = limits.Generic
			}
			g, err := bpf.Attach(bpf.Config{Interface: p.Interface, Hook: h, Own: p.Own, Group: p.Group.Addr(), Longest: longest})
			if err != nil {
				return nil, err
			}
			return g, nil
		}
	}
	switch name {
	case "udp":
	case "sendmmsg", "single":
		c.NoSegmentation, c.NoCoalescing = true, true
	case "packet":
		c.OpenPath = packet.Open
	case "xdp":
		c.OpenPath = xdp.Opener(steer(bpf.Native))
	case "xdp-generic":
		c.OpenPath = xdp.Opener(steer(bpf.Generic))
	default:
		return fmt.Errorf("there is no datapath %q", name)
	}
	return nil
}

// guards are the hooks by the names that a broker's options have.
var guards = map[string]string{"": config.GuardOff, "native": config.GuardNative, "generic": config.GuardGeneric, "tc": config.GuardTC}

// open opens a link with a datapath, or with the guard of a broker's so that the token may be passed on for
// it.
func open(cfg *link.Config, path, guard string, pass bool) (link.Link, *choice.Choice, error) {
	if err := datapath(cfg, path); err != nil {
		return nil, nil, err
	}
	way := choice.New(config.DatapathUDP, guards[guard], cfg.Report)
	way.TokenPass = pass
	if pass {
		way.Configure(cfg)
	}
	l, err := link.Open(*cfg)
	if err != nil {
		return nil, nil, err
	}
	if got := l.Stats().Datapath; !pass && cfg.OpenPath != nil && got == "udp" {
		return nil, nil, fmt.Errorf("datapath %s cannot be had", path)
	}
	if pass {
		way.Opened(l)
	}
	return l, way, nil
}

// guardAt puts a guard before the ring, on the interface of its address. Before AF_PACKET it lets
// nothing through to the sockets.
func guardAt(hook string, c link.Config, at netip.Addr) (*bpf.Guard, error) {
	i, err := interfaceOf(at)
	if err != nil {
		return nil, err
	}
	return bpf.Attach(bpf.Config{Interface: i.Index, Hook: hooks[hook], Drop: true, Group: c.Group,
		Own: netip.AddrPortFrom(at, c.Port), Taken: hook == "tc" && c.OpenPath != nil})
}
