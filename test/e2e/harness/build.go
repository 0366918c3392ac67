package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binaryVariable names a directory with programs to test instead of this tree's.
const binaryVariable = "QPIDD_BINARIES"

var build = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(binaryVariable); dir != "" {
		return dir, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	// The same place each time for the same tree: go build only links again what has changed.
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("qpidd-e2e-%d", os.Getuid()), strings.ReplaceAll(root, "/", "_"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "./cmd/qpidd", "./cmd/qpid-cluster")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/…: %w\n%s", err, out)
	}
	return dir, nil
})

// Program is the path of a program under test: qpidd or qpid-cluster.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// Root is the directory of the module.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// Integration tells whether this is continuous integration, where a test that this machine
// could run must not be left out.
func Integration() bool { return os.Getenv("CI") != "" || os.Getenv("QPIDD_CI") != "" }

// leave skips a test for something that this machine lacks, which in continuous integration is an error.
func leave(t testing.TB, lacks error) {
	t.Helper()
	if Integration() {
		t.Fatal(lacks)
	}
	t.Skip(lacks)
}

// Privileged skips a test that is only for root who has asked for it.
func Privileged(t testing.TB) {
	t.Helper()
	if os.Getenv("QPIDD_PRIVILEGED") == "" {
		t.Skip("make test-privileged runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("it makes network namespaces, which takes root")
	}
}
