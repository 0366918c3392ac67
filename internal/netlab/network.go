package netlab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Network is some hosts on one Ethernet: a network namespace for each, and one that holds
// the bridge between them. Nothing of it reaches the host's own interfaces.
type Network struct {
	Hosts []*Host

	fail   func(format string, arguments ...any)
	bridge string // namespace
}

// Host is one host of a network.
type Host struct {
	IP  string
	IP6 string
	// Enter is put in front of each program that runs on the host, as nsenter.
	Enter []string

	network   *Network
	namespace string
	port      string // of the bridge
}

const (
	namespacePrefix = "qpidd-lab-"
	// Subnet is the network address of every Network, of which each host has an address.
	Subnet = "10.77.0.0"
	// Subnet6 is likewise, of IPv6.
	Subnet6 = "fd00:77::"
)

// New makes a network of n hosts whose interfaces have an MTU. What goes wrong, then and later,
// is told to fail, as to a test's Fatalf. It takes root, and iproute2.
func New(n, mtu int, fail func(format string, arguments ...any)) *Network {
	prefix := fmt.Sprintf("%s%d-", namespacePrefix, os.Getpid())
	w := &Network{fail: fail, bridge: prefix + "br"}
	w.sweep()
	w.ip("netns", "add", w.bridge)
	w.ip("-n", w.bridge, "link", "add", "br0", "mtu", strconv.Itoa(mtu), "type", "bridge")
	w.ip("-n", w.bridge, "link", "set", "br0", "up")
	for i := range n {
		h := &Host{network: w, namespace: prefix + strconv.Itoa(i), port: fmt.Sprintf("port%d", i), IP: fmt.Sprintf("10.77.0.%d", i+1), IP6: fmt.Sprintf("%s%d", Subnet6, i+1)}
		w.Hosts = append(w.Hosts, h)
		w.ip("netns", "add", h.namespace)
		w.ip("-n", h.namespace, "link", "set", "lo", "up")
		h.Insert(mtu, 0)
	}
	for _, h := range w.Hosts {
		h.awaitUp()
	}
	return w
}

// awaitUp waits until an interface that was set up is: the kernel sees to it some time later, and until then
// drops what is sent.
func (h *Host) awaitUp() {
	const patience = 10 * time.Second
	for end := time.Now().Add(patience); ; {
		out := h.network.run("ip", "-n", h.namespace, "-o", "link", "show", "dev", "eth0") +
			h.network.run("ip", "-n", h.network.bridge, "-o", "link", "show", "dev", h.port)
		if strings.Count(out, " state UP ") == 2 {
			return
		}
		if time.Now().After(end) {
			h.network.fail("an interface is not up within %v: %s", patience, out)
			return
		}
	}
}

// Remove takes a host's interface away, as a driver does that is unloaded.
func (h *Host) Remove() { h.network.ip("-n", h.namespace, "link", "del", "eth0") }

// Insert gives it one again, with so many queues each way, or as many as the kernel thinks fit if that
// is 0, and the Ethernet address that is always its.
func (h *Host) Insert(mtu, queues int) {
	w := h.network
	var number []string
	if queues > 0 {
		number = []string{"numrxqueues", strconv.Itoa(queues), "numtxqueues", strconv.Itoa(queues)}
	}
	line := append([]string{"-n", h.namespace, "link", "add", "eth0", "mtu", strconv.Itoa(mtu), "address", h.mac()}, number...)
	line = append(line, "type", "veth", "peer", "name", h.port, "mtu", strconv.Itoa(mtu), "netns", w.bridge)
	w.ip(append(line, number...)...)
	w.ip("-n", h.namespace, "addr", "add", h.IP+"/24", "dev", "eth0")
	w.ip("-n", h.namespace, "addr", "add", h.IP6+"/64", "dev", "eth0", "nodad")
	w.ip("-n", h.namespace, "link", "set", "eth0", "up")
	w.ip("-n", w.bridge, "link", "set", h.port, "master", "br0", "up")
}

// Receive has a host's interface receive by so many of its queues, and the cable bring as many: of which
// there are never more, or its driver takes no program.
func (h *Host) Receive(queues int) {
	cable := func(n int) {
		h.network.run("ip", "netns", "exec", h.network.bridge, "ethtool", "-L", h.port, "tx", strconv.Itoa(n))
	}
	cable(1)
	h.network.run(h.Line("ethtool", "-L", "eth0", "rx", strconv.Itoa(queues), "tx", strconv.Itoa(queues))...)
	cable(queues)
}

// mac is of those that nobody owns, and ends as the host's address does.
func (h *Host) mac() string {
	var last int
	if _, err := fmt.Sscanf(h.IP, "10.77.0.%d", &last); err != nil {
		h.network.fail("%s: %v", h.IP, err)
	}
	return fmt.Sprintf("02:00:00:77:00:%02x", last)
}

// sweep removes what processes left that could not clean up.
func (w *Network) sweep() {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		w.fail("ip netns list: %v; install iproute2", err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest, ours := strings.CutPrefix(name, namespacePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(owner); ours && err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			_ = exec.Command("ip", "netns", "del", name).Run() // another may sweep too
		}
	}
}

