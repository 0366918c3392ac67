package setup

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
)

func choice(t *testing.T) Choice {
	dir := t.TempDir()
	return Choice{ClusterName: "orders", ClusterSize: 3, BindNetAddr: "127.0.0.1", Port: 5672, McastPort: 5405, MeshPort: 5406,
		Config: filepath.Join(dir, "qpidd.conf"), RingConfig: filepath.Join(dir, "corosync", "corosync.conf")}
}

// TestTwice: what was written is not written again, and what a person wrote beside it stays.
func TestTwice(t *testing.T) {
	for name, nodes := range map[string][]string{"multicast": nil, "nodes": {"127.0.0.1", "127.0.0.2", "127.0.0.3"}} {
		t.Run(name, func(t *testing.T) {
			c := choice(t)
			c.Nodes = nodes
			const before = "# mine\nmax-connections=7\n\n# its name\ncluster-name=old\n#cluster-size=3\n"
			if err := os.WriteFile(c.Config, []byte(before), 0o640); err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				p, err := Make(c)
				if err != nil {
					t.Fatal(err)
				}
				if round == 1 && len(p.Files) > 0 {
					var b bytes.Buffer
					p.Show(&b)
					t.Errorf("it writes again: %s", b.String())
				}
				if err := p.Write(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(c.Config)
			if want := "# mine\nmax-connections=7\n\n# its name\ncluster-name=orders\ncluster-size=3\nport=5672\nmesh-port=5406\n"; err != nil || string(got) != want {
				t.Errorf("%v: %q", err, got)
			}
			if i, err := os.Stat(c.Config); err != nil || i.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", i.Mode(), err)
			}
			data, err := os.ReadFile(c.RingConfig)
			if err != nil {
				t.Fatal(err)
			}
			r, notices, err := conf.Parse(c.RingConfig, data)
			if err != nil || len(notices) > 0 {
				t.Fatalf("%v, %v: %s", notices, err, data)
			}
			if r.Totem.ClusterName != "orders" || len(r.Nodes) != len(nodes) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestOthersFiles: a corosync.conf of somebody's stays, and mistakes are refused before anything
// is written.
func TestOthersFiles(t *testing.T) {
	c := choice(t)
	if err := os.MkdirAll(filepath.Dir(c.RingConfig), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.RingConfig, []byte("totem {\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Make(c)
	if err != nil || len(p.Files) != 1 || len(p.Notes) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	for want, harm := range map[string]func(c *Choice){
		"would not be accepted": func(c *Choice) { c.Port = 70000 },
		"is no IP address":      func(c *Choice) { c.Nodes = []string{"here", "there"} },
		"is no cluster":         func(c *Choice) { c.Nodes = []string{"127.0.0.1"} },
		"use one of":            func(c *Choice) { c.BindNetAddr = "203.0.113.0" },
	} {
		c := choice(t)
		harm(&c)
		if _, err := Make(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, not %q", err, want)
		}
		if _, err := os.Stat(c.Config); err == nil {
			t.Errorf("%s: something was written", want)
		}
	}
}
