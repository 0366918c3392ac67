package ringconf

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Setup is what ring, link and cluster are told.
type Setup struct {
	At    host.Choice
	Link  link.Config
	Totem totem.Config // without Node and RingSeq

	Votes         uint32 // as votequorum is told
	ExpectedVotes uint32
	Quorum        cluster.Quorum
	// ConfigVersion is the file's, which stands at ConfigVersionAt; 0: it has none.
	ConfigVersion   uint64
	ConfigVersionAt string
	// TokenWarning is after how much of the token's timeout, in percent, it is told that it has not come;
	// 0: it is not.
	TokenWarning int

	nodes        []netip.Addr // of the nodelist; invalid: not known
	members      []netip.Addr // of the interface, in place of a nodelist; likewise
	nodeID       uint32       // that the file has for this host, or 0
	clearHighBit bool
}

// defaultNetMTU is corosync's netmtu: what an Ethernet carries.
const defaultNetMTU = 1500

// Where interfaces carry more than that, the ring finds out whether the path between all members
// does. On the loopback interface longer packets than largestFrame bring nothing. The headroom is
// for headers, of IPv6 and of encryption.
const (
	largestFrame  = 16000
	frameHeadroom = 128
)

// Load reads the configuration. It is told what options there are, and tells whom it may
// concern what of the file has no effect, and what it is taken for.
func Load(o *config.Options, say func(notice string)) (*Setup, error) {
	c, err := find(o, say)
	if err != nil {
		return nil, config.Wrong(err)
	}
	if c == nil {
		return fromOptions(o)
	}
	return fromFile(c, o, say)
}

// fromOptions is a ring without a file.
func fromOptions(o *config.Options) (*Setup, error) {
	at, err := host.RingAddress(o.BindNetAddr)
	if err != nil {
		return nil, err
	}
	s := &Setup{
		At:   at,
		Link: link.Config{Transport: link.Multicast, Port: uint16(o.McastPort), Group: link.MulticastAddr(o.ClusterName, at.Address.Is6(), 0)},
		// Nobody has asked for a ring that rests while packets are lost: who does not receive them is
		// left behind soon.
		Totem: totem.Config{Nodes: o.ClusterSize, Token: o.Token, NetMTU: defaultNetMTU, CancelTokenHoldOnRetransmit: true},
		Votes: 1, ExpectedVotes: uint32(max(o.ClusterSize, 1)), Quorum: cluster.All(o.ClusterSize),
		TokenWarning: conf.DefaultTokenWarning,
	}
	return s, s.finish(o, func(string) {})
}

// finish adds what depends on the interface, and what options override.
func (s *Setup) finish(o *config.Options, say func(string)) error {
	s.Link.Address, s.Link.Interface = s.At.Address, s.At.Interface
	if o.McastAddr != "" && s.Link.Transport != link.Multicast {
		say(fmt.Sprintf("--mcastaddr has no effect with transport %s", s.Link.Transport))
	} else if o.McastAddr != "" {
		a, err := netip.ParseAddr(o.McastAddr)
		if err != nil || !a.IsMulticast() {
			return fmt.Errorf("--mcastaddr %q is no multicast address", o.McastAddr)
		}
		s.Link.Group, s.Link.Broadcast = a, false
	}
	// Where the interface carries less, packets are made to fit it, so that none is cut into
	// fragments; but for those of recovery, which have a header more. Knet does that itself.
	fit := min(s.Link.PacketBytes(s.At.MTU)+wire.McastBytes, s.At.MTU)
	if s.Totem.NetMTU > fit && s.Link.Transport != link.Knet {
		if s.Totem.NetMTU != defaultNetMTU {
			say(fmt.Sprintf("netmtu is %d: %d is used, as interface %s carries no more", s.Totem.NetMTU, fit, s.At.Interface))
		}
		s.Totem.NetMTU = fit
	}
	most := min(s.At.MTU-frameHeadroom, largestFrame)
	if s.Totem.NetMTU == defaultNetMTU && most > defaultNetMTU && s.Link.Transport != link.Knet { // which has pieces of its own
		s.Totem.MaxNetMTU = most
	}
	return nil
}

// Everyone is where what is for everyone goes, in words.
func (s *Setup) Everyone() string {
	text := "group " + s.Link.Group.String()
	switch {
	case s.Link.Transport == link.Unicast:
		text = fmt.Sprintf("unicast to %d others", len(s.Link.Peers))
	case s.Link.Transport == link.Knet:
		text = fmt.Sprintf("knet to %d others", len(s.Link.Peers))
	case s.Link.Broadcast:
		text = "broadcast"
	}
	switch {
	case len(s.Link.Crypto.Key) == 0:
		return text
	case s.Link.Transport == link.Knet:
		return fmt.Sprintf("%s with %s and %s", text, s.Link.Crypto.Cipher, s.Link.Crypto.Hash)
	}
	return text + " with AES-256-GCM"
}

// Destination is to where what is for everyone is sent, for people who look for it in the network.
func (s *Setup) Destination() string {
	if s.Link.Transport == link.Multicast && !s.Link.Broadcast {
		return fmt.Sprintf("%s port %d", s.Link.Group, s.Link.Port)
	}
	return fmt.Sprintf("port %d", s.Link.Port)
}

