package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is some hosts on one Ethernet: a network namespace for each, and one that holds
// the bridge between them. Nothing of it reaches the host's own interfaces.
type Network struct {
	Hosts []*Host

	t      testing.TB
	bridge string // namespace
	prefix string
}

// Host is one host of a network.
type Host struct {
	IP string

	network   *Network
	namespace string
	port      string // of the bridge
}

const namespacePrefix = "qpidd-e2e-"

// NewNetwork makes a network of n hosts whose interfaces have an MTU, and removes it with
// the test's end.
func NewNetwork(t testing.TB, n, mtu int) *Network {
	t.Helper()
	Privileged(t)
	sweep(t)
	w := &Network{t: t, prefix: fmt.Sprintf("%s%d-", namespacePrefix, os.Getpid())}
	w.bridge = w.prefix + "br"
	t.Cleanup(w.remove)
	w.ip("netns", "add", w.bridge)
	w.ip("-n", w.bridge, "link", "add", "br0", "mtu", strconv.Itoa(mtu), "type", "bridge")
	w.ip("-n", w.bridge, "link", "set", "br0", "up")
	for i := range n {
		h := &Host{network: w, namespace: w.prefix + strconv.Itoa(i), port: fmt.Sprintf("port%d", i), IP: fmt.Sprintf("10.77.0.%d", i+1)}
		w.Hosts = append(w.Hosts, h)
		w.ip("netns", "add", h.namespace)
		w.ip("-n", h.namespace, "link", "set", "lo", "up")
		w.ip("-n", h.namespace, "link", "add", "eth0", "mtu", strconv.Itoa(mtu), "type", "veth",
			"peer", "name", h.port, "mtu", strconv.Itoa(mtu), "netns", w.bridge)
		w.ip("-n", h.namespace, "addr", "add", h.IP+"/24", "dev", "eth0")
		w.ip("-n", h.namespace, "link", "set", "eth0", "up")
		w.ip("-n", w.bridge, "link", "set", h.port, "master", "br0", "up")
	}
	return w
}

// sweep removes what test processes left that could not clean up.
func sweep(t testing.TB) {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatalf("ip netns list: %v; install iproute2", err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namespacePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(owner); ours && err == nil && gone(pid) == nil {
			_ = exec.Command("ip", "netns", "del", name).Run() // another may sweep too
		}
	}
}

func (w *Network) remove() {
	list := []string{w.bridge}
	for _, h := range w.Hosts {
		list = append(list, h.namespace)
	}
	for _, name := range list {
		_ = exec.Command("ip", "netns", "del", name).Run() // it may not have been made
	}
}

func (w *Network) ip(arguments ...string) {
	w.t.Helper()
	w.run("ip", arguments...)
}

func (w *Network) run(name string, arguments ...string) {
	w.t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
	}
}

// Unplug takes a host off the bridge, as one takes a cable out of the switch: its interface
// loses the carrier.
func (h *Host) Unplug() {
	h.network.t.Helper()
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "down")
}

// Plug puts it in again.
func (h *Host) Plug() {
	h.network.t.Helper()
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "up")
}

// Isolate lets nothing through to or from a host, and its interface stays up: what a switch
// does that has lost its way. Rejoin undoes it.
func (h *Host) Isolate() {
	h.network.t.Helper()
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "nomaster")
}

// Rejoin undoes Isolate.
func (h *Host) Rejoin() {
	h.network.t.Helper()
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "master", "br0")
}

// Lose drops so many of a thousand packets at random, on the bridge, until the network is
// removed. Packets are made to be single ones there first: the kernel would drop aggregates.
func (w *Network) Lose(permille int) {
	w.t.Helper()
	for _, h := range w.Hosts {
		w.run("ip", "netns", "exec", h.namespace, "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")
		if netem(w.t) {
			w.run("ip", "netns", "exec", w.bridge, "tc", "qdisc", "add", "dev", h.port, "root", "netem", "loss", fmt.Sprintf("%g%%", float64(permille)/10))
		}
	}
	if netem(w.t) {
		return
	}
	w.run("ip", "netns", "exec", w.bridge, "nft", fmt.Sprintf(
		"table bridge loss { chain forward { type filter hook forward priority 0; policy accept; numgen random mod 1000 < %d counter drop; }; }", permille))
}

// netem tells whether the kernel has sch_netem.
func netem(t testing.TB) bool {
	t.Helper()
	const name = namespacePrefix + "probe"
	defer func() { _ = exec.Command("ip", "netns", "del", name).Run() }()
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	return exec.Command("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%").Run() == nil
}

// dial connects from the host. A socket belongs to the namespace of the thread that makes it.
func (h *Host) dial(ctx context.Context, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		conn, err := h.dialHere(ctx, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

func (h *Host) dialHere(ctx context.Context, address string) (net.Conn, error) {
	f, err := os.Open("/run/netns/" + h.namespace)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("setns %s: %w", h.namespace, err)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}
