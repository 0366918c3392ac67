package appliance

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// guestLimit is how long guests may take to boot, be a cluster, and be done, under emulation.
const guestLimit = 15 * time.Minute

// guests takes who asks for emulated machines, which take minutes.
func guests(t *testing.T) (image string) {
	t.Helper()
	if os.Getenv("QPIDD_VM") == "" {
		t.Skip("make test-vm runs it")
	}
	harness.Privileged(t)
	packages(t)
	image, err := images()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// images makes what guests boot from, once; they do not write to it.
var images = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "qpidd-guest-"); err != nil {
		return "", err
	}
	made = dir
	if out, err := exec.Command("./guest-image", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// made is removed when all tests have run.
var made string

func TestMain(m *testing.M) {
	status := m.Run()
	if made != "" {
		if err := os.RemoveAll(made); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// run boots so many guests of an image on one network, in a namespace of their own, and returns what
// each has to say: lines by their first word.
func run(t *testing.T, image string, of, xdp int, more ...string) []map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), guestLimit)
	defer cancel()
	list := make([]map[string]string, of)
	consoles := t.TempDir()
	// All guests are children of one shell, whose namespace their network is in.
	var script strings.Builder
	script.WriteString("ip link set lo up\n")
	for i := range of {
		fmt.Fprintf(&script, `qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 -accel tcg,thread=multi,tb-size=512 -cpu max -smp 2 -m 1024 \
-kernel %[1]s/kernel -initrd %[1]s/initrd -append "console=ttyS0 panic=-1 net.ifnames=0 security=selinux enforcing=1 mitigations=off quiet guest=%[2]d of=%[3]d xdp=%[4]d %[5]s" \
-drive file=%[1]s/disk.img,format=raw,if=virtio,snapshot=on,cache=unsafe -device virtio-rng-pci \
-netdev socket,id=n,mcast=230.0.0.1:7777,localaddr=127.0.0.1 -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:0%[2]d -serial file:%[6]s/console-%[2]d </dev/null &
`, image, i+1, of, xdp, strings.Join(more, " "), consoles)
	}
	script.WriteString("wait\n")
	cmd := exec.CommandContext(ctx, "unshare", "-n", "--fork", "--pid", "--kill-child", "sh", "-c", script.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var reading sync.WaitGroup
	for i := range of {
		reading.Go(func() { list[i] = console(t, filepath.Join(consoles, fmt.Sprintf("console-%d", i+1))) })
	}
	reading.Wait()
	return list
}

// console reads what a guest has printed. All of it is in the log if the test fails.
func console(t *testing.T, name string) map[string]string {
	said := map[string]string{}
	f, err := os.Open(name)
	if err != nil {
		t.Error(err)
		return said
	}
	defer f.Close()
	var all strings.Builder
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		fmt.Fprintln(&all, line)
		if rest, found := strings.CutPrefix(line, "RESULT "); found {
			name, value, _ := strings.Cut(rest, " ")
			said[name] = value
		}
	}
	if said["end"] == "" {
		t.Errorf("a guest has not come to its end")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(all.String())
		}
	})
	return said
}

// expect compares what a guest has said. A value that ends in … may go on.
func expect(t *testing.T, said map[string]string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		prefix, open := strings.CutSuffix(value, "…")
		if got := said[name]; got != value && !(open && strings.HasPrefix(got, prefix)) {
			t.Errorf("%s is %q, not %q", name, got, value)
		}
	}
}

// atWork is what is so in every guest with SELinux in enforcing mode.
var atWork = map[string]string{
	"enforce": "Enforcing", "module": "400", "domain": "system_u:system_r:qpidd_t:s0", "data": "system_u:object_r:qpidd_var_lib_t:s0",
	"start": "0 …", "client": "0", "firewall": "3", "reload": "0", "doctor": "0", "doctor-all": "0 …", "denials-at-work": "0", "left": "0",
}

