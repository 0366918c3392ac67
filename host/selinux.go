package host

import (
	"os"
	"strings"
)

// Enforcing tells whether SELinux is in enforcing mode on this host.
func Enforcing() bool {
	b, err := os.ReadFile("/sys/fs/selinux/enforce")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// Domain is the SELinux type that this process runs in, or empty.
func Domain() string {
	b, err := os.ReadFile("/proc/self/attr/current")
	parts := strings.Split(strings.TrimRight(string(b), "\x00\n"), ":")
	if err != nil || len(parts) < 3 {
		return ""
	}
	return parts[2]
}
