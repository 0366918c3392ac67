package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/exam"
)

// answered are those who have.
func (w *ward) answered() (list []*visit) {
	for _, v := range w.visits {
		if v.facts != nil {
			list = append(list, v)
		}
	}
	return list
}

// differ tells who has what of something that all should have in common; empty: they do.
func differ(list []*visit, of func(*visit) string) string {
	var values []string
	who := map[string][]string{}
	for _, v := range list {
		x := of(v)
		if who[x] == nil {
			values = append(values, x)
		}
		who[x] = append(who[x], v.who())
	}
	if len(values) < 2 {
		return ""
	}
	var parts []string
	for _, x := range values {
		parts = append(parts, fmt.Sprintf("%s at %s", x, strings.Join(who[x], ", ")))
	}
	return strings.Join(parts, "; ")
}

// answers: who could be asked.
func (w *ward) answers() (list []Finding) {
	if w.options == nil {
		return one(Unknown, "the configuration has a mistake", "")
	}
	if w.own == nil {
		list = append(list, Finding{Verdict: Warning, Fix: "systemctl start qpidd",
			Evidence: fmt.Sprintf("no broker of cluster %q runs on this host, or it does not answer: the doctor probes the ring in its place", w.clusterName())})
	}
	var names []string
	for _, v := range w.visits {
		if v.facts == nil {
			list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("no broker answers at %s: %v", v.address, v.err),
				Fix: "systemctl start qpidd on that host; if it runs: qpid-cluster doctor there, and its mesh-port the same as here, and open"})
			continue
		}
		names = append(names, v.who())
	}
	if len(list) == 0 {
		return fine("%d answer: %s", len(names), strings.Join(names, ", "))
	}
	return list
}

// names: brokers of one cluster have one name.
func (w *ward) names() []Finding {
	all := w.answered()
	if text := differ(all, func(v *visit) string { return fmt.Sprintf("%q", v.facts.Cluster) }); text != "" {
		return one(Error, "the names of clusters differ: "+text, "the same cluster-name=NAME in qpidd.conf on every host, and systemctl restart qpidd")
	}
	for _, v := range all {
		if v.facts.Cluster != w.clusterName() {
			return one(Error, fmt.Sprintf("members are of cluster %q, and this host is configured for %q", v.facts.Cluster, w.clusterName()),
				fmt.Sprintf("cluster-name=%s in qpidd.conf, and systemctl restart qpidd", v.facts.Cluster))
		}
	}
	return fine("all are of cluster %s", w.clusterName())
}

// identities: a name may have been founded twice.
func (w *ward) identities() (list []Finding) {
	byName := map[string][]*visit{}
	var names []string
	for _, v := range w.answered() {
		if byName[v.facts.Cluster] == nil {
			names = append(names, v.facts.Cluster)
		}
		byName[v.facts.Cluster] = append(byName[v.facts.Cluster], v)
	}
	for _, name := range names {
		if text := differ(byName[name], func(v *visit) string { return v.facts.ClusterID }); text != "" {
			list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("there are several clusters %s, which have not found each other: %s", name, text),
				Fix: "let them reach each other, by ring settings and ring reach above and below; then stop the brokers whose messages are to go, qpid-cluster store --clear DATADIR, and start them"})
		}
	}
	if len(list) == 0 {
		return fine("all are of the one cluster of that name")
	}
	return list
}

// versions of the broker.
func (w *ward) versions() []Finding {
	if text := differ(w.answered(), func(v *visit) string { return v.facts.Version }); text != "" {
		return one(Warning, "versions differ: "+text, "upgrade the package qpidd-cluster on those that are behind, one host after the other")
	}
	return fine("all have the same")
}

// journals: a member that keeps an older format cannot read what a newer one has written, should its
// disk be moved there.
func (w *ward) journals() []Finding {
	var stored []*visit
	for _, v := range w.answered() {
		if v.facts.Store != nil {
			stored = append(stored, v)
		}
	}
	if len(stored) > 0 && len(stored) < len(w.answered()) {
		return one(Warning, "some members keep nothing on disk: "+differ(w.answered(), func(v *visit) string {
			return map[bool]string{true: "a store", false: "none"}[v.facts.Store != nil]
		}), "data-dir or no-data-dir the same on every host")
	}
	if text := differ(stored, func(v *visit) string { return fmt.Sprintf("format %d", v.facts.Store.Journal) }); text != "" {
		return one(Warning, "journals differ: "+text, "upgrade the package qpidd-cluster on those that are behind, one host after the other")
	}
	return fine("all have the same")
}