// Close removes the network. What runs in it goes on without it.
func (w *Network) Close() {
	list := []string{w.bridge}
	for _, h := range w.Hosts {
		list = append(list, h.namespace)
	}
	for _, name := range list {
		_ = exec.Command("ip", "netns", "del", name).Run() // it may not have been made
	}
}

func (w *Network) ip(arguments ...string) {
	w.run(append([]string{"ip"}, arguments...)...)
}

func (w *Network) run(line ...string) string {
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		w.fail("%s: %v: %s", strings.Join(line, " "), err, out)
	}
	return string(out)
}

// SetMTU changes the MTU of a host's interface.
func (h *Host) SetMTU(mtu int) {
	h.network.ip("-n", h.namespace, "link", "set", "eth0", "mtu", strconv.Itoa(mtu))
}

// Unplug takes a host off the bridge, as one takes a cable out of the switch: its interface
// loses the carrier.
func (h *Host) Unplug() {
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "down")
}

// Plug puts it in again.
func (h *Host) Plug() {
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "up")
}

// Isolate lets nothing through to or from a host, and its interface stays up: what a switch
// does that has lost its way. Rejoin undoes it.
func (h *Host) Isolate() {
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "nomaster")
}

// Rejoin undoes Isolate.
func (h *Host) Rejoin() {
	h.network.ip("-n", h.network.bridge, "link", "set", h.port, "master", "br0")
}

// Coalesce has the bridge's ends of all cables put packets together (GRO), or not, as they do at first. It is
// only then that the driver of a veth takes what a host's program on XDP sends.
func (w *Network) Coalesce(on bool) {
	state := "off"
	if on {
		state = "on"
	}
	for _, h := range w.Hosts {
		w.run("ip", "netns", "exec", w.bridge, "ethtool", "-K", h.port, "gro", state)
	}
}

// EndChecksums has the bridge's ends of all cables compute checksums that senders have only begun, as real
// cables take: else packets between hosts of one machine have them begun, and nobody looks whether they are right.
func (w *Network) EndChecksums() {
	for _, h := range w.Hosts {
		w.run("ip", "netns", "exec", w.bridge, "ethtool", "-K", h.port, "tx", "off")
	}
}

// Lose drops so many of a thousand packets of some protocols over IPv4, as "udp", at random,
// on the bridge, until the network is removed. ARP is left alone: the loss of a request costs
// a second, in which rings fall apart that have lost nothing of their own. Packets are made to
// be single ones there first: the kernel would drop aggregates.
func (w *Network) Lose(permille int, protocols ...string) {
	for _, h := range w.Hosts {
		w.run(h.Line("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off")...)
	}
	w.run("ip", "netns", "exec", w.bridge, "nft", fmt.Sprintf(
		"table bridge loss { chain forward { type filter hook forward priority 0; ip protocol { %s } numgen random mod 1000 < %d counter drop; }; }",
		strings.Join(protocols, ", "), permille))
}

// Lost is how many packets Lose has dropped.
func (w *Network) Lost() (packets int) {
	_, after, _ := strings.Cut(w.run("ip", "netns", "exec", w.bridge, "nft", "list", "table", "bridge", "loss"), "counter packets ")
	if _, err := fmt.Sscan(after, &packets); err != nil {
		w.fail("no packets are counted: %v", err)
	}
	return packets
}

// Deafen lets no packets to IPv4 groups through to hosts, as a switch does that watches who is in a
// group and has forgotten them. All else passes.
func (w *Network) Deafen(hosts ...*Host) {
	var ports []string
	for _, h := range hosts {
		ports = append(ports, strconv.Quote(h.port))
	}
	w.run("ip", "netns", "exec", w.bridge, "nft", fmt.Sprintf(
		"table bridge deaf { chain forward { type filter hook forward priority 0; oifname { %s } ip daddr 239.0.0.0/8 drop; }; }", strings.Join(ports, ", ")))
}

// Hear undoes Deafen.
func (w *Network) Hear() {
	w.run("ip", "netns", "exec", w.bridge, "nft", "delete table bridge deaf")
}

// Line is the command line that runs a program on the host.
func (h *Host) Line(program string, arguments ...string) []string {
	line := append([]string{"ip", "netns", "exec", h.namespace}, h.Enter...)
	return append(append(line, program), arguments...)
}

// Dial connects from the host, over TCP. A socket belongs to the namespace of the thread that makes it.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go h.Within(func(err error) {
		var r result
		if r.err = err; err == nil {
			var d net.Dialer
			r.conn, r.err = d.DialContext(ctx, "tcp", address)
		}
		done <- r
	})
	r := <-done
	return r.conn, r.err
}

// Within runs do on the host, in a goroutine and thread that nobody else uses: the caller's, which
// end with it. It is told if that cannot be.
func (h *Host) Within(do func(err error)) {
	runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
	do(h.enter())
}

func (h *Host) enter() error {
	f, err := os.Open("/run/netns/" + h.namespace)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns %s: %w", h.namespace, err)
	}
	return nil
}

// SetUp brings a host's interface up, or down.
func (h *Host) SetUp(up bool) {
	state := "down"
	if up {
		state = "up"
	}
	h.network.ip("-n", h.namespace, "link", "set", "eth0", state)
}

// ForgetNeighbours removes what a host knows of its neighbours' Ethernet addresses.
func (h *Host) ForgetNeighbours() {
	h.network.ip("-n", h.namespace, "neigh", "flush", "dev", "eth0")
}
