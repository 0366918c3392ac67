package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	machine "github.com/qpidd-cluster/qpidd-cluster/host"
)

// The domain of the daemon, and the type of its data, as the policy module has them.
const (
	daemonDomain = "qpidd_t"
	dataType     = "qpidd_var_lib_t"
)

// corosyncDomains are corosync's, in Debian's policy and in Fedora's.
var corosyncDomains = []string{"corosync_t", "cluster_t"}

const startedByHand = "install qpidd-cluster-selinux, restorecon -v /usr/sbin/qpidd, and start it with systemctl start qpidd"

// selinux: the mode, the domain of brokers that run, and the labels of what they need.
func (h *host) selinux() (list []Finding) {
	mode := number("/sys/fs/selinux/enforce")
	if mode < 0 {
		return fine("it is not in this kernel, or off")
	}
	weight, word := Error, "enforcing"
	if mode == 0 {
		weight, word = Warning, "permissive"
	}
	if h.Inside { // it may look at nothing but itself
		if d := machine.Domain(); d != daemonDomain {
			return one(weight, fmt.Sprintf("%s, and the broker runs in domain %s, not in %s", word, d, daemonDomain), startedByHand)
		}
		return fine("%s; the broker runs in domain %s", word, daemonDomain)
	}
	for _, pid := range processes("qpidd") {
		if context := contextOf(pid); context != "" && typeOf(context) != daemonDomain {
			list = append(list, Finding{Verdict: weight, Evidence: fmt.Sprintf("qpidd, process %s, runs as %s, not in domain %s: it was started by hand, or the policy is not there", pid, context, daemonDomain),
				Fix: startedByHand})
		}
	}
	for _, pid := range processes("corosync") {
		if context := contextOf(pid); context != "" && !slices.Contains(corosyncDomains, typeOf(context)) {
			list = append(list, Finding{Verdict: Warning, Evidence: fmt.Sprintf("corosync, process %s, runs as %s, not in a domain of its own: it was started by hand, and confined brokers may not connect to it", pid, context),
				Fix: "stop it, and systemctl start corosync"})
		}
	}
	for _, name := range []string{"/usr/sbin/qpidd", systemDataDir} {
		want, err := exec.Command("matchpathcon", "-n", name).Output()
		if _, there := os.Lstat(name); err != nil || there != nil {
			continue
		}
		have := label(name)
		if typeOf(string(want)) != typeOf(have) {
			list = append(list, Finding{Verdict: weight, Safe: true, Evidence: fmt.Sprintf("%s is labelled %s, not %s", name, have, strings.TrimSpace(string(want))),
				Fix: "restorecon -R " + name})
		}
	}
	if label(systemDataDir) != "" && typeOf(label(systemDataDir)) != dataType {
		list = append(list, Finding{Verdict: Warning, Evidence: "the policy module qpidd is not loaded: the broker is not confined by SELinux", Fix: "install qpidd-cluster-selinux"})
	}
	if len(list) == 0 {
		return fine("%s; brokers and their files are labelled as they are to be", word)
	}
	return list
}

// contextOf is a process's, or empty if it cannot be told.
func contextOf(pid string) string {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "attr/current"))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b), "\x00\n")
}
