package interop

import (
	"fmt"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// TestIPv6 forms rings over IPv6, with each transport.
func TestIPv6(t *testing.T) {
	for name, transport := range map[string]func(*lab){
		"udp": func(l *lab) {
			l.everyone = fmt.Sprintf("bindnetaddr: %s\n\t\tmcastaddr: ff15::77", netlab.Subnet6)
		},
		"udp, the group of the cluster's name": func(l *lab) {
			l.everyone = "bindnetaddr: " + netlab.Subnet6
		},
		"udpu": func(l *lab) { l.transport, l.everyone = "udpu", "" },
		"knet": func(l *lab) { l.knet("aes256 sha256") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			transport(l)
			l.ipv6 = true
			l.totem += "\n\tip_version: ipv6"
			list := l.members(1, false)
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

const jumbo = 9000

// TestNetMTU forms rings on a network of jumbo frames whose members have a netmtu each.
func TestNetMTU(t *testing.T) {
	for _, x := range []struct {
		transport string
		netmtu    [hosts]int // ours is the first
	}{
		{"udp", [hosts]int{9000, 9000, 9000}},
		{"udp", [hosts]int{1500, 9000, 1500}},
		{"udpu", [hosts]int{9000, 1500, 9000}},
		{"knet", [hosts]int{65000, 1500, 65536}},
	} {
		t.Run(fmt.Sprint(x.transport, x.netmtu), func(t *testing.T) {
			l := newLabOf(t, jumbo)
			if x.transport != "udp" {
				l.transport, l.everyone = x.transport, ""
			}
			totem := l.totem
			var list []*process
			for i, start := range []func(int) *process{func(i int) *process { return l.ringnode(i, 0) }, l.corosync, l.corosync} {
				l.totem = fmt.Sprintf("%s\n\tnetmtu: %d", totem, x.netmtu[i])
				list = append(list, start(i+1))
			}
			for _, p := range list {
				p.awaitView(viewLimit, 1, 2, 3)
			}
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}

// TestMixedMTU has interfaces of different MTU, which what knet sends comes to fit.
func TestMixedMTU(t *testing.T) {
	for ours := 1; ours <= 2; ours++ {
		t.Run(fmt.Sprint("of ", ours), func(t *testing.T) {
			l := newLabOf(t, jumbo)
			l.knet("aes256 sha256")
			l.host(1).SetMTU(ethernet)
			list := l.members(ours, false)
			exchange(t, exchangeLimit, burstMessages, list...)
		})
	}
}
