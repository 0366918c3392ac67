package firewall

import (
	"bytes"
	"encoding/binary"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// verdict is what becomes of a packet in a chain.
type verdict uint8

const (
	passed   verdict = iota // by the end of the chain, or a return
	accepted                // by this table
	dropped
)

// packet is a probe as the kernel sees it.
type packet struct {
	probe     *Probe
	family    byte
	protocol  byte
	network   []byte // header
	transport []byte // header
}

// walk goes through the chains of one table.
type walk struct {
	conn  *nftables.Conn
	table *nftables.Table
	sets  map[string]*elements
	rules map[string][]*nftables.Rule
	vague bool // something matched, or did not, that could not be told
}

// maxJumps is the depth of jumps that the kernel allows.
const maxJumps = 16

// base is what becomes of a packet in a chain that the kernel hands it to.
func (w *walk) base(c *nftables.Chain, p *packet) (v verdict, sure bool, err error) {
	w.vague = false
	if v, err = w.chain(c.Name, p, 0); err != nil {
		return passed, false, err
	}
	if v == passed && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		v = dropped
	}
	return v, !w.vague, nil
}

func (w *walk) chain(name string, p *packet, depth int) (verdict, error) {
	rules, known := w.rules[name]
	if !known {
		var err error
		if rules, err = w.conn.GetRules(w.table, &nftables.Chain{Name: name, Table: w.table}); err != nil {
			return passed, err
		}
		w.rules[name] = rules
	}
	for _, r := range rules {
		s := state{walk: w, packet: p}
		matches, err := s.rule(r)
		switch {
		case err != nil:
			return passed, err
		case matches == no || s.verdict == nil:
			continue
		case matches == maybe:
			// Whether it applies cannot be told: it is passed over, and the end is vague.
			w.vague = true
			continue
		}
		switch s.verdict.Kind {
		case expr.VerdictAccept:
			return accepted, nil
		case expr.VerdictDrop:
			return dropped, nil
		case expr.VerdictReturn:
			return passed, nil
		case expr.VerdictJump, expr.VerdictGoto:
			if depth == maxJumps {
				return passed, nil
			}
			v, err := w.chain(s.verdict.Chain, p, depth+1)
			if err != nil || v != passed || s.verdict.Kind == expr.VerdictGoto {
				return v, err
			}
		}
	}
	return passed, nil
}

// match is whether an expression lets a packet through.
type match uint8

const (
	no match = iota
	maybe
	yes
)

func when(is bool) match {
	if is {
		return yes
	}
	return no
}

// state is a rule under way: registers, of which some have values that cannot be told.
type state struct {
	*walk
	*packet
	registers [64]byte
	unknown   [16]bool // of four bytes each
	verdict   *expr.Verdict
}

// at is the place of a register: four of 16 bytes, or sixteen of 4.
func at(register uint32) int {
	if register >= unix.NFT_REG32_00 {
		return int(register-unix.NFT_REG32_00) * 4
	}
	return int(register-unix.NFT_REG_1) * 16
}

func (s *state) load(register uint32, b []byte) {
	i := at(register)
	if i < 0 || i+len(b) > len(s.registers) {
		return
	}
	copy(s.registers[i:], make([]byte, (len(b)+3)/4*4))
	copy(s.registers[i:], b)
	for k := i / 4; k < (i+len(b)+3)/4; k++ {
		s.unknown[k] = false
	}
}

// forget marks a register of 16 bytes as one that cannot be told.
func (s *state) forget(register uint32) {
	for k := at(register) / 4; k >= 0 && k < len(s.unknown) && k < at(register)/4+4; k++ {
		s.unknown[k] = true
	}
}

// read is the value of a register, if it can be told.
func (s *state) read(register uint32, n int) ([]byte, bool) {
	i := at(register)
	if i < 0 || i+n > len(s.registers) {
		return nil, false
	}
	for k := i / 4; k < (i+n+3)/4; k++ {
		if s.unknown[k] {
			return nil, false
		}
	}
	return s.registers[i : i+n], true
}

// rule runs the expressions of a rule. Its verdict is one of them.
func (s *state) rule(r *nftables.Rule) (match, error) {
	all := yes
	for _, e := range r.Exprs {
		m, err := s.expression(e)
		if err != nil || m == no {
			return no, err
		}
		all = min(all, m)
	}
	return all, nil
}

func (s *state) expression(e expr.Any) (match, error) {
	switch e := e.(type) {
	case *expr.Verdict:
		s.verdict = e
	case *expr.Reject:
		s.verdict = &expr.Verdict{Kind: expr.VerdictDrop}
	case *expr.Meta:
		if !e.SourceRegister {
			s.meta(e)
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			s.payload(e)
		}
	case *expr.Ct:
		s.ct(e)
	case *expr.Fib:
		s.fib(e)
	case *expr.Immediate:
		s.load(e.Register, e.Data)
	case *expr.Bitwise:
		s.bitwise(e)
	case *expr.Cmp:
		return s.compare(e), nil
	case *expr.Range:
		b, known := s.read(e.Register, len(e.FromData))
		if !known {
			return maybe, nil
		}
		inside := bytes.Compare(b, e.FromData) >= 0 && bytes.Compare(b, e.ToData) <= 0
		return when(inside == (e.Op == expr.CmpOpEq)), nil
	case *expr.Lookup:
		return s.lookup(e)
	case *expr.Match:
		return s.extension(e), nil
	case *expr.Target:
		switch e.Name {
		case "REJECT", "DROP":
			s.verdict = &expr.Verdict{Kind: expr.VerdictDrop}
		}
	case *expr.Counter, *expr.Log, *expr.Notrack, *expr.Objref:
	default:
		return maybe, nil
	}
	return yes, nil
}

