package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// ringFile writes a ring's configuration for a cluster, with the cluster's own port in it, and
// the path of a key.
func ringFile(t *testing.T, c *harness.Cluster, name, text string) string {
	t.Helper()
	path := filepath.Join(c.Dir, name)
	key := filepath.Join(c.Dir, "authkey")
	if err := os.WriteFile(key, []byte(strings.Repeat("not a secret ", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer("PORT", fmt.Sprint(c.RingPort), "KEY", key).Replace(text)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const openais = `# for a cluster on loopback
totem {
        version: 2
        secauth: off
        threads: 0
        interface {
                ringnumber: 0
                bindnetaddr: 127.0.0.0
                mcastaddr: 226.94.32.36
                mcastport: PORT
        }
}

logging {
        debug: off
        timestamp: on
        to_file: yes
        logfile: /tmp/aisexec.log
}

amf {
        mode: disabled
}
`

const corosync3 = `totem {
	version: 2
	cluster_name: loopback
	transport: udp
	token: 2000
	interface {
		mcastport: PORT
	}
}
nodelist {
	node {
		ring0_addr: 127.0.0.1
		nodeid: 17
	}
	node {
		ring0_addr: 203.0.113.2
		nodeid: 18
	}
}
quorum {
	provider: corosync_votequorum
}
`

// TestRingConfig starts brokers that are told by a corosync.conf only where their ring is. They
// say which, and what of it has no effect.
func TestRingConfig(t *testing.T) {
	harness.OwnRing(t, "its configuration is not ours to read")
	short(t)
	for _, x := range []struct {
		name, text string
		says       []string
	}{
		{"openais.conf", openais, []string{
			"group 226.94.32.36 port PORT, node id 2130706433;", "openais.conf:5: totem.threads", "openais.conf:21: section amf",
			"(its network is bindnetaddr; loopback: members on this host only)"}},
		{"encrypted.conf", strings.Replace(openais, "secauth: off", "secauth: on\n        keyfile: KEY", 1), []string{
			"group 226.94.32.36 with AES-256-GCM port PORT", "encrypted.conf:4: with transport udp packets are encrypted with AES-256-GCM"}},
		{"broadcast.conf", strings.Replace(openais, "mcastaddr: 226.94.32.36", "broadcast: yes", 1), []string{"broadcast port PORT, node id 2130706433;"}},
		{"corosync.conf", corosync3, []string{
			"port PORT, node id 17;"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := harness.Start(t, 0)
			c.RingConfig = ringFile(t, c, x.name, x.text)
			for range 3 {
				c.Place()
			}
			c.RestartTogether(0, 1, 2)
			if n := ask(t, c.Brokers[0]).Size; n != 3 {
				t.Errorf("%d members", n)
			}
			var all string
			for i := range c.Brokers {
				log := c.LogText(i)
				if !strings.Contains(log, "ring configuration: "+c.RingConfig+"\n") {
					t.Errorf("broker %d does not say which file it has", i)
				}
				all += log
			}
			for _, want := range x.says {
				if want = strings.ReplaceAll(want, "PORT", fmt.Sprint(c.RingPort)); !strings.Contains(all, want) {
					t.Errorf("no %q in the logs", want)
				}
			}
		})
	}
}

// TestRingConfigMistakes: a broker with a ring that cannot be says on one line where the mistake
// is and what to do, and does not wait.
func TestRingConfigMistakes(t *testing.T) {
	harness.OwnRing(t, "its configuration is not ours to read")
	short(t)
	c := harness.Start(t, 0)
	for _, bad := range []struct {
		name, text string
		want       []string
	}{
		{"bindnetaddr", strings.Replace(openais, "127.0.0.0", "20.0.100.0", 1), []string{
			"bindnetaddr:8: bindnetaddr 20.0.100.0 is on no interface that is up; use one of: ",
			"lo has 127.0.0.1 (network 127.0.0.0; loopback, for members on this host only)"}},
		{"brace", strings.Replace(openais, "        }\n}", "}", 1), []string{`brace:6: section "interface", which begins here, is not closed`}},
		{"key", strings.Replace(openais, "secauth: off", "secauth: on\n        keyfile: KEY-that-is-not-there", 1), []string{
			"key:5: the ring's key cannot be read: ", "make one with corosync-keygen"}},
		{"links", strings.Replace(strings.Replace(corosync3, "transport: udp", "transport: knet", 1), "nodeid: 17", "nodeid: 17\n\t\tring1_addr: 127.0.0.2", 1), []string{
			"links:11: the node has a ring1_addr, and links above 0 are not available"}},
		{"unicast", strings.Replace(strings.Replace(corosync3, "transport: udp", "transport: udpu", 1), "203.0.113.2", "nobody.invalid", 1), []string{
			"unicast:15: ring0_addr nobody.invalid has no address"}},
		{"missing", "", []string{"missing", "--ring-config"}},
	} {
		c.RingConfig = filepath.Join(c.Dir, bad.name)
		if bad.text != "" {
			ringFile(t, c, bad.name, bad.text)
		}
		for _, mode := range []string{"--wait=20", "-d"} {
			t.Run(bad.name+mode, func(t *testing.T) {
				r := c.Command(nil, "-p0", "--cluster-name=x", "--no-data-dir", "--auth=no", mode).Run(t)
				r.Stderr = dropLog(r.Stderr)
				if r.Status == 0 || r.Stdout != "" || len(r.Lines()) != 1 || !strings.HasPrefix(r.Stderr, "qpidd: ") {
					t.Errorf("%+v", r)
				}
				for _, want := range bad.want {
					if !strings.Contains(r.Stderr, want) {
						t.Errorf("no %q in %s", want, r.Stderr)
					}
				}
			})
		}
	}
}
