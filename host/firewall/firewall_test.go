package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// alone runs a test in a network namespace of its own, which takes root. Its thread ends with it.
func alone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it takes root to make a network namespace")
	}
	installed(t, "nft")
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		test(t)
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skip("it takes CAP_SYS_ADMIN to make a network namespace")
	} else if err != nil {
		t.Fatal(err)
	}
}

// installed skips where a program is not, but where make test-privileged has installed it.
func installed(t *testing.T, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func nft(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.Command("nft", arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("nft %q: %v: %s", arguments, err, out)
	}
	return string(out)
}

var policy = Policy{Table: "qpidd-5672", Clients: []uint16{5672}, Ring: []uint16{5405}, Mesh: 5406,
	Networks: []netip.Prefix{netip.MustParsePrefix("192.168.5.7/24"), netip.MustParsePrefix("fd00:5::7/64")}}

const table = `table inet qpidd-5672 {
	set peers4 {
		type ipv4_addr
		elements = { 10.0.0.1, 10.0.0.2 }
	}

	set peers6 {
		type ipv6_addr
		elements = { fd00::1 }
	}

	chain members {
		ip saddr @peers4 counter packets 0 bytes 0 accept
		ip6 saddr @peers6 counter packets 0 bytes 0 accept
		ip saddr 192.168.5.0/24 counter packets 0 bytes 0 accept
		ip6 saddr fd00:5::/64 counter packets 0 bytes 0 accept
		counter packets 0 bytes 0 drop
	}

	chain input {
		type filter hook input priority filter; policy accept;
		iifname "lo" accept
		tcp dport 5672 counter packets 0 bytes 0 accept
		udp dport 5405 counter packets 0 bytes 0 jump members
		tcp dport 5406 counter packets 0 bytes 0 jump members
	}
}
`

// TestTable shows the table as nft sees it, through its life.
func TestTable(t *testing.T) {
	alone(t, func(t *testing.T) {
		nft(t, "add table inet qpidd-5672 { chain stale { }; }")
		nft(t, "add table inet other")
		f, err := Open(policy, func(bool, string) {})
		if err != nil {
			t.Error(err)
			return
		}
		peers := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
		if err := f.SetPeers(peers); err != nil {
			t.Error(err)
		}
		if got := nft(t, "list", "table", "inet", "qpidd-5672"); got != table {
			t.Errorf("%s", got)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if got := nft(t, "list", "ruleset"); strings.Contains(got, "qpidd") || !strings.Contains(got, "other") {
			t.Errorf("%s", got)
		}
	})
}

// TestPutBack has somebody flush the rules, empty a chain, and take a peer out.
func TestPutBack(t *testing.T) {
	alone(t, func(t *testing.T) {
		said := make(chan string, 16)
		f, err := Open(policy, func(_ bool, text string) { said <- text })
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := f.SetPeers([]netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.0.0.1")}); err != nil {
			t.Error(err)
		}
		for _, harm := range []string{"flush ruleset", "flush chain inet qpidd-5672 members", "delete element inet qpidd-5672 peers4 { 10.0.0.1 }"} {
			nft(t, harm)
			end := time.Now().Add(10 * time.Second)
			for got := ""; got != table; {
				if time.Now().After(end) {
					t.Errorf("%s: it is not put back: %s", harm, got)
					return
				}
				out, _ := exec.Command("nft", "list", "table", "inet", "qpidd-5672").Output() // it may not be there yet
				got = string(out)
			}
		}
		if got := <-said; !strings.Contains(got, "it is put back") || len(said) > 0 {
			t.Errorf("%q, and %d more", got, len(said))
		}
	})
}

// TestWithoutPermission says what is missing.
func TestWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may")
	}
	if _, err := Open(policy, nil); err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("%v", err)
	}
}

var probes = []Probe{
	{"the ring's packets", "udp", 5405, netip.MustParseAddr("192.168.5.9"), netip.MustParseAddr("192.168.5.7"), "eth0", netip.MustParsePrefix("192.168.5.0/24")},
	{"the ring's multicasts", "udp", 5405, netip.MustParseAddr("192.168.5.9"), netip.MustParseAddr("239.192.5.1"), "eth0", netip.MustParsePrefix("192.168.5.0/24")},
	{"clients", "tcp", 5672, netip.MustParseAddr("192.168.9.9"), netip.MustParseAddr("192.168.5.7"), "eth0", netip.Prefix{}},
}

