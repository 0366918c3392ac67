package host

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDropCapabilities runs itself as another user with two capabilities, and gives one up.
func TestDropCapabilities(t *testing.T) {
	if os.Getenv("QPIDD_TEST_DROPS") != "" {
		before, err := Capabilities()
		if err != nil || before != 1<<unix.CAP_NET_ADMIN|1<<unix.CAP_NET_RAW {
			t.Fatalf("%x, %v", before, err)
		}
		if err := DropCapabilities(unix.CAP_NET_ADMIN); errors.Is(err, unix.ENOTSUP) {
			t.Skip("built with cgo, which the programs are not: there may be threads that Go does not know")
		} else if err != nil {
			t.Fatal(err)
		}
		if after, err := Capabilities(); err != nil || after != 1<<unix.CAP_NET_ADMIN {
			t.Errorf("%x, %v", after, err)
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
			if err == nil && !strings.Contains(string(text), "CapAmb:\t0000000000001000") {
				t.Errorf("thread %s has kept more: %s", task.Name(), text)
			}
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("it takes root to give capabilities to another user")
	}
	// Where the test's program is, other users may not get to.
	f, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=TestDropCapabilities")
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{f}
	cmd.Env = append(os.Environ(), "QPIDD_TEST_DROPS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
