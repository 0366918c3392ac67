package ringconf

import (
	"cmp"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/knet"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

const (
	// corosync's netmtu with knet is 64 KiB, of which each packet goes in fragments, and needs all
	// of them. Ours has the size of one fragment, which is as fast, and stands the loss of some.
	// Where the interface takes longer ones, as loopback does, it is that of a jumbo frame.
	mostFragment = 9000
	// A netmtu that is given counts, up to the longest packet that the ring takes. Of packets
	// longer than a fragment 50 are as much as a receiver's buffer holds: the window is corosync's
	// then.
	mostNetMTU   = 65000
	knetWindow   = 50
	knetMessages = 17
)

// knet says what only transport knet has.
func (s *Setup) knet(c *conf.Config, self int, say func(string)) error {
	if err := oneLink(c); err != nil {
		return err
	}
	for _, d := range []string{"totem.link_mode", "totem.crypto_model", "totem.interface.0.knet_link_priority", "totem.interface.0.knet_ping_precision"} {
		if c.Given(d) {
			say(fmt.Sprintf("%s: %s has no effect", c.Where(d), d))
		}
	}
	if self < 0 {
		return fmt.Errorf("%s: no node of the nodelist has this host's address %s, and with transport knet the others hear only nodes of their nodelist; add it, on every node", c.Where("nodelist"), s.At.Address)
	}
	s.Link.Node, s.Link.Address = wire.NodeID(s.nodeID), s.At.Address
	i := c.Interface(0)
	pongs := cmp.Or(i.KnetPongCount, 2) // 0 is corosync's default, too
	share := func(n int) time.Duration { return (s.Totem.Token / time.Duration(n)).Truncate(time.Millisecond) }
	k := link.KnetConfig{
		PingInterval: cmp.Or(i.KnetPingInterval, share(2*pongs)), PingTimeout: cmp.Or(i.KnetPingTimeout, share(pongs)), PongCount: pongs,
		PMTUDInterval: c.Totem.KnetPMTUDInterval, MTU: c.Totem.KnetMTU,
	}
	s.Link.Knet = k
	fit := s.Link.PacketBytes(min(s.At.MTU, mostFragment)) + wire.McastBytes
	if !c.Given("totem.netmtu") {
		s.Totem.NetMTU = fit
	}
	s.Totem.MaxPacketBytes = knet.MaxMessageBytes
	if s.Totem.NetMTU > fit {
		s.Totem.WindowSize, s.Totem.MaxMessages = cmp.Or(s.Totem.WindowSize, knetWindow), cmp.Or(s.Totem.MaxMessages, knetMessages)
	}
	return nil
}

// oneLink refuses what knet has and this ring has not.
func oneLink(c *conf.Config) error {
	for i, n := range c.Nodes {
		for j, a := range n.Addrs {
			if j > 0 && a != "" {
				return fmt.Errorf("%s: the node has a ring%d_addr, and links above 0 are not available; remove it, on every node, or use the corosync that runs here (--ring-provider=corosync)", c.Where(fmt.Sprintf("nodelist.node.%d", i)), j)
			}
		}
	}
	for _, i := range c.Interfaces {
		if i.Link > 0 {
			return fmt.Errorf("%s: links above 0 are not available; remove this interface, on every node, or use the corosync that runs here (--ring-provider=corosync)", c.Where(fmt.Sprintf("totem.interface.%d", i.Link)))
		}
	}
	if t := c.Interface(0).KnetTransport; t != "udp" {
		return fmt.Errorf("%s: knet_transport %s is not available; set knet_transport: udp on every node", c.Where("totem.interface.0.knet_transport"), t)
	}
	if m := c.Totem.KnetCompressionModel; m != "none" {
		return fmt.Errorf("%s: knet_compression_model %s is not available; set it to none on every node", c.Where("totem.knet_compression_model"), m)
	}
	return nil
}
