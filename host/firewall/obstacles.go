package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Probe is a packet that is to get in.
type Probe struct {
	What        string // in words, as "the ring's packets"
	Protocol    string // udp or tcp
	Port        uint16
	Source      netip.Addr
	Destination netip.Addr
	Interface   string
	Network     netip.Prefix // where such packets come from; invalid: from anywhere
}

// Obstacle is a chain that drops a probe.
type Obstacle struct {
	Probe
	Chain   string // as "table inet filter, chain input"
	Command string // that opens it
	Sure    bool   // false: the chain has rules that nftables does not show the meaning of
}

func (o *Obstacle) String() string {
	verb := "drops"
	if !o.Sure {
		verb = "seems to drop"
	}
	return fmt.Sprintf("%s of the firewall %s %s (%s port %d): open it with: %s", o.Chain, verb, o.What, strings.ToUpper(o.Protocol), o.Port, o.Command)
}

// maxSetElements is how much of a set is looked at: lists of addresses that are kept out can be long.
const maxSetElements = 1 << 20

// Obstacles lists the chains of this host, but for those of the table own, that drop probes. Of
// several probes to one port one is named.
func Obstacles(own string, probes []Probe) (list []Obstacle, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, explain(err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, explain(err)
	}
	for _, chain := range chains {
		if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookInput || chain.Type != nftables.ChainTypeFilter || chain.Table.Name == own {
			continue
		}
		w := walk{conn: c, table: chain.Table, sets: map[string]*elements{}, rules: map[string][]*nftables.Rule{}}
		for i := range probes {
			p := &probes[i]
			if !concerns(chain.Table.Family, p.Source) {
				continue
			}
			verdict, sure, err := w.base(chain, newPacket(p))
			if err != nil {
				return nil, explain(err)
			}
			seen := slices.ContainsFunc(list, func(o Obstacle) bool {
				return o.Chain == where(chain) && o.Port == p.Port && o.Protocol == p.Protocol
			})
			if verdict == dropped && !seen {
				list = append(list, Obstacle{Probe: *p, Chain: where(chain), Command: command(chain, p), Sure: sure})
			}
		}
	}
	return list, nil
}

// concerns tells whether chains of a family see packets of a sender.
func concerns(f nftables.TableFamily, from netip.Addr) bool {
	switch f {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv4:
		return from.Is4()
	case nftables.TableFamilyIPv6:
		return from.Is6()
	}
	return false
}

func where(c *nftables.Chain) string {
	return fmt.Sprintf("table %s %s, chain %s", familyName(c.Table.Family), c.Table.Name, c.Name)
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// command is what opens a chain for a probe, in the words of whoever manages the chain.
func command(c *nftables.Chain, p *Probe) string {
	v4 := p.Source.Is4()
	family := map[bool]string{true: "ip", false: "ip6"}[v4]
	switch {
	case strings.HasPrefix(c.Table.Name, "firewalld"):
		return fmt.Sprintf("firewall-cmd --permanent --add-port=%d/%s && firewall-cmd --reload", p.Port, p.Protocol)
	case c.Name == "INPUT" && c.Table.Name == "filter" && c.Table.Family != nftables.TableFamilyINet:
		if hasUFW(c) {
			if p.Network.IsValid() {
				return fmt.Sprintf("ufw allow proto %s from %s to any port %d", p.Protocol, p.Network, p.Port)
			}
			return fmt.Sprintf("ufw allow %d/%s", p.Port, p.Protocol)
		}
		program := map[bool]string{true: "iptables", false: "ip6tables"}[v4]
		return fmt.Sprintf("%s -I INPUT%s -p %s --dport %d -j ACCEPT", program, optional(" -s %s", p.Network), p.Protocol, p.Port)
	}
	return fmt.Sprintf("nft insert rule %s %s %s%s %s dport %d accept", familyName(c.Table.Family), c.Table.Name, c.Name,
		optional(" "+family+" saddr %s", p.Network), p.Protocol, p.Port)
}

func optional(format string, n netip.Prefix) string {
	if !n.IsValid() {
		return ""
	}
	return fmt.Sprintf(format, n.Masked())
}

// hasUFW tells whether ufw manages a chain: its own chains are in the same table.
func hasUFW(of *nftables.Chain) bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	list, err := c.ListChainsOfTableFamily(of.Table.Family)
	return err == nil && slices.ContainsFunc(list, func(c *nftables.Chain) bool {
		return c.Table.Name == of.Table.Name && strings.HasPrefix(c.Name, "ufw")
	})
}

// newPacket makes the first packet of a probe.
func newPacket(p *Probe) *packet {
	k := &packet{probe: p, protocol: unix.IPPROTO_UDP}
	if p.Protocol == "tcp" {
		k.protocol = unix.IPPROTO_TCP
	}
	const client = 49152 // any port of a client's
	k.transport = make([]byte, 20)
	k.transport[0], k.transport[1] = client>>8, client&0xff
	k.transport[2], k.transport[3] = byte(p.Port>>8), byte(p.Port)
	if k.protocol == unix.IPPROTO_TCP {
		k.transport[12], k.transport[13] = 5<<4, 2 // its length, and SYN
	}
	if p.Source.Is4() {
		k.family = unix.NFPROTO_IPV4
		k.network = make([]byte, 20)
		k.network[0], k.network[8], k.network[9] = 0x45, 64, k.protocol
		copy(k.network[12:], p.Source.AsSlice())
		copy(k.network[16:], p.Destination.AsSlice())
	} else {
		k.family = unix.NFPROTO_IPV6
		k.network = make([]byte, 40)
		k.network[0], k.network[6], k.network[7] = 0x60, k.protocol, 64
		copy(k.network[8:], p.Source.AsSlice())
		copy(k.network[24:], p.Destination.AsSlice())
	}
	return k
}

// Tables are the names of the tables that brokers have made, or left.
func Tables(prefix string) (names []string, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, explain(err)
	}
	list, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, explain(err)
	}
	for _, t := range list {
		if strings.HasPrefix(t.Name, prefix) {
			names = append(names, t.Name)
		}
	}
	return names, nil
}
