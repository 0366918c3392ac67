package daemon

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// right is a capability, and what was asked for that takes it.
type right struct {
	bit   int
	name  string
	wants func(o *config.Options) string // the option, or empty
}

var rights = []right{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", programs},
	{unix.CAP_NET_RAW, "CAP_NET_RAW", sockets},
	{unix.CAP_BPF, "CAP_BPF", programs},
	// Without it the verifier denies programs that go through a packet by pointers.
	{unix.CAP_PERFMON, "CAP_PERFMON", programs},
}

// programs is the option that asks for programs of the kernel assist.
func programs(o *config.Options) string {
	switch {
	case o.Datapath == config.DatapathXDP:
		return "--ring-datapath=xdp"
	case o.RingGuard != config.GuardOff:
		return "--ring-guard=" + o.RingGuard
	case bool(o.TokenPass):
		return "--ring-token-pass"
	case o.ConnectionRate > 0:
		return "--connection-rate"
	}
	return ""
}

// sockets is the option that asks for sockets past UDP.
func sockets(o *config.Options) string {
	if o.Datapath == config.DatapathXDP || o.Datapath == config.DatapathPacket {
		return "--ring-datapath=" + o.Datapath
	}
	return ""
}

// lacking names the capabilities that options ask for and this process has not; empty: none. The
// kernel's own words, which follow when one is used, do not always tell.
func lacking(o *config.Options) string {
	have, err := host.Capabilities()
	if err != nil {
		return ""
	}
	var list []string
	for _, r := range rights {
		if option := r.wants(o); option != "" && have&(1<<r.bit) == 0 {
			list = append(list, fmt.Sprintf("%s for %s", r.name, option))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "this process lacks " + strings.Join(list, ", ") + ", and goes on without what takes it: start it with systemctl start qpidd, whose unit gives it, or do without the option"
}
