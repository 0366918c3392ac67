package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var errAlive = errors.New("it is still there")

// gone tells whether a process has ended. Daemons are not our children, and where nobody
// reaps them they stay as zombies; those count as gone.
func gone(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// pid (name) state …; the name may hold anything.
	_, after, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	if strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X") {
		return nil
	}
	return errAlive
}

// Signal sends signals to several brokers, as much at once as this process can.
func (c *Cluster) Signal(s syscall.Signal, list ...int) {
	c.t.Helper()
	for _, i := range list {
		if pid := c.Brokers[i].Pid; pid == 0 {
			c.t.Fatalf("broker %d is down already", i)
		} else if err := syscall.Kill(pid, s); err != nil {
			c.t.Fatalf("broker %d: %v: %v", i, s, err)
		}
	}
}

// Kill kills brokers with SIGKILL and waits until their processes are gone.
func (c *Cluster) Kill(list ...int) {
	c.t.Helper()
	c.end(syscall.SIGKILL, list...)
}

// Stop tells brokers to shut down and waits until their processes are gone.
func (c *Cluster) Stop(list ...int) {
	c.t.Helper()
	c.end(syscall.SIGTERM, list...)
}

func (c *Cluster) end(s syscall.Signal, list ...int) {
	c.t.Helper()
	c.Signal(s, list...)
	for _, i := range list {
		c.AwaitEnd(i)
	}
}

// AwaitEnd waits until a broker's process is gone.
func (c *Cluster) AwaitEnd(i int) {
	c.t.Helper()
	b := c.Brokers[i]
	Eventually(c.t, endLimit, fmt.Sprintf("broker %d ends", i), func() error { return gone(b.Pid) })
	b.Pid = 0
}

// ResidentBytes is how much of a broker is in memory.
func (b *Broker) ResidentBytes(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int64
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscanf(after, "%d kB", &kb); err != nil {
		t.Fatalf("no VmRSS of broker %d: %v", b.Index, err)
	}
	return kb << 10
}

// Descriptors is how many file descriptors a broker has open.
func (b *Broker) Descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Listens lists the TCP ports on which a broker listens.
func (b *Broker) Listens(t testing.TB) (ports []int) {
	t.Helper()
	ours := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", b.Pid)
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if to, err := os.Readlink(dir + "/" + f.Name()); err == nil { // it may have been closed
			ours[to] = true
		}
	}
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", b.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const listening = "0A"
			words := strings.Fields(line) // sl local remote state …, the inode is the tenth
			if len(words) < 10 || words[3] != listening || !ours["socket:["+words[9]+"]"] {
				continue
			}
			port, err := strconv.ParseUint(words[1][strings.LastIndexByte(words[1], ':')+1:], 16, 16)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, int(port))
		}
	}
	return ports
}