// TestGuest boots a machine with SELinux in enforcing mode. The broker runs in its domain, and is denied
// nothing at work; what is none of its business is denied, and logged. With the boolean of the kernel
// assist it takes its interface with XDP.
func TestGuest(t *testing.T) {
	said := run(t, guests(t), 1, 0)[0]
	t.Logf("up after %s s, service started in %s s (status and seconds), end after %s s", said["up"], said["start"], said["end"])
	expect(t, said, atWork)
	expect(t, said, map[string]string{
		"members": "active in cluster qpidd of 1; there are no users…", "forbidden": "1", "says": "qpidd: cannot read the users: …",
		"by-hand": "…", "socket": "0 1", "socket-client": "0", "any-port": "0", "denials-socket": "0", "clock": "1", "clock-set": "0 1", "label": "1", "corosync": "1", "corosync-mended": "0", "label-mended": "1 system_u:object_r:qpidd_var_lib_t:s0", "assist": "0 the ring's datapath is xdp …", "denials-assist": "0",
	})
	if !strings.Contains(said["by-hand"], "SELinux is enforcing") {
		t.Errorf("a broker that was started by hand does not say what is wrong: %q", said["by-hand"])
	}
	if said["denials-forbidden"] == said["denied-before"] || said["denials-forbidden"] == "" {
		t.Errorf("nothing was denied: %q before, %q after", said["denied-before"], said["denials-forbidden"])
	}
}

// denied is what comes of each thing that a policy takes from the broker (the file denials): how systemctl
// start ends, with which status the broker does, how many rules and processes it leaves, whether
// there is a record, and what it says.
var denied = map[string]string{
	"ring-port":     "1 77 0 0 1 …",
	"clients-port":  "1 77 0 0 1 …",
	"members-port":  "1 77 0 0 1 …",
	"data":          "1 77 0 0 1 …",
	"node":          "1 77 0 0 1 …",
	"configuration": "1 78 0 0 1 …",
	"log":           "1 77 0 0 1 …",
	"nftables":      "1 77 0 0 1 …",
	"net-admin":     "1 77 0 0 1 …",
	"bpf":           "0 0 0 0 1 …", // the assist is optional
	"packet":        "0 0 0 0 1 …",
	"xdp":           "0 0 0 0 1 …",
	"udp":           "1 77 0 0 1 …",
	"tcp":           "1 77 0 0 1 …",
}

// TestGuestDenied takes from the broker what its policy allows, one thing at a time. It says what is denied,
// and ends with a status upon which systemd does not try again, or goes on where it can; nothing half
// done is left, and with the whole policy it starts again.
func TestGuestDenied(t *testing.T) {
	said := run(t, guests(t), 1, 0, "denied=1")[0]
	t.Logf("end after %s s", said["end"])
	for name, want := range denied {
		got := said["denied-"+name]
		expect(t, said, map[string]string{"denied-" + name: want, "after-" + name: "0"})
		if !strings.Contains(got, "denied") && !strings.Contains(got, "not permitted") {
			t.Errorf("without %s it does not say what is wrong: %q", name, got)
		}
		t.Logf("%s: %s", name, got)
	}
}

// TestGuests boots two on one network, with a ring over UDP, and over native XDP. They are a cluster,
// and reach each other through the firewall.
func TestGuests(t *testing.T) {
	image := guests(t)
	for xdp, way := range []string{"udp", "xdp"} {
		t.Run(way, func(t *testing.T) {
			for i, said := range run(t, image, 2, xdp) {
				expect(t, said, map[string]string{"doctor-all": "0 2"})
				if i == 0 {
					expect(t, said, map[string]string{"skew": "0", "skew-mended": "0"})
				}
				t.Logf("up after %s s, service started in %s s (status and seconds), end after %s s; %s", said["up"], said["start"], said["end"], said["datapath"])
				expect(t, said, atWork)
				expect(t, said, map[string]string{"members": "active in cluster qpidd of 2; there are no users…", "outside-5672": "0", "outside-5405": "0"})
				if xdp == 1 && !strings.Contains(said["datapath"], "native XDP") {
					t.Errorf("the ring goes otherwise: %q", said["datapath"])
				}
			}
		})
	}
}
