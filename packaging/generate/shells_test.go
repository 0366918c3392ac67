package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell skips where a shell is not installed, but where privileged tests run.
func shell(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil && os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip(name + " is not installed")
	}
}

// tab are lines, and what they are after the tabulator was pressed.
var tab = map[string]string{
	"qpidd --cluster-n":        "--cluster-name",
	"qpidd --firewall=req":     "required",
	"qpid-cluster doct":        "doctor",
	"qpid-cluster doctor --al": "--all",
}

// completions writes those of both programs, and returns where they are, and an environment in which
// qpid-cluster, which is asked for its own, is found.
func completions(t *testing.T, kind, ours, theirs string) (dir string, environ []string) {
	t.Helper()
	dir = t.TempDir()
	if err := write("../man", dir); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "bin", "qpid-cluster")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/qpid-cluster").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := exec.Command(program, "completion", kind).Output()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, theirs), text, 0o600)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, ours))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, append(os.Environ(), "HOME="+dir, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
}

// press types a line and a tabulator at a zsh's prompt, and prints what has become of it.
const press = `zmodload zsh/zpty
zpty z env PS1= PS2= TERM=dumb zsh -f -i
zpty -w z "unsetopt zle_bracketed_paste prompt_sp prompt_cr; fpath=($1 \$fpath); autoload -Uz compinit && compinit -u -D && bindkey '^I' complete-word && print rea''dy"
zpty -r -m z out '*ready*' || exit 1
zpty -n -w z "$2"$'\t'$'\x01'"print -r -- '<"$'\x05'">'"$'\n'
while zpty -r z out; do [[ $out == '<'*'>'* ]] && { print -r -- $out; break }; done
zpty -d z`

// TestZsh completes at the prompt of a zsh that runs.
func TestZsh(t *testing.T) {
	shell(t, "zsh")
	dir, environ := completions(t, "zsh", "_qpidd", "_qpid-cluster")
	for _, name := range []string{"_qpidd", "_qpid-cluster"} {
		if out, err := exec.Command("zsh", "-n", filepath.Join(dir, name)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	for line, want := range tab {
		cmd := exec.Command("timeout", "30", "zsh", "-f", "-c", press, "press", dir, line)
		cmd.Env = environ
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want+">") {
			t.Errorf("%q: %v: %q", line, err, out)
		}
	}
}

// TestFish asks a fish what would complete a line.
func TestFish(t *testing.T) {
	shell(t, "fish")
	dir, environ := completions(t, "fish", "qpidd.fish", "qpid-cluster.fish")
	source := ""
	for _, name := range []string{"qpidd.fish", "qpid-cluster.fish"} {
		file := filepath.Join(dir, name)
		source += "source " + file + "; "
		if out, err := exec.Command("fish", "--no-execute", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	for line, want := range tab {
		cmd := exec.Command("fish", "-N", "-c", source+"complete -C '"+line+"'")
		cmd.Env = environ
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v: %q", line, err, out)
		}
	}
}
