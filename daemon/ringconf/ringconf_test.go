package ringconf

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads a file with options, and gives what it said in lines.
func load(t *testing.T, file string, args ...string) (*Setup, string, error) {
	t.Helper()
	args = append([]string{"--config=/dev/null", "--no-data-dir", "--cluster-name=brokers", "--ring-config=" + file}, args...)
	o, err := config.Load(args, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	s, err := Load(o, func(notice string) { said = append(said, notice) })
	return s, strings.Join(said, "\n"), err
}

const openais = `totem {
	version: 2
	secauth: off
	threads: 0
	interface {
		ringnumber: 0
		bindnetaddr: 127.0.0.0
		mcastaddr: 226.94.32.36
		mcastport: 5409
	}
}
amf {
	mode: disabled
}
`

func TestOpenais(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "openais.conf"), openais)
	s, said, err := load(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if s.At.Interface != "lo" || s.At.Reason != "its network is bindnetaddr; loopback: members on this host only" ||
		s.Link.Address != netip.MustParseAddr("127.0.0.1") || s.Link.Group != netip.MustParseAddr("226.94.32.36") || s.Link.Port != 5409 || s.Link.TTL != 1 {
		t.Errorf("%+v", s)
	}
	if s.Totem.Token != 3*time.Second || s.Totem.TokenRetransmit != 714*time.Millisecond || s.Totem.Consensus != 3600*time.Millisecond ||
		s.Totem.NetMTU != 1500 || s.Totem.WindowSize != 0 || s.Quorum.Expected != 0 || s.Votes != 1 || s.ExpectedVotes != 1 {
		t.Errorf("%+v", s)
	}
	if s.Link.Downcheck != 0 {
		t.Errorf("downcheck is not given, and is %v", s.Link.Downcheck)
	}
	if s.TokenWarning != 75 {
		t.Errorf("the token is late after %d %%", s.TokenWarning)
	}
	if got := s.Node(netip.MustParseAddrPort("127.0.0.1:5409")); got != 0x7f000001 {
		t.Errorf("node id %d", got)
	}
	if !strings.HasPrefix(said, "ring configuration: "+file+"\n") || !strings.Contains(said, file+":12: section amf") || !strings.Contains(said, file+":4: totem.threads") {
		t.Errorf("it said %s", said)
	}
	totem := s.Totem
	totem.Node = 1
	if err := totem.WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
}

// TestTuned: what a file says of joins, heartbeats, and tokens that are kept; a heartbeat that is none
// is named.
func TestTuned(t *testing.T) {
	const text = "totem {\n\tversion: 2\n\ttransport: udp\n\tsend_join: 80\n\theartbeat_failures_allowed: 3\n\tmax_network_delay: 40\n\tcancel_token_hold_on_retransmit: yes\n\ttoken: 4200\n\tdowncheck: 700\n}\n"
	file := write(t, filepath.Join(t.TempDir(), "corosync.conf"), text)
	s, said, err := load(t, file, "--bindnetaddr=127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := s.Totem.Heartbeat(); d != 3040*time.Millisecond || !ok || s.Totem.SendJoin != 80*time.Millisecond || !s.Totem.CancelTokenHoldOnRetransmit || s.Link.Downcheck != 700*time.Millisecond {
		t.Errorf("heartbeat %v %v of %+v", d, ok, s.Totem)
	}
	if strings.Contains(said, "send_join") || strings.Contains(said, "downcheck") || strings.Contains(said, "heartbeat") || strings.Contains(said, "max_network_delay") || strings.Contains(said, "cancel_token") {
		t.Error(said)
	}
	for _, x := range []struct{ failures, token string }{{"5", ""}, {"4294967295", ""}, {"3", "--token=300ms"}} {
		file = write(t, file, strings.Replace(text, "allowed: 3", "allowed: "+x.failures, 1))
		args := []string{"--bindnetaddr=127.0.0.1"}
		if x.token != "" {
			file = write(t, file, strings.Replace(text, "delay: 40", "delay: 140", 1))
			args = append(args, x.token)
		}
		s, said, err = load(t, file, args...)
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := s.Totem.Heartbeat(); ok || !strings.Contains(said, ":5: heartbeat_failures_allowed is "+x.failures) || !strings.Contains(said, "are not less than token") {
			t.Errorf("%v: heartbeat %v; it said %s", x, d, said)
		}
	}
}

