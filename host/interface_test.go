package host

import (
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
	list := hostWith("10.1.2.3/16", "192.168.7.9/24", "192.168.7.200/25")
	for _, c := range []struct{ bind, want, fails string }{
		{bind: "10.1.2.3", want: "10.1.2.3"},
		{bind: "10.1.0.0", want: "10.1.2.3"},
		{bind: "192.168.7.0", want: "192.168.7.9"},
		{bind: "192.168.7.128", want: "192.168.7.200"},
		{bind: "10.1.2.0", fails: "net0 has 10.1.2.3 (network 10.1.0.0)"},
		{bind: "host.example", fails: "is no IP address"},
	} {
		got, err := bound(c.bind, list)
		switch {
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: %v, want an error with %q", c.bind, err, c.fails)
		case c.fails == "" && (err != nil || got.Address.String() != c.want):
			t.Errorf("%s: %v, %v, want %s", c.bind, got, err, c.want)
		}
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
