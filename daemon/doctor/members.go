package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// visit is a member that is asked over its port for members.
type visit struct {
	address string
	conn    *exam.Conn
	facts   *exam.Facts // nil: it does not answer, err says why
	err     error

	offset, trip    time.Duration // of its clock
	clockErr        error
	everyone, alone []uint32 // nodes whose probes have come to it
}

// who names a member: its address, and its host.
func (v *visit) who() string {
	at := v.address
	if a, err := netip.ParseAddrPort(at); err == nil {
		at = a.Addr().String()
	}
	if v.facts == nil || v.facts.Host == "" {
		return at
	}
	return fmt.Sprintf("%s (%s, %s)", at, v.facts.Host, v.facts.Member)
}

// ward is all members that could be found.
type ward struct {
	*host
	own     *visit   // this host's; nil: no broker runs here
	visits  []*visit // its own is the first
	standIn *standIn
	heard   struct{ everyone, alone []uint32 } // by the stand-in
}

// question looks at one thing that members have in common, or have between them.
type question struct {
	name string
	look func(w *ward) []Finding
}

// questions are what is asked when all members are examined.
var questions = []question{
	{"members", (*ward).answers},
	{"cluster names", (*ward).names},
	{"cluster ids", (*ward).identities},
	{"versions", (*ward).versions},
	{"journal versions", (*ward).journals},
	{"ring settings", (*ward).settings},
	{"clocks", (*ward).clocks},
	{"ring reach", (*ward).reaches},
}

// visitTime is how long a member may take to answer, with all its checks.
const visitTime = 50 * time.Second

// ExamineAll examines this host, and every member that can be found: those that this host's broker
// knows of, those of the configuration, and the ones that are named, as HOST or HOST:PORT of its
// port for members. What comes of comparing them is first.
func ExamineAll(p Patient, named []string) (list []Finding) {
	h := &host{Patient: p}
	h.read()
	ctx, cancel := context.WithTimeout(context.Background(), visitTime)
	defer cancel()
	w := &ward{host: h}
	w.find(ctx, named)
	defer w.close()
	for _, q := range questions {
		for _, f := range q.look(w) {
			f.Check = q.name
			list = append(list, f)
		}
	}
	for _, f := range Examine(p) {
		f.Member = "this host"
		list = append(list, f)
	}
	return append(list, w.examine()...)
}

func (w *ward) close() {
	for _, v := range w.visits {
		if v.conn != nil {
			v.conn.Close()
		}
	}
	if w.standIn != nil {
		w.standIn.close()
	}
}

// find visits members, and whom they know of.
func (w *ward) find(ctx context.Context, named []string) {
	seen := map[string]bool{}
	for _, at := range w.ownAddresses() {
		seen[at] = true
		if v := newVisit(ctx, at); v.facts != nil && v.facts.Cluster == w.clusterName() {
			w.own = v
			w.visits = append(w.visits, v)
			break
		}
	}
	var next []string
	for _, at := range named {
		next = append(next, w.withPort(at))
	}
	if w.ring != nil {
		for _, a := range w.ring.Link.Peers {
			next = append(next, netip.AddrPortFrom(a.Addr(), uint16(w.options.MeshPort)).String())
		}
	}
	if w.own != nil {
		next = append(next, w.own.known()...)
	}
	for len(next) > 0 && len(w.visits) < wire.MaxMembers {
		var more []string
		for _, v := range visitAll(ctx, next, seen) {
			if v.facts != nil && slices.ContainsFunc(w.visits, func(o *visit) bool { return o.facts != nil && o.facts.Member == v.facts.Member }) {
				v.conn.Close()
				continue
			}
			w.visits = append(w.visits, v)
			more = append(more, v.known()...)
		}
		next = more
	}
	w.ask()
}

func (w *ward) clusterName() string {
	if w.options == nil {
		return ""
	}
	return w.options.ClusterName
}