func (s *state) meta(e *expr.Meta) {
	host := binary.NativeEndian
	switch e.Key {
	case expr.MetaKeyNFPROTO:
		s.load(e.Register, []byte{s.family})
	case expr.MetaKeyL4PROTO:
		s.load(e.Register, []byte{s.protocol})
	case expr.MetaKeyPROTOCOL:
		s.load(e.Register, map[byte][]byte{unix.NFPROTO_IPV4: {0x08, 0x00}, unix.NFPROTO_IPV6: {0x86, 0xdd}}[s.family])
	case expr.MetaKeyIIFNAME:
		b := make([]byte, unix.IFNAMSIZ)
		copy(b, s.probe.Interface)
		s.load(e.Register, b)
	case expr.MetaKeyIIF:
		i, err := net.InterfaceByName(s.probe.Interface)
		if err != nil {
			s.forget(e.Register)
			return
		}
		s.load(e.Register, host.AppendUint32(nil, uint32(i.Index)))
	case expr.MetaKeyPKTTYPE:
		kind := byte(unix.PACKET_HOST)
		if s.probe.Destination.IsMulticast() {
			kind = unix.PACKET_MULTICAST
		}
		s.load(e.Register, []byte{kind})
	case expr.MetaKeyMARK:
		s.load(e.Register, make([]byte, 4))
	default:
		s.forget(e.Register)
	}
}

func (s *state) payload(e *expr.Payload) {
	header := map[expr.PayloadBase][]byte{expr.PayloadBaseNetworkHeader: s.network, expr.PayloadBaseTransportHeader: s.transport}[e.Base]
	if end := int(e.Offset + e.Len); end <= len(header) {
		s.load(e.DestRegister, header[e.Offset:end])
		return
	}
	s.forget(e.DestRegister)
}

// ct is that of the first packet of a connection.
func (s *state) ct(e *expr.Ct) {
	switch e.Key {
	case expr.CtKeySTATE:
		s.load(e.Register, binary.NativeEndian.AppendUint32(nil, expr.CtStateBitNEW))
	case expr.CtKeySTATUS, expr.CtKeyMARK:
		s.load(e.Register, make([]byte, 4))
	case expr.CtKeyDIRECTION:
		s.load(e.Register, []byte{0})
	default:
		s.forget(e.Register)
	}
}

// fib is what the routes say: the destination is this host's or a group, and the sender's way
// back is the way that it came.
func (s *state) fib(e *expr.Fib) {
	switch {
	case e.ResultADDRTYPE && e.FlagDADDR:
		kind := uint32(unix.RTN_LOCAL)
		if s.probe.Destination.IsMulticast() {
			kind = unix.RTN_MULTICAST
		}
		s.load(e.Register, binary.NativeEndian.AppendUint32(nil, kind))
	case e.ResultADDRTYPE:
		s.load(e.Register, binary.NativeEndian.AppendUint32(nil, unix.RTN_UNICAST))
	case e.FlagPRESENT:
		s.load(e.Register, []byte{1})
	default:
		s.forget(e.Register)
	}
}

func (s *state) bitwise(e *expr.Bitwise) {
	b, known := s.read(e.SourceRegister, int(e.Len))
	if !known || len(e.Mask) < int(e.Len) || len(e.Xor) < int(e.Len) {
		s.forget(e.DestRegister)
		return
	}
	out := make([]byte, e.Len)
	for i := range out {
		out[i] = b[i]&e.Mask[i] ^ e.Xor[i]
	}
	s.load(e.DestRegister, out)
}

func (s *state) compare(e *expr.Cmp) match {
	b, known := s.read(e.Register, len(e.Data))
	if !known {
		return maybe
	}
	c := bytes.Compare(b, e.Data)
	switch e.Op {
	case expr.CmpOpEq:
		return when(c == 0)
	case expr.CmpOpNeq:
		return when(c != 0)
	case expr.CmpOpLt:
		return when(c < 0)
	case expr.CmpOpLte:
		return when(c <= 0)
	case expr.CmpOpGt:
		return when(c > 0)
	}
	return when(c >= 0)
}

// extension is a match of iptables.
func (s *state) extension(e *expr.Match) match {
	inside := func(r [2]uint16, inverse bool) bool {
		return (s.probe.Port >= r[0] && s.probe.Port <= r[1]) != inverse
	}
	switch info := e.Info.(type) {
	case *xt.Udp:
		if info.SrcPorts != [2]uint16{0, 65535} {
			return maybe
		}
		return when(s.protocol == unix.IPPROTO_UDP && inside(info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0))
	case *xt.Tcp:
		if info.SrcPorts != [2]uint16{0, 65535} {
			return maybe
		}
		return when(s.protocol == unix.IPPROTO_TCP && inside(info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0))
	case *xt.Comment:
		return yes
	case *xt.ConntrackMtinfo3:
		return stateOf(&info.ConntrackMtinfo2)
	case *xt.ConntrackMtinfo2:
		return stateOf(info)
	}
	return maybe
}

// stateOf is a match that is about nothing but the state of a connection, which is new.
func stateOf(info *xt.ConntrackMtinfo2) match {
	const states = 1     // XT_CONNTRACK_STATE
	const fresh = 1 << 3 // XT_CONNTRACK_STATE_BIT(IP_CT_NEW)
	if info.MatchFlags != states {
		return maybe
	}
	return when((info.StateMask&fresh != 0) == (info.InvertFlags&states == 0))
}
