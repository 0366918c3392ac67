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

// TestSwitches: what is a switch on the command line has a value in a file and in the environment.
func TestSwitches(t *testing.T) {
	o, err := Load(nil, []string{"QPID_TRACE=on"})
	if err != nil || !o.Log.Trace {
		t.Errorf("trace on in the environment: %v, %v", o, err)
	}
	for text, want := range map[string]bool{"no-data-dir=yes": true, "no-data-dir=1": true, "no-data-dir = true": true,
		"no-data-dir": true, "no-data-dir=no": false} {
		o, err := Load([]string{"--config", file(t, text+"\n")}, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if o.NoDataDir != want {
			t.Errorf("%s: %v", text, o.NoDataDir)
		}
	}
	if _, err := Load([]string{"--config", file(t, "daemon=perhaps\n")}, nil); err == nil || !strings.Contains(err.Error(), ":1: ") {
		t.Errorf("daemon=perhaps: %v", err)
	}
}

// TestGiven: an option counts as given wherever it was, and also with an empty value, or with
// its default's.
func TestGiven(t *testing.T) {
	o, err := Load([]string{"--config", file(t, "mcastport=5405\n"), "--token=1s"}, []string{"QPID_RING_CONFIG="})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"mcastport": true, "token": true, "ring-config": true, "bindnetaddr": false} {
		if o.Given(name) != want {
			t.Errorf("%s: given is %v", name, !want)
		}
	}
	if o.RingConfig != "" {
		t.Errorf("ring-config is %q", o.RingConfig)
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
		{[]string{"--cluster-name", "--no-data-dir"}, "the name is missing"},
		{[]string{"--max-connections=-1"}, "below 0, which is no limit"},
		{[]string{"--max-negotiate-time=-1"}, "--max-negotiate-time -1"},
		{[]string{"--worker-threads=-1"}, "1 to 4096"},
		{[]string{"--worker-threads=100000"}, "1 to 4096"},
		{[]string{"--wait=-5"}, "number of seconds"},
		{[]string{"--token=-3s"}, "--token -3s"},
		{[]string{"--data-dir=x", "--no-data-dir"}, "contradict"},
		{[]string{"--config", filepath.Join(dir, "missing")}, "cannot read configuration file"},
		{[]string{"--config", dir}, "cannot read configuration file"},
		{[]string{"--config", file(t, "port=1\nprot=2\n")}, ":2: unknown option \"prot\""},
		{[]string{"--config", file(t, "port=many\n")}, ":1: "},
		{[]string{"--sync=most"}, "none of majority, all, local and none"},
		{[]string{"--truncate=perhaps"}, "neither yes nor no"},
		{[]string{"--truncate", "--no-data-dir"}, "nothing to discard"},
		{[]string{"--memory-limit=lots"}, "is no size"},
		{[]string{"--mcastport=80"}, "1024 to 65535"},
		{[]string{"--mesh-port=-1"}, "0 to 65535"},
		{[]string{"--firewall=on"}, "none of auto, required, check, off"},
		{[]string{"--mcastaddr=10.0.0.1"}, "239.0.0.0 to 239.255.255.255"},
		{[]string{"--metrics-listen=here:9419"}, "[ADDRESS:]PORT"},
		{[]string{"--metrics-listen=127.0.0.1:"}, "[ADDRESS:]PORT"},
		{[]string{"--metrics-listen=::1"}, "[ADDRESS:]PORT"},
		{[]string{"--metrics-listen=70000"}, "[ADDRESS:]PORT"},
		{[]string{"--mcastaddr=group"}, "239.0.0.0 to 239.255.255.255"},
		{[]string{"--config", file(t, "\nport=70000\n")}, ":2: --port 70000"},
		{[]string{"-p1", "--config", file(t, "auth=no\nport=many\n")}, ":2: "},
		{[]string{"-p1", "--config", file(t, "auth=no\nport=70000\n")}, ":2: --port 70000"},
		{[]string{"--auth=no", "--config", file(t, "auth=perhaps\n")}, ":1: "},
		{[]string{"--ring-provider=openais"}, "neither totem nor corosync"},
		{[]string{"--ring-provider=corosync", "--cluster-name=c", "--bindnetaddr=127.0.0.1"}, "--bindnetaddr is of no use"},
		{[]string{"--ring-provider=corosync", "--cluster-name=c", "--config", file(t, "token=1s\n")}, "--token is of no use"},
		{[]string{"--ring-provider=corosync", "--cluster-name=c", "--ring-config=x"}, "--ring-config is of no use"},
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
	if _, err := Load([]string{"-p1"}, []string{"QPID_PORT=70000"}); err == nil || !strings.Contains(err.Error(), "QPID_PORT: --port 70000") {
		t.Errorf("environment: %v", err)
	}
	if _, err := Load([]string{"--help"}, nil); err != ErrHelp || !strings.Contains(Usage(), "--cluster-name NAME") {
		t.Errorf("help: %v", err)
	}
}

// TestFilesOfOtherEditors reads a file with a mark before its first line, and lines that end as elsewhere.
func TestFilesOfOtherEditors(t *testing.T) {
	o, err := Load([]string{"--config", file(t, "\ufeffport=5673\r\n\r\n# no users yet\r\nauth=no\r\n")}, nil)
	if err != nil || o.Port != 5673 || bool(o.Auth) {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestStoreDir: durable messages are in the data directory if nothing else is said.
func TestStoreDir(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--data-dir=d"}, "d"},
		{[]string{"--data-dir=d", "--store-dir=s", "--truncate=yes"}, "s"},
		{[]string{"--no-data-dir"}, ""},
		{[]string{"--no-data-dir", "--store-dir=s", "--sync=all"}, "s"},
	} {
		o, err := Load(append(c.args, "--config", file(t, "")), nil)
		if err != nil || o.StoreDir != c.want {
			t.Errorf("%v: %q, %v", c.args, o.StoreDir, err)
		}
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