// withPort gives an address the port for members that this host's configuration has.
func (w *ward) withPort(at string) string {
	if _, _, err := net.SplitHostPort(at); err == nil || w.options == nil {
		return at
	}
	return net.JoinHostPort(at, strconv.Itoa(w.options.MeshPort))
}

// ownAddresses are where this host's broker may listen for members: at the port of the
// configuration, else at any that a qpidd has.
func (w *ward) ownAddresses() (list []string) {
	if w.options == nil {
		return nil
	}
	addresses := []string{w.self.String()}
	if !w.self.IsValid() {
		all, err := net.InterfaceAddrs()
		if err != nil {
			return nil
		}
		addresses = addresses[:0]
		for _, a := range all {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				addresses = append(addresses, p.Addr().String())
			}
		}
	}
	ports := []int{w.options.MeshPort}
	if w.options.MeshPort == 0 {
		ports = nil
		for port, names := range listeners("tcp", "tcp6") {
			if port != w.options.Port && slices.Contains(names, "qpidd") {
				ports = append(ports, port)
			}
		}
		slices.Sort(ports)
	}
	for _, a := range addresses {
		for _, port := range ports {
			list = append(list, net.JoinHostPort(a, strconv.Itoa(port)))
		}
	}
	return list
}

// visitAll visits those that were not seen yet, side by side.
func visitAll(ctx context.Context, addresses []string, seen map[string]bool) (list []*visit) {
	var fresh []string
	for _, at := range addresses {
		if at != "" && !seen[at] {
			seen[at] = true
			fresh = append(fresh, at)
		}
	}
	list = make([]*visit, len(fresh))
	var all sync.WaitGroup
	for i, at := range fresh {
		all.Go(func() { list[i] = newVisit(ctx, at) })
	}
	all.Wait()
	return list
}

func newVisit(ctx context.Context, at string) *visit {
	v := &visit{address: at}
	const greeting = 5 * time.Second
	short, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	if v.conn, v.err = exam.Dial(short, at); v.err != nil {
		return v
	}
	if v.facts, v.err = v.conn.Facts(); v.err == nil {
		// Somebody is there, who has time for all else.
		end, _ := ctx.Deadline()
		v.err = v.conn.Until(end)
	}
	if v.err != nil {
		v.facts = nil
		v.conn.Close()
		v.conn = nil
	}
	return v
}

// known are the addresses of those whom a member knows of.
func (v *visit) known() (list []string) {
	if v.facts == nil {
		return nil
	}
	for _, m := range v.facts.Members {
		list = append(list, m.Mesh)
	}
	return list
}

// each does something with all who have answered, side by side.
func (w *ward) each(do func(v *visit)) {
	var all sync.WaitGroup
	for _, v := range w.visits {
		if v.facts != nil {
			all.Go(func() { do(v) })
		}
	}
	all.Wait()
}

// ask reads their clocks, one after the other so that none waits for another, and has them send
// and listen for probes.
func (w *ward) ask() {
	for _, v := range w.visits {
		if v.facts != nil {
			v.offset, v.trip, v.clockErr = v.conn.Clock()
		}
	}
	w.probe()
}

// examine has the others run their checks.
func (w *ward) examine() (list []Finding) {
	lists := map[*visit][]Finding{}
	var mu sync.Mutex
	w.each(func(v *visit) {
		if v == w.own {
			return
		}
		var found []Finding
		text, err := v.conn.Findings()
		if err == nil {
			err = json.Unmarshal(text, &found)
		}
		if err != nil {
			found = []Finding{{Check: "members", Verdict: Unknown, Evidence: "it does not tell how it is: " + err.Error(), Fix: "qpid-cluster doctor on that host"}}
		}
		mu.Lock()
		lists[v] = found
		mu.Unlock()
	})
	for _, v := range w.visits {
		for _, f := range lists[v] {
			f.Member, f.Safe = v.who(), false // what mends it is for that host
			list = append(list, f)
		}
	}
	return list
}
