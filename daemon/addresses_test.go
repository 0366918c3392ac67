package daemon

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestListenAddresses: --interface takes addresses and interfaces, as its help says.
func TestListenAddresses(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	loopback := slices.IndexFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if loopback < 0 {
		t.Fatal("there is no loopback interface")
	}
	for _, c := range []struct {
		values []string
		want   string // one of the addresses
	}{
		{nil, ""},
		{[]string{"127.0.0.1"}, "127.0.0.1"},
		{[]string{"::1"}, "::1"},
		{[]string{"fe80::1%nowhere"}, "fe80::1%nowhere"}, // found out when it is listened on
		{[]string{all[loopback].Name}, "127.0.0.1"},
		{[]string{all[loopback].Name, "127.0.0.1"}, "127.0.0.1"},
		{[]string{"localhost"}, "127.0.0.1"},
	} {
		got, err := listenAddresses(c.values)
		if err != nil || !slices.Contains(got, c.want) {
			t.Errorf("%q: %q, %v, expected %q", c.values, got, err, c.want)
		}
		slices.Sort(got)
		if n := len(got); n != len(slices.Compact(got)) {
			t.Errorf("%q: %q has one twice", c.values, got)
		}
	}
	_, err = listenAddresses([]string{"no interface"})
	if err == nil || !strings.Contains(err.Error(), all[loopback].Name) {
		t.Errorf("of an interface that is not there is said: %v", err)
	}
	if err := listenError("192.0.2.1", 5672, syscall.EADDRNOTAVAIL); !strings.Contains(err.Error(), "--interface 192.0.2.1") {
		t.Errorf("of an address that is not there is said: %v", err)
	}
}
