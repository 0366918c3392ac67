package interop

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const (
	hosts           = 3
	namespacePrefix = "qpidd-interop-"
	multicastGroup  = "239.255.78.1"
	// token is corosync's token timeout and ours, in milliseconds; the time until a death is
	// acted upon is this and the consensus timeout, 1.2 of it. On a machine that is busy with
	// other things all processes have been seen to rest for a second, which is no death.
	token = 2000
)

// network is a namespace for each host and one with the bridge between them.
type network struct {
	t      testing.TB
	prefix string
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	sweep(t)
	w := &network{t: t, prefix: fmt.Sprintf("%s%d-", namespacePrefix, os.Getpid())}
	t.Cleanup(func() {
		for i := range hosts + 1 {
			_ = exec.Command("ip", "netns", "del", w.host(i)).Run() // it may not have been made
		}
	})
	bridge := w.host(0)
	w.run("ip", "netns", "add", bridge)
	w.run("ip", "-n", bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	w.run("ip", "-n", bridge, "link", "set", "br0", "up")
	for i := 1; i <= hosts; i++ {
		h, port := w.host(i), fmt.Sprintf("port%d", i)
		w.run("ip", "netns", "add", h)
		w.run("ip", "-n", h, "link", "set", "lo", "up")
		w.run("ip", "-n", h, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", bridge)
		w.run("ip", "-n", h, "addr", "add", address(i)+"/24", "dev", "eth0")
		w.run("ip", "-n", h, "link", "set", "eth0", "up")
		w.run("ip", "-n", bridge, "link", "set", port, "master", "br0", "up")
	}
	return w
}

// host is the namespace of host i; 0 is the bridge.
func (w *network) host(i int) string { return w.prefix + strconv.Itoa(i) }

func address(i int) string { return fmt.Sprintf("10.78.0.%d", i) }

// sweep removes what test processes left that were killed themselves.
func sweep(t testing.TB) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namespacePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(owner); ours && err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

func (w *network) run(name string, arguments ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// lose drops so many of a hundred packets of the ring at random where they cross the bridge.
// They are made to be single ones there, or buffers of many would be dropped as one. ARP is
// left alone: its loss costs a second each, which is a token's whole time.
func (w *network) lose(percent int) {
	w.t.Helper()
	for i := 1; i <= hosts; i++ {
		w.run("ip", "netns", "exec", w.host(i), "ethtool", "-K", "eth0", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
	}
	w.run("ip", "netns", "exec", w.host(0), "nft", fmt.Sprintf(
		"table bridge loss { chain forward { type filter hook forward priority 0; ip protocol udp numgen random mod 100 < %d counter drop; }; }", percent))
}

// lost is how many packets lose has dropped.
func (w *network) lost() (packets int) {
	w.t.Helper()
	_, after, _ := strings.Cut(w.run("ip", "netns", "exec", w.host(0), "nft", "list", "ruleset"), "counter packets ")
	_, _ = fmt.Sscan(after, &packets)
	return packets
}
