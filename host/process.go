package host

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Dead tells whether the process with this number is gone from this host, or is only waiting
// to be collected by its parent.
func Dead(pid uint32) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err)
	}
	// The state follows the command, which is in brackets and may contain brackets.
	i := strings.LastIndexByte(string(b), ')')
	return i >= 0 && len(b) > i+2 && (b[i+2] == 'Z' || b[i+2] == 'X')
}

// Local tells whether an address is one of this host's.
func Local(a netip.Addr) bool {
	list, err := addresses()
	if err != nil {
		return false
	}
	for i := range list {
		if list[i].prefix.Addr() == a.Unmap() {
			return true
		}
	}
	return false
}
