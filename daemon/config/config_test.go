package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qpidd.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	path := file(t, "# comment\nport=1111\ncluster-name=from-file\nauth=no\nlog-enable=info+\n\nlog-enable = debug+:Cluster\n")
	env := []string{"QPID_PORT=2222", "QPID_CLUSTER_NAME=from-environment", "QPID_UNKNOWN=1", "HOME=/"}
	o, err := Load([]string{"-p3333", "--config", path, "--no-data-dir"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 3333 || o.ClusterName != "from-environment" || bool(o.Auth) {
		t.Errorf("port %d, cluster %q, auth %v", o.Port, o.ClusterName, o.Auth)
	}
	if got := strings.Join(o.Log.Enable, " "); got != "info+ debug+:Cluster" {
		t.Errorf("log-enable %q", got)
	}
}

func TestDefaults(t *testing.T) {
	o, err := Load([]string{"--config", file(t, "")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 5672 || !bool(o.Auth) || o.McastPort != 5405 || o.DataDir == "" || o.MaxConnections != 500 || o.ClusterSize != 0 {
		t.Errorf("%+v", o)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	long := strings.Repeat("x", 128)
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--no-such-option"}, "no-such-option"},
		{[]string{"stray"}, `"stray"`},
		{[]string{"-p", "70000"}, "0 to 65535"},
		{[]string{"--auth=perhaps"}, "neither yes nor no"},
		{[]string{"--cluster-name", long}, "127 at most"},
		{[]string{"--cluster-size=3"}, "--cluster-name"},
		{[]string{"--data-dir=x", "--no-data-dir"}, "contradict"},
		{[]string{"--config", filepath.Join(dir, "missing")}, "cannot read configuration file"},
		{[]string{"--config", dir}, "cannot read configuration file"},
		{[]string{"--config", file(t, "port=1\nprot=2\n")}, ":2: unknown option \"prot\""},
		{[]string{"--config", file(t, "port=many\n")}, ":1: "},
		{[]string{"--memory-limit=lots"}, "is no size"},
		{[]string{"--mcastport=80"}, "1024 to 65535"},
	} {
		args := c.args
		if !strings.Contains(strings.Join(args, " "), "--config") {
			args = append(args, "--config", file(t, ""))
		}
		if _, err := Load(args, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want an error with %q", c.args, err, c.want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: the error has several lines: %v", c.args, err)
		}
	}
	if _, err := Load(nil, []string{"QPID_AUTH=perhaps"}); err == nil || !strings.Contains(err.Error(), "QPID_AUTH") {
		t.Errorf("environment: %v", err)
	}
	if _, err := Load([]string{"--help"}, nil); err != ErrHelp || !strings.Contains(Usage(), "--cluster-name NAME") {
		t.Errorf("help: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "1024": 1024, "4k": 4096, "1.5M": 3 << 19, "2G": 2 << 30, "1GiB": 1 << 30, "7MB": 7 << 20} {
		var b Bytes
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1T", "1kk"} {
		var b Bytes
		if b.Set(text) == nil {
			t.Errorf("%q is taken for %d bytes", text, b)
		}
	}
}
