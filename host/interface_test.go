package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func hostWith(prefixes ...string) (list []address) {
	for i, p := range prefixes {
		list = append(list, address{name: "net" + string(rune('0'+i)), mtu: 1500, flags: net.FlagUp | net.FlagMulticast, prefix: netip.MustParsePrefix(p)})
	}
	return list
}

func TestBindnetaddr(t *testing.T) {
	list := append(hostWith("10.1.2.3/16", "192.168.7.9/24", "192.168.7.200/25", "fd00:1::5/64", "fe80::5/64", "172.16.0.1/24"),
		address{name: "lo", mtu: 65536, flags: net.FlagUp | net.FlagLoopback, prefix: netip.MustParsePrefix("127.0.0.1/8")})
	list[5].flags = net.FlagMulticast
	const fits = "net0 has 10.1.2.3 (network 10.1.0.0), net1 has 192.168.7.9 (network 192.168.7.0), net2 has 192.168.7.200 (network 192.168.7.128), " +
		"net5 has 172.16.0.1 (network 172.16.0.0; it is down), lo has 127.0.0.1 (network 127.0.0.0; loopback, for members on this host only)"
	for _, c := range []struct{ bind, want, reason, fails string }{
		{bind: "10.1.2.3", want: "10.1.2.3", reason: "its address is bindnetaddr"},
		{bind: "10.1.0.0", want: "10.1.2.3", reason: "its network is bindnetaddr"},
		{bind: "10.1.2.0", want: "10.1.2.3", reason: "bindnetaddr is in its network, 10.1.0.0/16"},
		{bind: "192.168.7.0", want: "192.168.7.9"},
		{bind: "192.168.7.128", want: "192.168.7.200"},
		{bind: "192.168.7.200", want: "192.168.7.200"},
		{bind: "fd00:1::5", want: "fd00:1::5"},
		{bind: "::ffff:10.1.2.3", want: "10.1.2.3"},
		{bind: "127.0.0.1", want: "127.0.0.1", reason: "its address is bindnetaddr; loopback: members on this host only"},
		{bind: "10.2.0.0", fails: "bindnetaddr 10.2.0.0 is on no interface that is up; use one of: " + fits},
		{bind: "20.0.100.0", fails: fits},
		{bind: "fd00:2::", fails: "use one of: net3 has fd00:1::5 (network fd00:1::)"},
		{bind: "fe80::5", fails: "is a link-local address"},
		{bind: "fe80::", fails: "use one of: net3 has fd00:1::5 (network fd00:1::)"},
		{bind: "172.16.0.0", fails: "interface net5, which is down; bring it up (ip link set net5 up), or use one of: net0"},
		{bind: "host.example", fails: "is no IP address"},
	} {
		got, err := bound(c.bind, list)
		switch {
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: %v, want an error with %q", c.bind, err, c.fails)
		case c.fails == "" && (err != nil || got.Address.String() != c.want || c.reason != "" && got.Reason != c.reason):
			t.Errorf("%s: %v, %v, want %s", c.bind, got, err, c.want)
		}
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.9.%d.1/24", i))
	}
	if _, err := bound("10.8.0.0", hostWith(many...)); err == nil || len(err.Error()) > 1000 || !strings.HasSuffix(err.Error(), "84 more that `ip addr` shows") {
		t.Errorf("%v", err)
	}
}

func TestRingAddressFindsSomething(t *testing.T) {
	c, err := RingAddress("127.0.0.1")
	if err != nil || c.Interface != "lo" || c.MTU == 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if c, err = RingAddress(""); err != nil || !c.Address.Is4() {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestDead(t *testing.T) {
	if Dead(uint32(os.Getpid())) {
		t.Error("this process is dead")
	}
	if !Dead(1 << 30) {
		t.Error("a process with an impossible number lives")
	}
	if !Local(netip.MustParseAddr("127.0.0.1")) || Local(netip.MustParseAddr("192.0.2.77")) {
		t.Error("Local does not know this host")
	}
}