// Node is this member's node id, if tokens for it come to an address. The one that has the
// ring's port there has the id that the file gives it, else that which corosync makes of the
// address; further ones on the host have one made of address and port.
func (s *Setup) Node(at netip.AddrPort) wire.NodeID {
	if at.Port() == s.Link.Port {
		if s.nodeID != 0 {
			return wire.NodeID(s.nodeID)
		}
		if id := conf.NodeID(at.Addr(), s.clearHighBit); id != 0 {
			return wire.NodeID(id)
		}
	}
	h := fnv.New32a()
	b, _ := at.MarshalBinary() // of a valid address it does not fail
	h.Write(b)
	id := h.Sum32()
	if s.clearHighBit {
		id &= 1<<31 - 1
	}
	return wire.NodeID(max(id, 1))
}

// fromFile is a ring with a file.
func fromFile(c *conf.Config, o *config.Options, say func(string)) (*Setup, error) {
	t, times := &c.Totem, c.Times(o.Token)
	s := &Setup{
		Totem: totem.Config{
			Token: times.Token, TokenRetransmit: times.TokenRetransmit, Hold: times.Hold,
			Join: times.Join, SendJoin: t.SendJoin, Consensus: times.Consensus, Merge: times.Merge,
			FailRecvConst: t.FailRecvConst, SeqnoUnchangedConst: t.SeqnoUnchangedConst, MissCountConst: t.MissCountConst,
			HeartbeatFailuresAllowed: t.HeartbeatFailuresAllowed, MaxNetworkDelay: t.MaxNetworkDelay,
			CancelTokenHoldOnRetransmit: t.CancelTokenHoldOnRetransmit,
			NetMTU:                      min(t.NetMTU, mostNetMTU),
		},
		ConfigVersion: t.ConfigVersion, ConfigVersionAt: c.Where("totem.config_version"),
		TokenWarning: t.TokenWarning, nodeID: t.NodeID, clearHighBit: t.ClearNodeHighBit,
	}
	// Not corosync's defaults, which are for receivers that take packets one by one.
	if c.Given("totem.window_size") {
		s.Totem.WindowSize = t.WindowSize
	}
	if c.Given("totem.max_messages") {
		s.Totem.MaxMessages = t.MaxMessages
	}
	if _, ok := s.Totem.Heartbeat(); !ok && t.HeartbeatFailuresAllowed > 0 {
		say(fmt.Sprintf("%s: heartbeat_failures_allowed is %d: so many times token_retransmit, which is %v, and max_network_delay, which is %v, are not less than token, which is %v; the heartbeat is off, as with corosync",
			c.Where("totem.heartbeat_failures_allowed"), t.HeartbeatFailuresAllowed, s.Totem.TokenRetransmit, s.Totem.MaxNetworkDelay, s.Totem.Token))
	}
	self, err := s.place(c, o, say)
	if err != nil {
		return nil, err
	}
	s.votes(c, o, self, say)
	if err := s.link(c, o, self, say); err != nil {
		return nil, err
	}
	return s, s.finish(o, say)
}

// link says how packets reach the others.
func (s *Setup) link(c *conf.Config, o *config.Options, self int, say func(string)) error {
	s.Link.Transport = link.Transport(c.Totem.Transport)
	s.Link.Port = c.Interface(0).McastPort
	if o.Given("mcastport") {
		s.Link.Port = uint16(o.McastPort)
	}
	s.Link.Merge = s.Totem.Merge
	if c.Given("totem.downcheck") {
		s.Link.Downcheck = c.Totem.Downcheck
	}
	s.Link.AcceptUnlisted = !c.Totem.BlockUnlistedIPs
	s.Link.Peers = s.peers(c)
	if err := s.crypto(c, say); err != nil {
		return err
	}
	switch s.Link.Transport {
	case link.Multicast:
		s.multicast(c, o, say)
		return nil
	case link.Knet:
		if err := s.knet(c, self, say); err != nil {
			return err
		}
	}
	for i, a := range s.members {
		if conf.NodeID(a, s.clearHighBit) == 0 {
			return fmt.Errorf("%s: member %s has no IPv4 address, of which its node id could be made; give it one, or use a nodelist", c.Where("totem.interface.0"), c.Interface(0).Members[i])
		}
	}
	for i, a := range s.nodes {
		if !a.IsValid() {
			return fmt.Errorf("%s: ring0_addr %s has no address, and transport %s needs one for every node; correct the name, or give the address itself", c.Where(fmt.Sprintf("nodelist.node.%d", i)), c.Nodes[i].Addrs[0], c.Totem.Transport)
		}
	}
	return nil
}

// multicast says where to what is for everyone goes.
func (s *Setup) multicast(c *conf.Config, o *config.Options, say func(string)) {
	i := c.Interface(0)
	if s.Link.TTL = i.TTL; i.TTL == 0 {
		s.Link.TTL = link.TTLHost
	}
	switch v6 := s.At.Address.Is6(); {
	case i.Broadcast:
		s.Link.Broadcast = true
	case i.McastAddr.IsValid():
		s.Link.Group = i.McastAddr
	case c.Totem.ClusterName != "":
		s.Link.Group = link.MulticastAddr(c.Totem.ClusterName, v6, 0)
	default:
		s.Link.Group = link.MulticastAddr(o.ClusterName, v6, 0)
		if o.McastAddr == "" {
			say(fmt.Sprintf("%s has neither mcastaddr nor cluster_name: the multicast address is made of --cluster-name, %s", c.File, s.Link.Group))
		}
	}
}
