package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// configuration: the file that is read, and that it can be.
func (h *host) configuration() []Finding {
	file := h.Config
	if file == "" {
		file = config.DefaultFile
	}
	if h.mistake != nil {
		return one(Error, h.mistake.Error(), "correct it: qpidd.conf(5) has all options")
	}
	if _, err := os.Stat(file); err != nil {
		return one(Warning, file+" is not there: defaults and options are all there is", "qpid-cluster setup writes one")
	}
	if h.options.ClusterName == "" {
		return one(Warning, file+" is read; it has no cluster-name, so the broker stands alone", "add cluster-name=NAME, the same on every host")
	}
	return fine("%s is read; cluster %s", file, h.options.ClusterName)
}

// ringConfiguration: the corosync.conf that is read, and what of it does not count.
func (h *host) ringConfiguration() []Finding {
	switch {
	case h.options == nil:
		return one(Unknown, "the configuration has a mistake", "")
	case h.options.ClusterName == "":
		return fine("there is no ring")
	case h.options.Provider == config.Corosync:
		return fine("corosync's, which runs the ring")
	case h.problem != nil:
		return one(Error, h.problem.Error(), "correct what it names; ring-config.md explains the file")
	}
	if h.ring == nil {
		return one(Unknown, "it was not read", "")
	}
	for _, n := range h.notices {
		if name, found := strings.CutPrefix(n, "ring configuration: "); found {
			text := fmt.Sprintf("%s is read; %s", name, h.ring.Destination())
			if len(h.notices) > 1 {
				return fine("%s; %s", text, strings.Join(h.notices[1:], "; "))
			}
			return fine("%s", text)
		}
	}
	return fine("none, options count; %s", strings.Join(append([]string{h.ring.Destination()}, h.notices...), "; "))
}

// networkInterface: where the ring runs.
func (h *host) networkInterface() []Finding {
	if h.ring == nil {
		return h.noRing()
	}
	at := h.ring.At
	text := fmt.Sprintf("%s of %s, %s", at.Address, at.Interface, at.Reason)
	i, err := net.InterfaceByName(at.Interface)
	switch {
	case err != nil:
		return one(Error, text+": "+err.Error(), "")
	case i.Flags&net.FlagLoopback != 0:
		return one(Warning, text+": brokers on other hosts are not found", "bindnetaddr=ADDRESS of a network that the hosts share, in qpidd.conf or corosync.conf")
	case i.Flags&net.FlagRunning == 0:
		return one(Error, text+": it has no carrier", "look at the cable, or at the virtual switch")
	case h.ring.Link.Transport == link.Multicast && !h.ring.Link.Broadcast && i.Flags&net.FlagMulticast == 0:
		return safely(Error, text+": multicast is turned off there", fmt.Sprintf("ip link set %s multicast on", at.Interface))
	}
	return fine("%s", text)
}

// noRing is said by checks of what only a ring of our own has.
func (h *host) noRing() []Finding {
	if h.options != nil && h.problem == nil {
		return fine("there is no ring of the broker's own")
	}
	return one(Unknown, "the configuration has a mistake", "")
}

// What an Ethernet carries, and what corosync's packets are made for.
const ethernetMTU = 1500

// mtu: less than Ethernet's costs speed, and often means a tunnel that carries less than it says.
func (h *host) mtu() []Finding {
	if h.ring == nil {
		return h.noRing()
	}
	at := h.ring.At
	text := fmt.Sprintf("interface %s carries %d bytes, packets of the ring have %d", at.Interface, at.MTU, h.ring.Totem.NetMTU)
	for _, n := range h.notices {
		if strings.Contains(n, "netmtu") {
			return one(Warning, n, fmt.Sprintf("ip link set %s mtu SIZE, if the network carries more, or less for netmtu in corosync.conf; the same on all hosts", at.Interface))
		}
	}
	if at.MTU < ethernetMTU {
		return one(Warning, text, fmt.Sprintf("ip link set %s mtu %d, if the network carries that; the same on all hosts", at.Interface, ethernetMTU))
	}
	return fine("%s", text)
}

// snooping: bridges of this host that watch who is in a group, and have nobody who asks. After some
// minutes they know of nobody, and drop what is for groups.
func (h *host) snooping() (list []Finding) {
	if h.ring == nil {
		return h.noRing()
	}
	names, err := filepath.Glob("/sys/class/net/*/bridge/multicast_snooping")
	if err != nil || h.ring.Link.Transport != link.Multicast {
		return fine("there is no multicast: %s", h.ring.Everyone())
	}
	for _, name := range names {
		bridge := filepath.Base(filepath.Dir(filepath.Dir(name)))
		if bridge != h.ring.At.Interface && !carries(bridge, h.ring.At.Interface) {
			continue
		}
		if number(name) == 1 && number(filepath.Join(filepath.Dir(name), "multicast_querier")) == 0 {
			list = append(list, Finding{Verdict: Warning, Safe: true,
				Evidence: fmt.Sprintf("bridge %s watches who is in a group (IGMP snooping), and nobody asks (it is no querier): unless another in the network asks, multicasts stop after some minutes", bridge),
				Fix:      fmt.Sprintf("ip link set %s type bridge mcast_querier 1", bridge)})
		}
	}
	if len(list) == 0 {
		return fine("no bridge of this host is in the way; of switches only ring traffic tells")
	}
	return list
}

// carries tells whether an interface is a port of a bridge.
func carries(bridge, name string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", bridge, "brif", name))
	return err == nil
}

// number is what a file of the kernel's holds, -1 if that cannot be told.
func number(name string) int {
	n := -1
	if b, err := os.ReadFile(name); err == nil {
		if _, err := fmt.Sscan(string(b), &n); err != nil {
			return -1
		}
	}
	return n
}