// A setting is one of the ring's that members have in common, or else do not find each other, or
// not at once.
type setting struct {
	name   string
	weight Verdict
	of     func(*exam.Ring) string
	fix    string
}

var settings = []setting{
	{"transport", Error, func(r *exam.Ring) string { return r.Transport }, "the same transport in corosync.conf on every host"},
	{"group and port", Error, func(r *exam.Ring) string { return r.Everyone }, "the same cluster-name, mcastaddr and mcastport on every host"},
	{"encryption", Error, func(r *exam.Ring) string { return r.Protection }, "the same secauth, crypto_cipher and crypto_hash in corosync.conf on every host"},
	{"key", Error, func(r *exam.Ring) string { return "key " + r.Key }, "copy one host's /etc/corosync/authkey to the others"},
	{"netmtu", Warning, func(r *exam.Ring) string { return fmt.Sprintf("netmtu %d", r.NetMTU) }, "the same MTU of the interface, and netmtu in corosync.conf, on every host"},
	{"token and consensus", Warning, func(r *exam.Ring) string { return fmt.Sprintf("%d and %d ms", r.Token, r.Consensus) }, "the same token and consensus in corosync.conf or qpidd.conf on every host"},
}

// settings: of the ring.
func (w *ward) settings() (list []Finding) {
	var rings []*visit
	for _, v := range w.answered() {
		if v.facts.Ring != nil {
			rings = append(rings, v)
		}
	}
	switch {
	case len(rings) < len(w.answered()) && len(rings) > 0:
		return one(Error, "some members have a ring of their own, and some use corosync's: "+differ(w.answered(), func(v *visit) string {
			return map[bool]string{true: "their own", false: "corosync's"}[v.facts.Ring != nil]
		}), "the same ring-provider in qpidd.conf on every host")
	case len(rings) == 0:
		return fine("corosync has them")
	}
	if w.own == nil && w.standIn != nil {
		rings = append(rings, w.standIn.visit())
	}
	for _, s := range settings {
		if text := differ(rings, func(v *visit) string { return s.of(v.facts.Ring) }); text != "" {
			list = append(list, Finding{Verdict: s.weight, Evidence: s.name + " differ: " + text, Fix: s.fix})
		}
	}
	if len(list) == 0 {
		return fine("all have the same: %s, %s, encryption %s, netmtu %d", rings[0].facts.Ring.Transport, rings[0].facts.Ring.Everyone, rings[0].facts.Ring.Protection, rings[0].facts.Ring.NetMTU)
	}
	return list
}

// mostSkew is how far clocks may be apart before their logs cannot be laid side by side, and the
// expiry of messages differs by who serves a queue.
const mostSkew = 250 * time.Millisecond

// clocks: those of members against this host's, give or take half a round trip.
func (w *ward) clocks() (list []Finding) {
	most, within := time.Duration(0), time.Duration(0)
	for _, v := range w.answered() {
		if v.clockErr != nil {
			list = append(list, Finding{Verdict: Unknown, Evidence: fmt.Sprintf("the clock of %s could not be read: %v", v.who(), v.clockErr)})
			continue
		}
		if v.offset.Abs()-v.trip/2 > mostSkew {
			list = append(list, Finding{Verdict: Warning, Evidence: fmt.Sprintf("the clock of %s is %s this host's, give or take %v", v.who(), apart(v.offset), v.trip/2),
				Fix: "timedatectl set-ntp true on both hosts, with systemd-timesyncd or chrony installed"})
		}
		most, within = max(most, v.offset.Abs()), max(within, v.trip/2)
	}
	if len(list) == 0 {
		return fine("none is further than %v from this host's, give or take %v", most.Round(time.Microsecond), within.Round(time.Microsecond))
	}
	return list
}

// apart says by how much a clock is ahead.
func apart(offset time.Duration) string {
	word := "ahead of"
	if offset < 0 {
		word = "behind"
	}
	return fmt.Sprintf("%v %s", offset.Abs().Round(time.Millisecond), word)
}
