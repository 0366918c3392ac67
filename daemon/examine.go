package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/reach"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Examiner examines the broker's own host, as a doctor would.
type Examiner func() (json.RawMessage, error)

// ExaminedBy says who does that when a doctor of another host asks.
func (b *Broker) ExaminedBy(e Examiner) { b.examiner.Store(&e) }

// examinee is a broker as a doctor of this or of another host sees it.
type examinee struct{ *Broker }

// examined answers a doctor that has connected to the members' port.
func (b *Broker) examined(c net.Conn) error {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return err
	}
	from := at.Addr().Unmap()
	if !b.mayExamine(from) {
		return fmt.Errorf("a doctor at %s is not answered: no member can be there", from)
	}
	return exam.Serve(c, &examinee{b})
}

// mayExamine tells whether a member could be at an address, or already is.
func (b *Broker) mayExamine(from netip.Addr) bool {
	if from.IsLoopback() || b.ring != nil && reachable(b.ring).Admits(from) {
		return true
	}
	s := b.status.Load()
	if s == nil {
		return false
	}
	for i := range s.Members {
		if m, err := netip.ParseAddrPort(s.Members[i].Mesh); err == nil && m.Addr().Unmap() == from {
			return true
		}
	}
	return false
}

func reachable(ring *ringconf.Setup) *reach.Reach {
	return &reach.Reach{Ring: ring, At: netip.AddrPortFrom(ring.At.Address, ring.Link.Port)}
}

// errEnding is said to doctors that come while the broker ends.
var errEnding = errors.New("the broker is ending")

// turn has the engine do something, unless it has stopped.
func (b *Broker) turn(do func()) error {
	done := make(chan struct{})
	b.engine.tell(message{kind: msgDo, do: func(time.Duration) {
		do()
		close(done)
	}})
	select {
	case <-done:
		return nil
	case <-b.stopped:
		return errEnding
	}
}

// Facts implements exam.Member.
func (p *examinee) Facts() (*exam.Facts, error) {
	s := p.status.Load()
	if s == nil {
		return nil, errors.New("the broker has just begun")
	}
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	f := &exam.Facts{Host: name, Version: Version, Member: memberText(uint64(p.self)), Node: uint32(p.self >> 32),
		Cluster: p.opts.ClusterName, ClusterID: s.ID.String(), State: s.State.String()}
	for i := range s.Members {
		m := &s.Members[i]
		f.Members = append(f.Members, exam.Peer{Member: memberText(uint64(m.ID)), Mesh: m.Mesh, State: m.State.String()})
	}
	if p.store != nil {
		f.Store = &exam.Store{Cluster: s.ID.String(), Journal: journal.FormatVersion}
	}
	if p.ring == nil {
		return f, nil
	}
	own := p.provider.(*ownRing)
	f.Ring = RingFacts(p.ring)
	return f, p.turn(func() {
		f.Ring.Address = own.link.Address()
		f.Ring.Deaf = own.link.Trouble().Deaf
	})
}

// memberText is a member as the log and qpid-cluster have it.
func memberText(id uint64) string { return fmt.Sprintf("%d:%d", id>>32, uint32(id)) }

// RingFacts is what a doctor compares of members' rings.
func RingFacts(s *ringconf.Setup) *exam.Ring {
	full := s.Totem.WithDefaults()
	r := &exam.Ring{Address: netip.AddrPortFrom(s.At.Address, s.Link.Port), Transport: string(s.Link.Transport), Everyone: s.Destination(),
		Port: s.Link.Port, NetMTU: full.NetMTU, Token: full.Token.Milliseconds(), Consensus: full.Consensus.Milliseconds(),
		Protection: "none", Key: exam.Sum(s.Link.Crypto.Key)}
	switch {
	case len(s.Link.Crypto.Key) == 0:
	case s.Link.Transport == link.Knet:
		r.Protection = s.Link.Crypto.Cipher + " and " + s.Link.Crypto.Hash
	default:
		r.Protection = "AES-256-GCM"
	}
	return r
}

// errCorosync is said where the ring's packets are not the broker's.
var errCorosync = errors.New("corosync carries the ring: corosync-cfgtool -s shows its links")

// Probe implements exam.Member.
func (p *examinee) Probe(nonce uint64) error {
	own, ok := p.provider.(*ownRing)
	if !ok {
		return errCorosync
	}
	return p.turn(func() {
		self := own.Self().Node
		others := slices.DeleteFunc(slices.Clone(own.RingMembers()), func(n wire.NodeID) bool { return n == self })
		own.link.Send(exam.Datagrams(self, nonce, others))
	})
}

// Heard implements exam.Member.
func (p *examinee) Heard(nonce uint64) (everyone, alone []uint32, err error) {
	own, ok := p.provider.(*ownRing)
	if !ok {
		return nil, nil, errCorosync
	}
	err = p.turn(func() { everyone, alone = own.probes.Heard(nonce) })
	return everyone, alone, err
}

// Findings implements exam.Member. One examination is made at a time.
func (p *examinee) Findings() (json.RawMessage, error) {
	examine := p.examiner.Load()
	if examine == nil {
		return nil, errors.New("the broker has just begun")
	}
	p.examining.Lock()
	defer p.examining.Unlock()
	return (*examine)()
}
