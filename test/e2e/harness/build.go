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

// binaryVariable names a qpidd to test instead of this tree's.
const binaryVariable = "QPIDD_BINARY"

var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return path, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	// The same place each time: go build only links again what has changed.
	path := filepath.Join(os.TempDir(), fmt.Sprintf("qpidd-e2e-%d", os.Getuid()), "qpidd")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/qpidd")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/qpidd: %w\n%s", err, out)
	}
	return path, nil
})

// Binary is the path of the qpidd under test.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Root is the directory of the module.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