// TestOptionsOverride: each option that the file has, too.
func TestOptionsOverride(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "corosync.conf"), `totem {
	version: 2
	secauth: off
	cluster_name: west
	token: 5000
	window_size: 300
	max_messages: 100
	netmtu: 70
	netmtu: 9000
	nodeid: 7
	clear_node_high_bit: yes
	interface {
		bindnetaddr: 203.0.113.0
		broadcast: yes
		mcastport: 5409
		ttl: 0
	}
}
quorum {
	provider: corosync_votequorum
	expected_votes: 3
	votes: 2
}
`)
	if _, _, err := load(t, file); err == nil || !strings.Contains(err.Error(), "netmtu") {
		t.Errorf("netmtu: 70: %v", err)
	}
	text, _ := os.ReadFile(file)
	write(t, file, strings.Replace(string(text), "\tnetmtu: 70\n", "", 1))
	s, said, err := load(t, file, "--bindnetaddr=127.0.0.1", "--mcastaddr=239.1.2.3", "--mcastport=5405", "--token=1s", "--cluster-size=5")
	if err != nil {
		t.Fatal(err)
	}
	if s.At.Interface != "lo" || s.Link.Broadcast || s.Link.Group != netip.MustParseAddr("239.1.2.3") || s.Link.Port != 5405 || s.Link.TTL != link.TTLHost {
		t.Errorf("%+v", s.Link)
	}
	if s.Totem.Token != time.Second || s.Totem.Consensus != 1200*time.Millisecond || s.Totem.TokenRetransmit != 238*time.Millisecond ||
		s.Totem.WindowSize != 300 || s.Totem.MaxMessages != 100 || s.Totem.NetMTU != 9000 {
		t.Errorf("%+v", s.Totem)
	}
	if s.Quorum.Expected != 5 || s.ExpectedVotes != 5 || s.Votes != 2 || strings.Contains(said, "expected_votes") {
		t.Errorf("%+v; it said %s", s, said)
	}
	if a, b := s.Node(netip.MustParseAddrPort("127.0.0.1:5405")), s.Node(netip.MustParseAddrPort("127.0.0.1:40000")); a != 7 || b == 7 || b >= 1<<31 {
		t.Errorf("node ids %d and %d", a, b)
	}
	s, _, err = load(t, file, "--bindnetaddr=127.0.0.1")
	if err != nil || !s.Link.Broadcast || s.Link.Port != 5409 || s.Everyone() != "broadcast" || s.Quorum.Expected != 3 || s.ExpectedVotes != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNoFile(t *testing.T) {
	for _, none := range []string{"", "/dev/null"} {
		s, said, err := load(t, none, "--bindnetaddr=127.0.0.1", "--cluster-size=4")
		if err != nil || said != "" {
			t.Fatalf("%v; it said %s", err, said)
		}
		if s.Link.Group != link.MulticastAddr("brokers", false, 0) || s.Link.Port != 5405 || s.Totem.Token != 0 || s.Totem.Nodes != 4 || s.Quorum.Expected != 4 || s.ExpectedVotes != 4 || s.Votes != 1 {
			t.Errorf("%+v", s)
		}
		if s.Everyone() != "group "+s.Link.Group.String() {
			t.Error(s.Everyone())
		}
	}
	if _, _, err := load(t, filepath.Join(t.TempDir(), "missing")); err == nil || !strings.Contains(err.Error(), "--ring-config") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestSearch: the first file there is counts, but for the example that nobody has edited.
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a", "corosync.conf"), filepath.Join(dir, "plain", "corosync.conf"), filepath.Join(dir, "c", "openais.conf")}
	write(t, filepath.Join(dir, "plain"), "")
	find := func() (string, string, error) {
		var said []string
		c, err := search(files, func(s string) { said = append(said, s) })
		if c == nil {
			return "", strings.Join(said, "\n"), err
		}
		return c.File, strings.Join(said, "\n"), err
	}
	if got, said, err := find(); got != "" || said != "" || err != nil {
		t.Errorf("of nothing %s: %s, %v", got, said, err)
	}
	write(t, files[2], openais)
	if got, _, err := find(); got != files[2] || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	const example = "totem {\n\tversion: 2\n\tcluster_name: %s\n}\nnodelist {\n\tnode {\n\t\tname: node1\n\t\tnodeid: 1\n\t\tring0_addr: 127.0.0.1\n\t}\n}\n"
	write(t, files[0], fmt.Sprintf(example, "debian"))
	if got, said, err := find(); got != files[2] || err != nil || !strings.Contains(said, files[0]+" is not used") {
		t.Errorf("beside an example %s: %s, %v", got, said, err)
	}
	write(t, files[0], fmt.Sprintf(example, "mine"))
	if got, said, err := find(); got != files[0] || err != nil || !strings.Contains(said, "ring configuration: "+files[0]) {
		t.Errorf("%s: %s, %v", got, said, err)
	}
	write(t, files[0], "totem {\n")
	if _, _, err := find(); err == nil || !strings.Contains(err.Error(), files[0]+":1: ") {
		t.Errorf("a brace that lacks: %v", err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(files[0], 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := find(); err == nil || !strings.Contains(err.Error(), "--ring-config=") {
		t.Errorf("a directory: %v", err)
	}
	write(t, files[2], strings.Repeat("#\n", maxFileBytes/2+1))
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := find(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too large: %v", err)
	}
}

func TestNodelist(t *testing.T) {
	file := func(first string) string {
		return write(t, filepath.Join(t.TempDir(), "corosync.conf"), `totem {
	version: 2
	cluster_name: west
	transport: udp
	interface {
		bindnetaddr: 203.0.113.0
	}
}
nodelist {
	node {
		ring0_addr: 203.0.113.1
		nodeid: 1
	}
	node {
		ring0_addr: `+first+`
		nodeid: 2
		quorum_votes: 3
	}
	node {
		ring0_addr: 203.0.113.3
	}
	node {
		ring0_addr: nobody.invalid
		nodeid: 4
	}
}
quorum {
	provider: corosync_votequorum
}
`)
	}
	for _, first := range []string{"127.0.0.1", "localhost"} {
		s, said, err := load(t, file(first))
		if err != nil {
			t.Fatal(err)
		}
		if s.At.Interface != "lo" || s.Node(netip.MustParseAddrPort("127.0.0.1:5405")) != 2 || s.Link.Group != link.MulticastAddr("west", false, 0) {
			t.Errorf("%+v", s)
		}
		want := map[wire.NodeID]netip.AddrPort{1: netip.MustParseAddrPort("203.0.113.1:5405"), 0xcb007103: netip.MustParseAddrPort("203.0.113.3:5405")}
		if fmt.Sprint(s.Link.Peers) != fmt.Sprint(want) {
			t.Errorf("peers %v", s.Link.Peers)
		}
		if s.Totem.Token != 4300*time.Millisecond || s.ExpectedVotes != 6 || s.Votes != 3 || s.Quorum.Expected != 6 || !maps.Equal(s.Quorum.Weights, map[uint32]int{2: 3}) || s.Quorum.WaitForAll {
			t.Errorf("%+v", s)
		}
		for _, want := range []string{":6: bindnetaddr 203.0.113.0 has no effect", "nobody.invalid"} {
			if !strings.Contains(said, want) {
				t.Errorf("no %q in %s", want, said)
			}
		}
	}
	_, _, err := load(t, file("203.0.113.2"))
	if err == nil || !strings.Contains(err.Error(), ":9: no node of the nodelist is this host") || !strings.Contains(err.Error(), "lo has 127.0.0.1") {
		t.Errorf("%v", err)
	}
	s, said, err := load(t, file("203.0.113.2"), "--bindnetaddr=127.0.0.1")
	if err != nil || s.Node(netip.MustParseAddrPort("127.0.0.1:5405")) != 0x7f000001 || !strings.Contains(said, "no node of the nodelist has address 127.0.0.1") {
		t.Errorf("%+v, %s, %v", s, said, err)
	}
}

// TestUnicast: the nodes of the nodelist, or the members of an older file, are the peers.
func TestUnicast(t *testing.T) {
	const older = `totem {
	version: 2
	secauth: off
	transport: udpu
	interface {
		bindnetaddr: 127.0.0.0
		member {
			memberaddr: 127.0.0.1
		}
		member {
			memberaddr: 127.0.0.2
		}
	}
}
`
	const newer = `totem {
	version: 2
	transport: udpu
	merge: 300
	block_unlisted_ips: no
}
nodelist {
	node {
		ring0_addr: 127.0.0.1
		nodeid: 1
	}
	node {
		ring0_addr: 127.0.0.2
		nodeid: ID
	}
}
`
	for text, want := range map[string]link.Config{
		older: {Merge: 200 * time.Millisecond},
		strings.Replace(newer, "ID", "2130706434", 1): {Merge: 300 * time.Millisecond, AcceptUnlisted: true},
	} {
		s, said, err := load(t, write(t, filepath.Join(t.TempDir(), "corosync.conf"), text), "--mcastaddr=239.1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		if s.Link.Transport != link.Unicast || s.Link.Merge != want.Merge || s.Link.AcceptUnlisted != want.AcceptUnlisted || s.Link.Group.IsValid() ||
			fmt.Sprint(s.Link.Peers) != "map[2130706434:127.0.0.2:5405]" || s.Everyone() != "unicast to 1 others" {
			t.Errorf("%+v", s.Link)
		}
		if !strings.Contains(said, "--mcastaddr has no effect with transport udpu") {
			t.Error(said)
		}
		if err := s.Link.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// TestKnet: what knet needs is derived as corosync does; packets fit the interface unless netmtu
// is given.
func TestKnet(t *testing.T) {
	dir := t.TempDir()
	key := strings.Repeat("k", 128)
	keyfile := write(t, filepath.Join(dir, "authkey"), key)
	text := `totem {
	version: 2
	token: 2001
	secauth: on
	keyfile: ` + keyfile + `
	knet_pmtud_interval: 7
	link_mode: active
	interface {
		linknumber: 0
		mcastport: 5500
		knet_pong_count: 3
	}
}
nodelist {
	node {
		ring0_addr: 127.0.0.1
		nodeid: 1
	}
	node {
		ring0_addr: 127.0.0.2
		nodeid: 2
	}
}
`
	s, said, err := load(t, write(t, filepath.Join(dir, "corosync.conf"), text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, ":7: totem.link_mode has no effect") {
		t.Error(said)
	}
	want := link.KnetConfig{PingInterval: 333 * time.Millisecond, PingTimeout: 667 * time.Millisecond, PongCount: 3, PMTUDInterval: 7 * time.Second}
	crypto := link.Crypto{Cipher: "aes256", Hash: "sha256", Key: []byte(key)}
	if s.Link.Transport != link.Knet || s.Link.Node != 1 || s.Link.Knet != want || fmt.Sprint(s.Link.Crypto) != fmt.Sprint(crypto) ||
		fmt.Sprint(s.Link.Peers) != "map[2:127.0.0.2:5500]" || s.Everyone() != "knet to 1 others with aes256 and sha256" {
		t.Errorf("%+v", s.Link)
	}
	// 9000 - 28 - salt 16 - HMAC 32 = 8924, of which 8912 are whole blocks, less a byte of
	// padding and a header of 14; and what recovery has more.
	if s.Totem.NetMTU != 8897+45 || s.Totem.WindowSize != 0 || s.Totem.MaxPacketBytes != 65536 {
		t.Errorf("%+v", s.Totem)
	}
	if err := s.Link.Validate(); err != nil {
		t.Error(err)
	}
	inline := strings.Replace(text, "keyfile: "+keyfile, "key: "+key+"\n\tcrypto_cipher: none\n\tnetmtu: 65536", 1)
	s, _, err = load(t, write(t, filepath.Join(dir, "corosync.conf"), inline))
	if err != nil {
		t.Fatal(err)
	}
	if s.Totem.NetMTU != 65000 || s.Totem.WindowSize != 50 || s.Totem.MaxMessages != 17 || s.Link.Crypto.Cipher != "none" || string(s.Link.Crypto.Key) != key {
		t.Errorf("%+v, %+v", s.Totem, s.Link.Crypto)
	}
	if _, _, err := load(t, write(t, filepath.Join(dir, "corosync.conf"), strings.Replace(text, "127.0.0.1", "203.0.113.1", 1)), "--bindnetaddr=127.0.0.1"); err == nil || !strings.Contains(err.Error(), ":14: no node of the nodelist has this host's address 127.0.0.1") {
		t.Errorf("not in the nodelist: %v", err)
	}
}

// TestSealed: with udp and udpu a key is enough, and packets leave room for what protects them.
func TestSealed(t *testing.T) {
	dir := t.TempDir()
	keyfile := write(t, filepath.Join(dir, "authkey"), strings.Repeat("k", 256))
	file := write(t, filepath.Join(dir, "openais.conf"), strings.Replace(openais, "secauth: off", "secauth: on\n\tcluster_name: west\n\tkeyfile: "+keyfile, 1))
	s, said, err := load(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Link.Crypto.Key) != 256 || s.Link.Crypto.Cluster != "west" || s.Everyone() != "group 226.94.32.36 with AES-256-GCM" || s.Totem.MaxPacketBytes != 65507-40 {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(said, ":3: with transport udp packets are encrypted with AES-256-GCM") || !strings.Contains(said, "a corosync cannot be in this ring") {
		t.Error(said)
	}
	if err := s.Link.Validate(); err != nil {
		t.Error(err)
	}
}

// TestRefused: what would keep members apart or unprotected, and what fits no interface, in one
// line with the place and a remedy.
func TestRefused(t *testing.T) {
	nodelist := "nodelist {\n\tnode {\n\t\tring0_addr: 127.0.0.1\n\t\tnodeid: 1\n\t}\n}\n"
	for text, want := range map[string]string{
		strings.Replace(openais, "127.0.0.0", "20.0.100.0", 1):                                                                                                                       ":7: bindnetaddr 20.0.100.0 is on no interface that is up; use one of: lo has 127.0.0.1 (network 127.0.0.0; loopback",
		"totem {\n\tversion: 2\n}\n" + strings.Replace(nodelist, "nodeid: 1", "nodeid: 1\n\t\tring1_addr: 127.0.0.1", 1):                                                             ":5: the node has a ring1_addr, and links above 0 are not available",
		"totem {\n\tversion: 2\n\tknet_compression_model: zlib\n}\n" + nodelist:                                                                                                      ":3: knet_compression_model zlib is not available; set it to none",
		"totem {\n\tversion: 2\n\tinterface {\n\t\tknet_transport: sctp\n\t}\n}\n" + nodelist:                                                                                        ":4: knet_transport sctp is not available",
		"totem {\n\tversion: 2\n\tinterface {\n\t\tlinknumber: 1\n\t}\n}\n" + nodelist:                                                                                               ":3: links above 0 are not available",
		strings.Replace(openais, "secauth: off", "crypto_hash: sha1\n\tkeyfile: /nonexistent/authkey", 1):                                                                            ":4: the ring's key cannot be read: open /nonexistent/authkey",
		"totem {\n\tversion: 2\n\tsecauth: on\n\tkeyfile: /nonexistent/authkey\n}\n" + nodelist:                                                                                      ":4: the ring's key cannot be read: open /nonexistent/authkey: no such file or directory: it is the keyfile; make one with corosync-keygen",
		"totem {\n\tversion: 2\n\ttransport: udpu\n}\n" + strings.Replace(nodelist, "nodelist {\n", "nodelist {\n\tnode {\n\t\tring0_addr: nobody.invalid\n\t\tnodeid: 2\n\t}\n", 1): ":6: ring0_addr nobody.invalid has no address, and transport udpu needs one",
		strings.Replace(openais, "}\n}\namf", "}\namf", 1):                                                                                                                           `section "totem", which begins here, is not closed`,
		strings.Replace(openais, "226.94.32.36", "10.0.0.1", 1):                                                                                                                      "no multicast address",
		strings.Replace(openais, "mcastaddr: 226.94.32.36", "crypto_cypher: aes256", 1):                                                                                              "unprotected",
	} {
		file := write(t, filepath.Join(t.TempDir(), "corosync.conf"), text)
		if _, _, err := load(t, file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want one line with %q and the file", err, want)
		}
	}
}

// TestVotes: what a file asks of the quorum is asked of the cluster, and what is not available is
// named.
func TestVotes(t *testing.T) {
	const head = "totem {\n\tversion: 2\n\tsecauth: off\n\ttransport: udp\n}\nquorum {\n\tprovider: corosync_votequorum\n\t"
	const window = 10 * time.Second
	for quorum, want := range map[string]struct {
		q    cluster.Quorum
		said string
	}{
		"expected_votes: 3":                                   {cluster.Quorum{Expected: 3, Window: window}, ""},
		"expected_votes: 3\n\twait_for_all: 1":                {cluster.Quorum{Expected: 3, WaitForAll: true, Window: window}, ""},
		"expected_votes: 2\n\ttwo_node: 1":                    {cluster.Quorum{Expected: 2, TwoNode: true, WaitForAll: true, Window: window}, ""},
		"expected_votes: 2\n\ttwo_node: 1\n\twait_for_all: 0": {cluster.Quorum{Expected: 2, TwoNode: true, Window: window}, ""},
		"expected_votes: 3\n\ttwo_node: 1": {cluster.Quorum{Expected: 3, WaitForAll: true, Window: window},
			":9: two_node is for two votes, of which 3 are expected, and is off"},
		"expected_votes: 8\n\tlast_man_standing: 1\n\tlast_man_standing_window: 20000": {
			cluster.Quorum{Expected: 8, LastManStanding: true, Window: 2 * window}, ""},
		"expected_votes: 4\n\tauto_tie_breaker: 1": {cluster.Quorum{Expected: 4, TieBreaker: cluster.TieLowest, Window: window}, ""},
		"expected_votes: 4\n\tauto_tie_breaker: 1\n\tauto_tie_breaker_node: highest": {
			cluster.Quorum{Expected: 4, TieBreaker: cluster.TieHighest, Window: window}, ""},
		"expected_votes: 4\n\tauto_tie_breaker: 1\n\tauto_tie_breaker_node: 1 3 5": {
			cluster.Quorum{Expected: 4, TieBreaker: cluster.TieListed, TieNodes: []uint32{1, 3, 5}, Window: window}, ""},
		"expected_votes: 3\n\tallow_downscale: 1":                          {cluster.Quorum{Expected: 3, AllowDownscale: true, Tracking: true, Window: window}, ""},
		"expected_votes: 3\n\texpected_votes_tracking: 1":                  {cluster.Quorum{Expected: 3, Tracking: true, Window: window}, ""},
		"expected_votes: 6\n\tvotes: 2":                                    {cluster.Quorum{Expected: 6, Window: window}, ":9: votes: not available without a nodelist"},
		"expected_votes: 5\n\tdevice {\n\t\tmodel: net\n\t\tvotes: 2\n\t}": {cluster.Quorum{Expected: 5, Window: window}, ":9: device: not available"},
	} {
		file := write(t, filepath.Join(t.TempDir(), "corosync.conf"), head+quorum+"\n}\n")
		s, said, err := load(t, file, "--bindnetaddr=127.0.0.1")
		if err != nil || !reflect.DeepEqual(s.Quorum, want.q) || !strings.Contains(said, want.said) {
			t.Errorf("%s: %+v, %v; no %q in %s", quorum, s, err, want.said, said)
		}
		if want.said == "" && strings.Contains(said, "quorum") {
			t.Errorf("%s: it says %s", quorum, said)
		}
	}
}

// TestWeights: votes of the nodelist, by node, and what does not go with them.
func TestWeights(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "corosync.conf"), `totem {
	version: 2
	transport: udp
}
nodelist {
	node {
		ring0_addr: 127.0.0.1
		nodeid: 1
		quorum_votes: 3
	}
	node {
		ring0_addr: 203.0.113.3
		quorum_votes: 0
	}
	node {
		ring0_addr: nobody.invalid
		quorum_votes: 2
	}
}
quorum {
	provider: corosync_votequorum
	last_man_standing: 1
}
`)
	s, said, err := load(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[uint32]int{1: 3, 0xcb007103: 0}; !maps.Equal(s.Quorum.Weights, want) || s.Quorum.Expected != 5 || s.Quorum.LastManStanding {
		t.Errorf("%+v", s.Quorum)
	}
	for _, want := range []string{":17: the node has no nodeid", ":22: last_man_standing is for members with one vote each, and is off"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in %s", want, said)
		}
	}
}

// TestUIDGID: files beside the corosync.conf are looked at; mistakes in them stop corosync, not
// the broker.
func TestUIDGID(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "corosync.conf"), openais)
	write(t, filepath.Join(dir, "uidgid.d", "good"), "uidgid {\n\tuid: qpidd\n}\n")
	bad := write(t, filepath.Join(dir, "uidgid.d", "bad"), "uidgid {\n\tuser: qpidd\n}\n")
	_, said, err := load(t, file)
	if err != nil || !strings.Contains(said, bad+":2: user: a section uidgid has uid and gid") || strings.Contains(said, "good") {
		t.Errorf("%v; it said %s", err, said)
	}
}

// TestDocument reads the examples of the page for operators.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating/ring-config.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	inside := false
	for line := range strings.Lines(string(page)) {
		code, indented := strings.CutPrefix(line, "    ")
		if indented && !inside {
			examples = append(examples, "")
		}
		if inside = indented; inside {
			examples[len(examples)-1] += code
		}
	}
	if len(examples) != 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, text := range examples {
		_, _, err := conf.Parse("example", []byte(text))
		if err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
}
