package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// notifyReload is the version of systemd that has Type=notify-reload.
const notifyReload = 253

// tool skips where systemd's tools are not, but in continuous integration.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("QPIDD_CI") == "" {
		t.Skip("systemd is not installed")
	}
	if err != nil {
		t.Fatalf("%v; install systemd", err)
	}
	return path
}

func version(t *testing.T) (v int) {
	t.Helper()
	out, err := exec.Command(tool(t, "systemd-analyze"), "--version").Output()
	if err == nil {
		_, err = fmt.Sscanf(string(out), "systemd %d", &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// units copies the units for a version of systemd, with programs that are there in place of ours.
func units(t *testing.T, version int) (files []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"qpidd.service", "qpidd@.service", "qpidd.socket"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("../packaging/unit-for", fmt.Sprint(version))
		cmd.Stdin = bytes.NewReader(text)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		out = bytes.ReplaceAll(out, []byte("ExecStart=/usr/sbin/qpidd"), []byte("ExecStart=/bin/true"))
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, out, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// TestVerify has systemd find nothing to complain of.
func TestVerify(t *testing.T) {
	v := version(t)
	verify := func(list []string) string {
		out, err := exec.Command(tool(t, "systemd-analyze"), append([]string{"verify", "--man=no"}, list...)...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := verify(units(t, v)); out != "" {
		t.Error(out)
	}
	if v >= notifyReload {
		return
	}
	// This systemd is too old for the units as they are here, and that is all it finds.
	for line := range strings.Lines(verify(units(t, notifyReload))) {
		if !strings.Contains(line, "notify-reload") {
			t.Error(line)
		}
	}
}

// TestSecurity holds the exposure that systemd sees below 2.5 of 10.
func TestSecurity(t *testing.T) {
	for _, file := range units(t, version(t))[:2] {
		out, err := exec.Command(tool(t, "systemd-analyze"), "security", "--offline=true", "--no-pager", "--threshold=24", file).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
}

// TestTemplate: the template differs from the service in names only.
func TestTemplate(t *testing.T) {
	read := func(name string) []string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = bytes.Cut(text, []byte("[Unit]"))
		return strings.Split(string(text), "\n")
	}
	one, many := read("qpidd.service"), read("qpidd@.service")
	for i := range one {
		if i >= len(many) || one[i] != strings.NewReplacer("-%i", "", " %i", "").Replace(many[i]) {
			t.Fatalf("%q in qpidd.service has no counterpart in qpidd@.service", one[i])
		}
	}
}

// TestUserAndDirectories makes them in a root of their own.
func TestUserAndDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it takes root to give files to a user")
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{
		{"systemd-sysusers", "--root=" + root, filepath.Join(here, "qpidd.sysusers")},
		{"systemd-tmpfiles", "--root=" + root, "--create", filepath.Join(here, "qpidd.tmpfiles")},
	} {
		if out, err := exec.Command(tool(t, line[0]), line[1:]...).CombinedOutput(); err != nil || len(out) > 0 && line[0] != "systemd-sysusers" {
			t.Errorf("%v: %v: %s", line, err, out)
		}
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil || !strings.Contains(string(passwd), "qpidd:") {
		t.Errorf("%v: %s", err, passwd)
	}
	for dir, mode := range map[string]os.FileMode{"var/lib/qpidd": 0o750, "var/log/qpidd": 0o750, "run/qpidd": 0o755} {
		if i, err := os.Stat(filepath.Join(root, dir)); err != nil || i.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", dir, i, err)
		}
	}
}
