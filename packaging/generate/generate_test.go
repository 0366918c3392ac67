package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
)

// TestConfiguration holds the packaged configuration against the broker's options: it is
// accepted, it shows every option once, and each line that it shows is accepted by itself.
func TestConfiguration(t *testing.T) {
	text := configuration(config.Describe())
	file := filepath.Join(t.TempDir(), "qpidd.conf")
	load := func(text string) (*config.Options, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load([]string{"--config", file}, nil)
	}
	o, err := load(text)
	if err != nil {
		t.Fatal(err)
	}
	if o.ClusterName == "" || o.MeshPort == 0 || !bool(o.Auth) {
		t.Errorf("the packages' broker is to find others, to be findable through a firewall, and to ask who one is: %+v", o)
	}
	shown := map[string]int{}
	for line := range strings.Lines(text) {
		if len(line) > 100 {
			t.Errorf("%q is too long", line)
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "# ") || line == "#" {
			continue
		}
		line = strings.TrimPrefix(line, "#")
		name, _, _ := strings.Cut(line, "=")
		shown[name]++
		if name == "cluster-size" {
			line = "cluster-name=x\n" + line
		}
		if _, err := load(line + "\n"); err != nil {
			t.Errorf("what it shows of %s is refused: %v", name, err)
		}
	}
	for _, o := range config.Describe() {
		want := 1
		if slices.Contains(commandLine, o.Name) {
			want = 0
		}
		if shown[o.Name] != want {
			t.Errorf("%s is shown %d times, not %d", o.Name, shown[o.Name], want)
		}
	}
}

// TestNothingIsExplainedThatIsNot: an option that is gone is not explained either.
func TestNothingIsExplainedThatIsNot(t *testing.T) {
	there := map[string]bool{}
	for _, o := range config.Describe() {
		there[o.Name] = true
	}
	for _, name := range commandLine {
		if !there[name] {
			t.Errorf("there is no option %s", name)
		}
	}
	for _, s := range sections {
		for _, x := range s.list {
			if !there[x.name] {
				t.Errorf("there is no option %s", x.name)
			}
		}
	}
}

// TestManuals: every option is in qpidd(1), and man has nothing to complain of.
func TestManuals(t *testing.T) {
	dir := t.TempDir()
	if err := write("../man", dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "qpidd.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range config.Describe() {
		if !strings.Contains(string(page), `\fB\-\-`+strings.ReplaceAll(o.Name, "-", `\-`)+`\fR`) {
			t.Errorf("%s is not in qpidd(1)", o.Name)
		}
	}
	if _, err := exec.LookPath("man"); err != nil && os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip("man is not installed")
	}
	for _, page := range []string{filepath.Join(dir, "qpidd.1"), filepath.Join(dir, "qpidd.conf.5"), "../man/qpid-cluster.1", "../man/qpid-perf.1"} {
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=")
		var said strings.Builder
		cmd.Stderr = &said
		if out, err := cmd.Output(); err != nil || said.Len() > 0 || len(out) == 0 {
			t.Errorf("%s: %v: %s", page, err, said.String())
		}
	}
}

// TestBash completes as a shell would.
func TestBash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "qpidd.bash")
	if err := os.WriteFile(file, []byte(bash(config.Describe())), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words, want string
		not         string
	}{
		{"qpidd --cluster-n", "--cluster-name=", "--cluster-size="},
		{"qpidd --no-d", "--no-data-dir", "="},
		{"qpidd --auth = y", "yes", "no"},
		{"qpidd --ring-provider =", "corosync", "--"},
		{"qpidd --data-dir = /us", "/usr", "--"},
		{"qpidd --config = /etc/passw", "/etc/passwd", "--"},
	} {
		script := fmt.Sprintf("compopt() { :; }; . %s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _qpidd; echo \"${COMPREPLY[@]}\"", file, c.words)
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) || strings.Contains(string(out), c.not) {
			t.Errorf("%s: %v, %q", c.words, err, out)
		}
	}
}

// TestExampleOfTheRing: the example is a configuration without anything to complain of.
func TestExampleOfTheRing(t *testing.T) {
	const name = "../share/corosync.conf.example"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, notices, err := conf.Parse(name, data); err != nil || len(notices) > 0 {
		t.Errorf("%v, %v", notices, err)
	}
}
