package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

const (
	bootLimit = 90 * time.Second // on a busy machine
	endLimit  = 30 * time.Second
)

// The suites of Debian that containers are made of, by their systemd.
const (
	stable = "bookworm" // 252
	newer  = "trixie"   // 257: it has Type=notify-reload
)

// bases are the tars of a Debian with systemd.
var bases = map[string]func() (string, error){stable: base(stable), newer: base(newer)}

func base(suite string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		out, err := exec.Command("./base", suite).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	})
}

// packages is the directory with the packages under test.
func packages(t *testing.T) string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "build/packages")
	if list, err := filepath.Glob(filepath.Join(dir, "*.deb")); err != nil || len(list) == 0 {
		t.Fatalf("%s holds no packages; run make packages", dir)
	}
	return dir
}

// unpack copies the Debian, with the packages in /root.
func unpack(t *testing.T, suite string) (root string) {
	t.Helper()
	tar, err := bases[suite]()
	if err != nil {
		t.Fatal(err)
	}
	if root, err = os.MkdirTemp("", "qpidd-appliance-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What nspawn has mounted goes a moment after it.
		harness.Eventually(t, endLimit, "the container's files are removed", func() error { return os.RemoveAll(root) })
	})
	run := func(line ...string) {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", line, err, out)
		}
	}
	run("tar", "-C", root, "-xf", tar)
	run("sh", "-c", fmt.Sprintf("cp %s/*.deb %s/root", packages(t), root))
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	// What needs the world outside, a terminal, or a kernel of its own.
	for _, unit := range []string{"auditd.service", "getty.target", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer"} {
		if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// container is a host with systemd.
type container struct {
	*harness.Host
	t       *testing.T
	console bytes.Buffer
	nspawn  *exec.Cmd
	init    int // the process id of its first process, here
}

// boot starts one on a host of a network.
func boot(t *testing.T, h *harness.Host) *container { return bootSuite(t, h, stable) }

func bootSuite(t *testing.T, h *harness.Host, suite string) *container {
	t.Helper()
	c := &container{Host: h, t: t}
	const start = `mount -t cgroup2 none /sys/fs/cgroup && SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn -q -D "$0" \
		--register=no --keep-unit --boot --capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_BPF,CAP_PERFMON,CAP_IPC_LOCK`
	line := h.Line("sh", "-c", start, unpack(t, suite))
	c.nspawn = exec.Command(line[0], line[1:]...)
	c.nspawn.Stdout, c.nspawn.Stderr = &c.console, &c.console
	c.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	harness.Eventually(t, bootLimit, "a container is up", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", c.nspawn.Process.Pid))
		if err != nil {
			return err
		}
		if c.init, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		if out, _ := c.try("systemctl is-system-running"); !strings.Contains(out, "running") && !strings.Contains(out, "degraded") {
			return errors.New(out)
		}
		return nil
	})
	return c
}

// end shuts it down, and shows its journal if the test has failed.
func (c *container) end() {
	if c.t.Failed() {
		out, _ := c.try("journalctl --no-pager -o short-precise -u 'qpidd*' | tail -n 400")
		c.t.Logf("%s: %s", c.IP, out)
	}
	_, _ = c.try("systemctl poweroff --no-block") // or it is killed
	over := make(chan struct{})
	go func() {
		_ = c.nspawn.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(endLimit):
		_ = c.nspawn.Process.Kill()
		<-over
	}
}

// try runs a command in the container.
func (c *container) try(command string) (string, error) {
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.init), "-a", "sh", "-c", command).CombinedOutput()
	return string(out), err
}

// run is for commands that have to work.
func (c *container) run(command string) string {
	c.t.Helper()
	out, err := c.try(command)
	if err != nil {
		c.t.Fatalf("%s: %s: %v: %s", c.IP, command, err, out)
	}
	return out
}

// show is a property of a unit.
func (c *container) show(unit, property string) string {
	c.t.Helper()
	return strings.TrimSpace(c.run("systemctl show --value -p " + property + " " + unit))
}

// await waits until a command says something.
func (c *container) await(what, command, text string) {
	c.t.Helper()
	harness.Eventually(c.t, 60*time.Second, what, func() error {
		out, err := c.try(command)
		if !strings.Contains(out, text) {
			return fmt.Errorf("%s: %v: %s", command, err, out)
		}
		return nil
	})
}

// debs are what a host without SELinux installs.
const debs = "/root/qpidd-cluster_*.deb /root/qpidd-cluster-tools_*.deb"

// install installs the packages with apt.
func (c *container) install() {
	c.t.Helper()
	c.run("apt-get install -y --no-install-recommends " + debs + " </dev/null")
}
