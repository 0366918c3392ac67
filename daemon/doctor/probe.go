package doctor

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// standIn is on the ring's port in place of a broker that does not run here: it sends probes, and
// listens for them, and takes no other part.
type standIn struct {
	link   link.Link
	node   wire.NodeID
	facts  *exam.Facts
	probes exam.Probes
	packet []wire.Packet
}

func (h *host) newStandIn() (*standIn, error) {
	l, err := link.Open(h.ring.Link)
	if err != nil {
		return nil, err
	}
	s := &standIn{link: l, node: h.ring.Node(l.Address()), packet: make([]wire.Packet, 64)}
	l.Know(s.node)
	s.facts = &exam.Facts{Node: uint32(s.node), Host: "the doctor", Member: "this host", Cluster: h.options.ClusterName, Ring: daemon.RingFacts(h.ring)}
	s.facts.Ring.Address = l.Address()
	return s, nil
}

func (s *standIn) close() { s.link.Close() }

// visit is a stand-in as the member that it stands for.
func (s *standIn) visit() *visit {
	v := &visit{address: s.facts.Ring.Address.String(), facts: s.facts}
	return v
}

// listen takes packets for some time.
func (s *standIn) listen(during time.Duration) {
	for end := time.Now().Add(during); ; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		var list []unix.PollFd
		for _, fd := range s.link.FDs() {
			list = append(list, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
		// An error, as a signal, only means that there is nothing yet.
		_, _ = unix.Poll(list, int(left.Milliseconds())+1)
		for n := s.link.Recv(s.packet); n > 0; n = s.link.Recv(s.packet) {
			for i := range s.packet[:n] {
				s.probes.Take(s.packet[i].Data)
				s.packet[i].Release()
			}
		}
	}
}

// Probes are sent some times, as one may be lost, and waited for.
const (
	probeRounds = 4
	probeWait   = 250 * time.Millisecond
)

// probe has all members send probes, and then asks them what came.
func (w *ward) probe() {
	if w.own == nil && w.ring != nil {
		if s, err := w.newStandIn(); err == nil {
			w.standIn = s
		} else {
			w.notices = append(w.notices, "the ring's port cannot be used: "+err.Error())
		}
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	nonce := binary.LittleEndian.Uint64(b[:]) &^ 1
	for range probeRounds {
		w.each(func(v *visit) { v.err = v.conn.Probe(nonce) })
		if w.standIn == nil {
			t := time.NewTimer(probeWait)
			<-t.C
			continue
		}
		w.standIn.link.Send(exam.Datagrams(w.standIn.node, nonce, nil))
		w.standIn.listen(probeWait)
	}
	w.each(func(v *visit) {
		if v.err == nil {
			v.everyone, v.alone, v.err = v.conn.Heard(nonce)
		}
	})
	if w.standIn != nil {
		w.heard.everyone, w.heard.alone = w.standIn.probes.Heard(nonce)
	}
}

// reaches: what each member sends gets to each other.
func (w *ward) reaches() (list []Finding) {
	if w.ring == nil {
		return w.noRing()
	}
	var all []*visit
	for _, v := range w.answered() {
		switch {
		case v.facts.Ring == nil:
		case v.err != nil:
			list = append(list, Finding{Verdict: Unknown, Evidence: fmt.Sprintf("%s does not probe: %v", v.who(), v.err)})
		default:
			all = append(all, v)
		}
	}
	if w.standIn != nil {
		v := w.standIn.visit()
		v.everyone, v.alone = w.heard.everyone, w.heard.alone
		all = append(all, v)
	}
	if len(all) < 2 {
		return append(list, one(Unknown, "there is nobody else to probe with", "--member HOST names a host whose broker runs, and is not found")...)
	}
	for _, from := range all {
		list = append(list, unheard(from, all)...)
	}
	if len(list) == 0 {
		return fine("what each of %d sends to %s gets to all others", len(all), w.ring.Destination())
	}
	return list
}

// unheard is who does not hear a member that has the same ring as they.
func unheard(from *visit, all []*visit) (list []Finding) {
	var deaf, cut []string
	r := from.facts.Ring
	for _, to := range all {
		t := to.facts.Ring
		if to == from || t.Everyone != r.Everyone || t.Transport != r.Transport || t.Protection != r.Protection || t.Key != r.Key {
			continue // the settings are what is to be mended first
		}
		missed := slices.Contains(t.Deaf, r.Address)
		if slices.Contains(to.everyone, from.facts.Node) && !missed {
			continue
		}
		if missed || slices.Contains(to.alone, from.facts.Node) {
			deaf = append(deaf, to.who())
		} else {
			cut = append(cut, to.who())
		}
	}
	if len(deaf) > 0 {
		fix := "turn an IGMP querier on in this network (ip link set BRIDGE type bridge mcast_querier 1), or snooping off; or transport: udpu in corosync.conf"
		list = append(list, Finding{Verdict: Error, Fix: fix, Evidence: fmt.Sprintf("what %s sends to %s does not reach %s, what it sends to each alone does: a switch, or a bridge of virtual machines, with IGMP snooping and no querier", from.who(), r.Everyone, strings.Join(deaf, ", "))})
	}
	if len(cut) > 0 {
		list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("what %s sends to %s does not reach %s", from.who(), r.Everyone, strings.Join(cut, ", ")),
			Fix: fmt.Sprintf("open UDP port %d there (qpid-cluster doctor on those hosts names the rule that drops it); if it is open: multicast between them is filtered, by IGMP snooping without a querier or by the network: a querier, or transport: udpu in corosync.conf", r.Port)})
	}
	return list
}
