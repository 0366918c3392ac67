package firewall

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What the table is made of.
const (
	inputChain   = "input"
	membersChain = "members"
	peers4       = "peers4"
	peers6       = "peers6"
)

// build queues the table's content.
func (p *Policy) build(c *nftables.Conn, t *nftables.Table) error {
	sets := map[bool]*nftables.Set{
		true:  {Table: t, Name: peers4, KeyType: nftables.TypeIPAddr},
		false: {Table: t, Name: peers6, KeyType: nftables.TypeIP6Addr},
	}
	for _, v4 := range []bool{true, false} {
		if err := c.AddSet(sets[v4], p.keys(v4)); err != nil {
			return err
		}
	}
	accept := nftables.ChainPolicyAccept
	members := c.AddChain(&nftables.Chain{Table: t, Name: membersChain})
	input := c.AddChain(&nftables.Chain{Table: t, Name: inputChain, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &accept})
	for _, e := range p.members(sets) {
		c.AddRule(&nftables.Rule{Table: t, Chain: members, Exprs: e})
	}
	for _, e := range p.input() {
		c.AddRule(&nftables.Rule{Table: t, Chain: input, Exprs: e})
	}
	return nil
}

// sizes are how many rules the chains have.
func (p *Policy) sizes() map[string]int {
	return map[string]int{inputChain: len(p.input()), membersChain: len(p.members(map[bool]*nftables.Set{true: {}, false: {}}))}
}

// keys are the elements of a set of peers.
func (p *Policy) keys(v4 bool) (list []nftables.SetElement) {
	for _, a := range p.Peers {
		if a = a.Unmap(); a.Is4() == v4 {
			list = append(list, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	return list
}

// input are the rules that tell the broker's ports apart from others.
func (p *Policy) input() (rules [][]expr.Any) {
	const loopback = "lo"
	rules = append(rules, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(loopback + "\x00")},
		&expr.Verdict{Kind: expr.VerdictAccept},
	})
	for _, port := range p.Clients {
		rules = append(rules, append(toPort(unix.IPPROTO_TCP, port), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}))
	}
	for _, port := range p.Ring {
		rules = append(rules, append(toPort(unix.IPPROTO_UDP, port), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: membersChain}))
	}
	if p.Mesh != 0 {
		rules = append(rules, append(toPort(unix.IPPROTO_TCP, p.Mesh), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: membersChain}))
	}
	return rules
}

func toPort(protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// members are the rules that tell members from others.
func (p *Policy) members(sets map[bool]*nftables.Set) (rules [][]expr.Any) {
	for _, v4 := range []bool{true, false} {
		e := append(source(v4), &expr.Lookup{SourceRegister: 1, SetID: sets[v4].ID, SetName: sets[v4].Name})
		rules = append(rules, append(e, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}))
	}
	for _, n := range p.Networks {
		rules = append(rules, append(from(n), &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}))
	}
	return append(rules, []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}})
}

// source loads the sender's address, if it is of that family.
func source(v4 bool) []expr.Any {
	family, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4)
	if !v4 {
		family, offset, size = unix.NFPROTO_IPV6, 8, 16
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
	}
}

// from matches senders of a network.
func from(n netip.Prefix) []expr.Any {
	n = n.Masked()
	size := n.Addr().BitLen() / 8
	mask := make([]byte, size)
	for i := range n.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(source(n.Addr().Is4()),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: n.Addr().AsSlice()})
}
