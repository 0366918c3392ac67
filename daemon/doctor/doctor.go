package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
)

// Verdict is what a check comes to.
type Verdict string

// Verdicts, in the order of their weight.
const (
	OK      Verdict = "ok"
	Unknown Verdict = "unknown" // it could not be told
	Warning Verdict = "warning" // the broker runs, but not as well as it could, or not for long
	Error   Verdict = "error"   // it does not run, or finds nobody
)

// Finding is what a check has found.
type Finding struct {
	Member   string  `json:"member,omitempty"` // empty: the host that is examined, or all of them
	Check    string  `json:"check"`
	Verdict  Verdict `json:"verdict"`
	Evidence string  `json:"evidence"`
	Fix      string  `json:"fix,omitempty"` // a command, or, where none would do, what to do
	// Safe tells that Fix is a command that harms nothing and can be undone.
	Safe bool `json:"safe"`
}

// Patient is what is examined.
type Patient struct {
	Config  string   // the broker's configuration; empty: of one that is started by hand, without any
	Options []string // further options of the broker, as on its command line
	Listen  time.Duration
	// Inside is set by a broker that examines its own host: what takes root, or to run programs, is
	// left out.
	Inside bool
}

// host is what checks look at.
type host struct {
	Patient
	options *config.Options // nil: they have a mistake
	mistake error
	ring    *ringconf.Setup // nil: stand-alone, corosync's, or it has a mistake
	problem error
	notices []string
	self    netip.Addr
}

// check looks at one thing. What it returns has its name filled in.
type check struct {
	name string
	look func(h *host) []Finding
	root bool // a broker, which has few rights and sees no other processes, leaves it out
}

// checks are all checks, in the order in which they are shown: what later ones depend on is first.
var checks = []check{
	{"configuration", (*host).configuration, false},
	{"ring configuration", (*host).ringConfiguration, false},
	{"interface", (*host).networkInterface, false},
	{"mtu", (*host).mtu, false},
	{"igmp snooping", (*host).snooping, false},
	{"firewall", (*host).firewall, false},
	{"firewall leftovers", (*host).leftovers, false},
	{"ports", (*host).ports, true},
	{"ring traffic", (*host).traffic, true},
	{"corosync", (*host).corosync, true},
	{"identity", (*host).identity, false},
	{"data directory", (*host).dataDirectory, false},
	{"disk space", (*host).diskSpace, false},
	{"store", (*host).store, false},
	{"users", (*host).users, false},
	{"service", (*host).service, true},
	{"selinux", (*host).selinux, false},
	{"clock", (*host).clock, false},
	{"limits", (*host).limits, false},
	{"cluster size", (*host).clusterSize, false},
	{"kernel", (*host).kernel, false},
}

// Examine runs all checks.
func Examine(p Patient) (list []Finding) {
	h := &host{Patient: p}
	h.read()
	for _, c := range checks {
		if c.root && p.Inside {
			continue
		}
		for _, f := range c.look(h) {
			f.Check = c.name
			list = append(list, f)
		}
	}
	return list
}

// Own examines the host of a broker that asks for it, with the options that the broker was started with.
func Own(config string, arguments []string) (json.RawMessage, error) {
	return json.Marshal(Examine(Patient{Config: config, Options: arguments, Inside: true}))
}

// read reads the configuration as the broker does.
func (h *host) read() {
	arguments := h.Options
	if h.Config != "" {
		arguments = append([]string{"--config=" + h.Config}, arguments...)
	}
	if h.options, h.mistake = config.Load(arguments, os.Environ()); h.mistake != nil || h.options.ClusterName == "" || h.options.Provider == config.Corosync {
		return
	}
	h.ring, h.problem = ringconf.Load(h.options, func(notice string) { h.notices = append(h.notices, notice) })
	if h.problem != nil {
		h.ring = nil
		return
	}
	h.self = h.ring.At.Address
}

// one is a single finding.
func one(v Verdict, evidence, fix string) []Finding {
	return []Finding{{Verdict: v, Evidence: evidence, Fix: fix}}
}

// safely is one whose fix is safe.
func safely(v Verdict, evidence, fix string) []Finding {
	return []Finding{{Verdict: v, Evidence: evidence, Fix: fix, Safe: true}}
}

func fine(format string, a ...any) []Finding { return one(OK, fmt.Sprintf(format, a...), "") }

// mendLimit is how long a fix may take: enabling a service that waits for others is the longest.
const mendLimit = 2 * time.Minute

// Mend runs the fix of a finding, if it is safe.
func Mend(f *Finding) (output string, err error) {
	if !f.Safe || f.Fix == "" {
		return "", fmt.Errorf("doctor: %s has no fix that is safe to run", f.Check)
	}
	ctx, cancel := context.WithTimeout(context.Background(), mendLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", f.Fix).CombinedOutput()
	return string(out), err
}
