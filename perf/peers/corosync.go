package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// Corosync is a daemon on each host of a network, in directories of its own.
type Corosync struct {
	processes
	net *netlab.Network
}

// enclosed gives a daemon directories of its own: a mount namespace in which everything it
// writes to is empty or in the directory given.
const enclosed = `set -e
mount --make-rprivate /
for d in etc:/etc/corosync lib:/var/lib/corosync log:/var/log/corosync; do
	mkdir -p "$1/${d%%:*}" "${d#*:}"
	mount --bind "$1/${d%%:*}" "${d#*:}"
done
mount -t tmpfs none /run
mount -t tmpfs -o size=512m none /dev/shm
exec corosync -f`

// StartCorosync starts daemons with more lines for their totem section.
func StartCorosync(ctx context.Context, net *netlab.Network, dir, totem string) (*Corosync, error) {
	c := &Corosync{net: net}
	for i := range net.Hosts {
		if err := c.Start(dir, totem, i); err != nil {
			return nil, errors.Join(err, c.Stop())
		}
	}
	ready := func() error {
		for i := range net.Hosts {
			line := c.Beside(i, "corosync-cpgtool")
			if out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	}
	if err := c.await(ctx, "corosync", ready); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func corosyncName(i int) string { return fmt.Sprintf("corosync%d", i+1) }

// Start starts the daemon of a host.
func (c *Corosync) Start(dir, totem string, i int) error {
	dir = filepath.Join(dir, corosyncName(i))
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "totem {\n\tversion: 2\n\tcluster_name: load\n\ttransport: udp\n%s\n\tinterface {\n\t\tringnumber: 0\n"+
		"\t\tbindnetaddr: %s\n\t\tmcastaddr: 239.255.78.3\n\t\tmcastport: 5405\n\t}\n}\n"+
		"quorum {\n\tprovider: corosync_votequorum\n}\nlogging {\n\tto_syslog: no\n\tto_stderr: yes\n}\nnodelist {\n", totem, netlab.Subnet)
	for k, h := range c.net.Hosts {
		fmt.Fprintf(&b, "\tnode {\n\t\tring0_addr: %s\n\t\tnodeid: %d\n\t}\n", h.IP, k+1)
	}
	b.WriteString("}\n")
	if err := os.WriteFile(filepath.Join(dir, "etc", "corosync.conf"), b.Bytes(), 0o644); err != nil {
		return err
	}
	line := c.net.Hosts[i].Line("unshare", "-m", "sh", "-c", enclosed, "sh", dir)
	return c.start(corosyncName(i), dir, exec.Command(line[0], line[1:]...))
}

// PID is the daemon's of a host.
func (c *Corosync) PID(i int) int {
	for _, p := range c.list {
		if p.node == corosyncName(i) {
			return p.cmd.Process.Pid
		}
	}
	return 0
}

// Beside is the command line that runs a program where a host's daemon runs.
func (c *Corosync) Beside(i int, line ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(c.PID(i)), "-m", "-n"}, line...)
}

// Kill kills the daemon of a host.
func (c *Corosync) Kill(i int) error { return c.kill(corosyncName(i)) }

// Stop ends all daemons.
func (c *Corosync) Stop() error {
	var err error
	for len(c.list) > 0 {
		err = errors.Join(err, c.kill(c.list[0].node))
	}
	return err
}

// CPU is what a process has used so far, to the nanosecond.
func CPU(pid int) time.Duration {
	// How Linux names the CPU clock of a process: clock_getcpuclockid(3).
	const processClock = 2
	var t unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|processClock), &t) != nil {
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}
