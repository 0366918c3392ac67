package conf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// fail is a mistake at a directive or a section, by its path.
func (p *parser) fail(path, format string, args ...any) error {
	return &Error{p.c.File, p.c.lines[path], fmt.Sprintf(format, args...)}
}

// finish looks at how what the file says fits together.
func (p *parser) finish() error {
	for _, check := range []func() error{
		func() error { return p.unprotected },
		p.finishVersion, p.finishTransport, p.finishCrypto, p.finishInterfaces, p.finishNodes, p.finishTimes, p.finishQuorum,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) finishVersion() error {
	switch {
	case !p.c.Given("totem"):
		return p.fail("", "there is no section totem: add one, with version: 2 in it")
	case p.c.Totem.Version != 2 && p.c.Given("totem.version"):
		return p.fail("totem.version", "totem.version is %d, and must be 2", p.c.Totem.Version)
	case p.c.Totem.Version != 2:
		return p.fail("totem", "section totem has no version: add version: 2")
	}
	return nil
}

// finishTransport finds the transport of a file that names none, and what else hangs on it.
func (p *parser) finishTransport() error {
	t := &p.c.Totem
	switch {
	case t.Transport != "":
	case len(p.c.Nodes) > 0:
		t.Transport = KNET
	default:
		t.Transport = UDP
		p.notice(p.c.lines["totem"], "totem.transport is not given: udp, as before corosync 3, since there is no nodelist")
	}
	if t.IPVersion == "" {
		t.IPVersion = "ipv6-4"
		if t.Transport == UDP {
			t.IPVersion = "ipv4"
		}
	}
	if t.NetMTU == 0 {
		t.NetMTU = 1500
		if t.Transport == KNET {
			t.NetMTU = 65536
		}
	}
	if t.Transport == KNET {
		return nil
	}
	for _, path := range slices.Sorted(maps.Keys(p.c.lines)) {
		if strings.HasPrefix(last(path), "knet_") || path == "totem.link_mode" {
			p.notice(p.c.lines[path], "%s is of transport knet, and has no effect with %s", path, t.Transport)
		}
	}
	return nil
}

// finishCrypto works out secauth.
func (p *parser) finishCrypto() error {
	c := &p.c.Totem.Crypto
	if p.secauth && !p.c.Given("totem.crypto_cipher") {
		c.Cipher = "aes256"
	}
	if p.secauth && !p.c.Given("totem.crypto_hash") {
		c.Hash = "sha256"
	}
	if c.Cipher != "none" && c.Hash == "none" {
		return p.fail("totem.crypto_cipher", "totem.crypto_cipher is %s without a crypto_hash: add one, as in crypto_hash: sha256", c.Cipher)
	}
	if len(p.c.Nodes) == 0 && !p.c.Given("totem.secauth") && !c.Enabled() {
		p.notice(p.c.lines["totem"], "totem.secauth is not given: off, as with corosync 3; with openais and corosync 1 it was on")
	}
	if c.Key == "" || !c.Enabled() {
		return nil
	}
	if p.c.Given("totem.keyfile") {
		p.notice(p.c.lines["totem.key"], "totem.key has no effect, as there is a keyfile")
	} else if n := len(c.Key); n < MinKeyBytes || n > MaxKeyBytes {
		return p.fail("totem.key", "totem.key has %d bytes, and must have %d to %d", n, MinKeyBytes, MaxKeyBytes)
	}
	return nil
}

func (p *parser) finishInterfaces() error {
	for _, i := range p.c.Interfaces {
		at := func(name string) string { return fmt.Sprintf("totem.interface.%d.%s", i.Link, name) }
		switch transport := p.c.Totem.Transport; {
		case transport == UDP && i.Link > 0 && i.ring:
			p.notice(p.c.lines[at("ringnumber")], "ring %d is not used: corosync 3 has no redundant rings any more, and neither has the broker", i.Link)
		case transport != KNET && i.Link > 0:
			return p.fail(at("linknumber"), "link %d: transport %s has link 0 only; remove this interface", i.Link, transport)
		case transport != UDP && i.TTL != 1:
			return p.fail(at("ttl"), "ttl is of transport udp: remove it, as the transport is %s", transport)
		case transport == UDP && i.Broadcast && i.BindNetAddr.Is6():
			return p.fail(at("broadcast"), "IPv6, which bindnetaddr is of, has no broadcast: remove it, and give a mcastaddr")
		case i.Broadcast && i.McastAddr.IsValid():
			p.notice(p.c.lines[at("mcastaddr")], "mcastaddr has no effect, as broadcast is yes")
		case i.McastAddr.IsValid() && i.BindNetAddr.IsValid() && i.McastAddr.Is6() != i.BindNetAddr.Is6():
			return p.fail(at("mcastaddr"), "mcastaddr %s and bindnetaddr %s are of different families: make both IPv4 or both IPv6", i.McastAddr, i.BindNetAddr)
		}
	}
	return nil
}

// maxKnetNode is what node ids are below with knet.
const maxKnetNode = 65536

func (p *parser) finishNodes() error {
	c := p.c
	if len(c.Nodes) == 0 && c.Totem.Transport != UDP && len(c.Interface(0).Members) == 0 {
		return p.fail("totem.transport", "transport %s needs a nodelist: add one with every node in it", c.Totem.Transport)
	}
	ids := map[uint32]string{}
	for i, n := range c.Nodes {
		path := fmt.Sprintf("nodelist.node.%d", i)
		if n.Addrs[0] == "" {
			return p.fail(path, "this node has no ring0_addr: add its address on the ring's network")
		}
		a, err := netip.ParseAddr(n.Addrs[0])
		switch {
		case n.ID == 0 && c.Totem.Transport == KNET:
			return p.fail(path, "this node has no nodeid, which transport knet needs: add one, different for each node")
		case c.Totem.Transport == KNET && n.ID >= maxKnetNode:
			return p.fail(path+".nodeid", "nodeid %d: with transport knet it must be below %d", n.ID, maxKnetNode)
		case n.ID == 0 && err == nil && a.Is6():
			return p.fail(path, "this node has no nodeid, which an IPv6 address needs: add one, different for each node")
		}
		id := n.ID
		if id == 0 && err == nil {
			id = NodeID(a, c.Totem.ClearNodeHighBit)
		}
		if before, found := ids[id]; found && id != 0 {
			return p.fail(path, "this node has nodeid %d, and so has that of %s: give each its own", id, before)
		}
		ids[id] = fmt.Sprintf("line %d", c.lines[path])
	}
	return nil
}

// The shortest that corosync takes.
const (
	minTime = 30 * time.Millisecond
	minHold = 14 * time.Millisecond
)

func (p *parser) finishTimes() error {
	c, d := p.c, p.c.Times(0)
	for _, t := range []struct {
		name       string
		d, least   time.Duration
		followFrom string
	}{
		{"token", d.Token, minTime, ""},
		{"token_retransmit", d.TokenRetransmit, minTime, "token / (token_retransmits_before_loss_const + 0.2)"},
		{"hold", d.Hold, minHold, "token_retransmit * 0.8 - 10 ms"},
		{"join", d.Join, minTime, ""},
		{"consensus", d.Consensus, minTime, "token * 1.2"},
		{"merge", d.Merge, minTime, ""},
		{"downcheck", c.Totem.Downcheck, minTime, ""},
		{"max_network_delay", c.Totem.MaxNetworkDelay, minTime, ""},
	} {
		path := "totem." + t.name
		switch {
		case t.d >= t.least:
		case c.Given(path):
			return p.fail(path, "%s is %v, and must be %v at the least", path, t.d, t.least)
		default:
			return p.fail("totem.token", "%s is %v, as it is %s, and must be %v at the least: give a longer token", path, t.d, t.followFrom, t.least)
		}
	}
	if given := c.Totem.Consensus; given != 0 && given < d.Token {
		p.notice(c.lines["totem.consensus"], "totem.consensus is %v, less than the token's timeout, which is %v: %v is used, 1.2 times that", given, d.Token, d.Consensus)
	}
	if d.Consensus < d.Join {
		return p.fail("totem.join", "totem.join is %v, and must not be more than consensus, which is %v", d.Join, d.Consensus)
	}
	return nil
}

// finishQuorum refuses what votequorum refuses.
func (p *parser) finishQuorum() error {
	c, q := p.c, &p.c.Quorum
	if !c.Given("quorum.wait_for_all") {
		q.WaitForAll = q.TwoNode
	}
	if q.AllowDownscale {
		q.ExpectedVotesTracking = true
	}
	device := q.Device != nil && q.Device.Model != ""
	odd := c.ExpectedVotes()%2 == 1
	switch {
	case q.Provider == "" && c.Given("quorum"):
		p.notice(c.lines["quorum"], "section quorum has no effect without a provider (corosync_votequorum)")
	case q.Provider == "":
	case c.ExpectedVotes() == 0:
		return p.fail("quorum.provider", "votequorum has to know how many votes there are: add expected_votes, or a nodelist")
	case device && q.TwoNode:
		return p.fail("quorum.two_node", "two_node and a quorum device exclude each other: remove one of them")
	case device && q.LastManStanding:
		return p.fail("quorum.last_man_standing", "last_man_standing and a quorum device exclude each other: remove one of them")
	case device && q.AutoTieBreaker:
		return p.fail("quorum.auto_tie_breaker", "auto_tie_breaker and a quorum device exclude each other: remove one of them")
	case device && q.AllowDownscale:
		return p.fail("quorum.allow_downscale", "allow_downscale and a quorum device exclude each other: remove one of them")
	case q.AutoTieBreaker && odd && !q.WaitForAll && q.LastManStanding:
		return p.fail("quorum.auto_tie_breaker", "auto_tie_breaker with last_man_standing and an odd number of votes needs wait_for_all: add wait_for_all: 1")
	case q.TwoNode && q.AutoTieBreaker:
		q.TwoNode = false
		p.notice(c.lines["quorum.two_node"], "two_node and auto_tie_breaker exclude each other: two_node is off, as with corosync")
	}
	return nil
}
