package doctor

import (
	"strings"

	"golang.org/x/sys/unix"
)

// label is a file's context, or empty.
func label(name string) string {
	b := make([]byte, 256)
	n, err := unix.Lgetxattr(name, "security.selinux", b)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(b[:n]), "\x00")
}

// typeOf is the type of a context: USER:ROLE:TYPE:LEVEL.
func typeOf(context string) string {
	parts := strings.Split(strings.TrimSpace(context), ":")
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}