// TestObstacles has rules as people, and their tools, write them; which of the ports they close;
// and whether the command that is given opens them.
func TestObstacles(t *testing.T) {
	const udp, tcp = "udp 5405", "tcp 5672"
	for name, c := range map[string]struct {
		rules string
		want  []string
		vague bool
	}{
		"nothing":    {"", nil, false},
		"policy":     {"table inet filter { chain input { type filter hook input priority 0; policy drop; }; }", []string{udp, tcp}, false},
		"forward":    {"table inet filter { chain forward { type filter hook forward priority 0; policy drop; }; }", nil, false},
		"bridge":     {"table bridge filter { chain input { type filter hook input priority 0; policy drop; }; }", nil, false},
		"ip6":        {"table ip6 filter { chain input { type filter hook input priority 0; policy drop; }; }", nil, false},
		"open":       {"table inet filter { chain input { type filter hook input priority 0; policy drop; udp dport 5405 accept; tcp dport { 22, 5671-5673 } accept; }; }", nil, false},
		"network":    {"table inet filter { chain input { type filter hook input priority 0; policy drop; ip saddr 192.168.5.0/24 accept; }; }", []string{tcp}, false},
		"interface":  {"table inet filter { chain input { type filter hook input priority 0; policy drop; iifname \"eth0\" accept; }; }", nil, false},
		"state":      {"table inet filter { chain input { type filter hook input priority 0; policy drop; ct state vmap { established : accept, related : accept, invalid : drop }; iif lo accept; tcp dport 22 accept; }; }", []string{udp, tcp}, false},
		"map":        {"table inet filter { chain input { type filter hook input priority 0; policy accept; tcp dport vmap { 22 : accept, 5672 : jump closed }; }; chain closed { counter; reject; }; }", []string{tcp}, false},
		"jump":       {"table inet filter { chain a { return; drop; }; chain b { ip protocol udp drop; }; chain input { type filter hook input priority 0; policy accept; jump a; goto b; drop; }; }", []string{udp}, false},
		"range":      {"table ip mine { chain in { type filter hook input priority -5; policy accept; udp dport 1024-65535 drop; ip saddr != 10.0.0.0/8 tcp dport > 1023 reject with tcp reset; }; }", []string{udp, tcp}, false},
		"multicast":  {"table ip mine { chain in { type filter hook input priority 0; policy accept; ip daddr 224.0.0.0/4 drop; }; }", []string{udp}, false},
		"set":        {"table inet f { set ok { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.5.1-192.168.5.100 }; }; chain in { type filter hook input priority 0; policy drop; ip saddr @ok accept; }; }", []string{tcp}, false},
		"concat":     {"table inet f { set ok { type ipv4_addr . inet_service; flags interval; elements = { 192.168.0.0/16 . 5000-5700 }; }; chain in { type filter hook input priority 0; policy drop; ip saddr . th dport @ok accept; }; }", nil, false},
		"unclear":    {"table inet f { chain in { type filter hook input priority 0; policy drop; meta skuid 0 accept; tcp dport 5672 accept; }; }", []string{udp}, true},
		"two tables": {"table inet a { chain in { type filter hook input priority 0; policy accept; udp dport 5405 accept; }; }; table inet b { chain in { type filter hook input priority 1; policy drop; tcp dport 5672 accept; }; }", []string{udp}, false},
		"our own":    {"table inet qpidd-5672 { chain in { type filter hook input priority 0; policy drop; }; }", nil, false},
		"set is all": {"table inet f { chain in { type filter hook input priority 0; policy drop; ip saddr 0.0.0.0/0 accept; }; }", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T) {
				if out, err := exec.Command("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1").CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
				if c.rules != "" {
					nft(t, c.rules)
				}
				list, err := Obstacles("qpidd-5672", probes)
				if err != nil {
					t.Error(err)
				}
				var got []string
				for _, o := range list {
					got = append(got, fmt.Sprintf("%s %d", o.Protocol, o.Port))
					if o.Sure == c.vague || strings.Contains(o.String(), "seems") != c.vague {
						t.Errorf("%+v", o)
					}
					if out, err := exec.Command("sh", "-c", o.Command).CombinedOutput(); err != nil {
						t.Errorf("%s: %v: %s", o.Command, err, out)
					}
				}
				if strings.Join(got, ", ") != strings.Join(c.want, ", ") {
					t.Errorf("%q, not %q", got, c.want)
				}
				if rest, err := Obstacles("qpidd-5672", probes); err != nil || len(rest) > 0 {
					t.Errorf("the commands are not enough: %v, %v", rest, err)
				}
			})
		})
	}
}

// TestManagers names the command of whoever manages the rules.
func TestManagers(t *testing.T) {
	for name, c := range map[string]struct{ rules, want string }{
		"firewalld": {"table inet firewalld { chain filter_INPUT { type filter hook input priority 10; policy accept; jump zones; reject; }; chain zones { tcp dport 22 accept; }; }", "firewall-cmd --permanent --add-port=5405/udp && firewall-cmd --reload"},
		"ufw":       {"table ip filter { chain ufw-user-input { }; chain INPUT { type filter hook input priority 0; policy drop; jump ufw-user-input; }; }", "ufw allow proto udp from 192.168.5.0/24 to any port 5405"},
		"iptables":  {"table ip filter { chain INPUT { type filter hook input priority 0; policy drop; }; }", "iptables -I INPUT -s 192.168.5.0/24 -p udp --dport 5405 -j ACCEPT"},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T) {
				nft(t, c.rules)
				list, err := Obstacles("", probes)
				if err != nil || len(list) != 2 || list[0].Command != c.want {
					t.Errorf("%v, %+v", err, list)
				}
			})
		})
	}
}

// TestRulesOfIPTables has its own rules, where it is installed.
func TestRulesOfIPTables(t *testing.T) {
	installed(t, "iptables-nft")
	alone(t, func(t *testing.T) {
		iptables := func(line string) {
			t.Helper()
			if out, err := exec.Command("iptables-nft", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", line, err, out)
			}
		}
		iptables("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
		iptables("-A INPUT -i lo -j ACCEPT")
		iptables("-A INPUT -p udp --dport 5405 -m comment --comment ring -j ACCEPT")
		iptables("-A INPUT -p tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT")
		iptables("-A INPUT -j REJECT")
		list, err := Obstacles("", probes)
		if err != nil || len(list) != 1 || list[0].Port != 5672 || !list[0].Sure {
			t.Errorf("%v, %+v", err, list)
		}
	})
}
