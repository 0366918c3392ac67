package privileged

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

const meshPort = "--mesh-port=5406"

// examineAll runs the doctor on one host of a cluster, for all members.
func examineAll(t *testing.T, c *harness.Cluster, on *harness.Host, named ...string) (list []doctor.Finding) {
	t.Helper()
	arguments := []string{"doctor", "--all", "--json", "--listen=0", "--config=/dev/null"}
	for _, n := range named {
		arguments = append(arguments, "--member="+n)
	}
	arguments = append(arguments, "--", "--no-data-dir", "--auth=no", meshPort, "--cluster-name="+c.Name)
	r := (&harness.Command{Program: "qpid-cluster", Arguments: arguments, Host: on, Environ: c.Environ(on)}).Run(t)
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	return list
}

// of are the findings of a check that compares members.
func of(list []doctor.Finding, check string) (found []doctor.Finding) {
	for _, f := range list {
		if f.Check == check && f.Member == "" {
			found = append(found, f)
		}
	}
	return found
}

// expect waits until a check that compares members has a verdict, and its evidence a text.
func expect(t *testing.T, c *harness.Cluster, on *harness.Host, check string, verdict doctor.Verdict, evidence string, named ...string) {
	t.Helper()
	text := regexp.MustCompile(evidence)
	harness.Eventually(t, 30*time.Second, check+" is "+string(verdict), func() error {
		found := of(examineAll(t, c, on, named...), check)
		for _, f := range found {
			if f.Verdict == verdict && text.MatchString(f.Evidence) && (f.Fix != "" || verdict == doctor.OK) {
				return nil
			}
		}
		return fmt.Errorf("%+v", found)
	})
}

// TestDoctorOfAll has the doctor of one host examine three, of which nothing is wrong, and every member
// says how its own host is.
func TestDoctorOfAll(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartAcross(t, w, meshPort)
	list := examineAll(t, c, w.Hosts[0])
	members := map[string]int{}
	for _, f := range list {
		members[f.Member]++
		if f.Member == "" && f.Verdict != doctor.OK {
			t.Errorf("nothing is wrong, and it finds %+v", f)
		}
		if f.Member != "" && f.Member != "this host" && f.Safe {
			t.Errorf("what mends another host is not for this one: %+v", f)
		}
	}
	if len(members) != 4 {
		t.Errorf("it tells of %v", members)
	}
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "are not those of a ring") {
			t.Errorf("the ring of broker %d complains of probes", i)
		}
	}
	seen := map[string]bool{}
	for _, f := range list {
		seen[f.Check] = true
	}
	broken := map[string]bool{}
	for _, x := range illnesses {
		broken[x.check] = true
	}
	for check := range seen {
		if !broken[check] && elsewhere[check] == "" {
			t.Errorf("no test breaks what %q looks at", check)
		}
	}
	for check := range elsewhere {
		if !seen[check] {
			t.Errorf("there is no check %q", check)
		}
	}
}

// elsewhere are checks that are broken by other tests than TestDoctor.
var elsewhere = map[string]string{
	"ring traffic":     "TestDoctorListens",
	"members":          "TestMemberGone",
	"cluster names":    "TestStranger",
	"cluster ids":      "TestTwoRings",
	"ring settings":    "TestTwoRings, TestOtherMTU, TestOtherKey",
	"ring reach":       "TestDirections, TestDeafMember, TestStandIn",
	"versions":         "TestOtherRelease",
	"journal versions": "TestOtherRelease",
	"service":          "TestInstall/doctor, in a container with systemd",
	"selinux":          "TestGuest, in a machine with SELinux",
	"clock":            "TestGuest, in a machine whose clock is its own",
	"clocks":           "TestGuests, likewise",
}

// TestMemberGone names a member that does not answer, until it does again.
func TestMemberGone(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w, meshPort)
	c.Stop(1)
	expect(t, c, w.Hosts[0], "members", doctor.Error, "no broker answers at "+w.Hosts[1].IP+":5406: .*refused", w.Hosts[1].IP)
	c.Restart(1)
	expect(t, c, w.Hosts[0], "members", doctor.OK, "2 answer", w.Hosts[1].IP)
}

// TestStranger finds a broker of another cluster where a member should be.
func TestStranger(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartMixed(t, w, []string{meshPort}, nil, []string{"--cluster-name=elsewhere"})
	expect(t, c, w.Hosts[0], "cluster names", doctor.Error, `"elsewhere" at `+w.Hosts[1].IP, w.Hosts[1].IP)
	c.Stop(1)
	c.Restart(1)
	expect(t, c, w.Hosts[0], "cluster names", doctor.OK, c.Name, w.Hosts[1].IP)
}

// TestTwoRings: two ports make two rings, and two clusters of one name.
func TestTwoRings(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartMixed(t, w, []string{meshPort}, nil, []string{"--mcastport=5999"})
	other := w.Hosts[1].IP
	expect(t, c, w.Hosts[0], "ring settings", doctor.Error, "group and port differ.* port 5999 at "+other, other)
	expect(t, c, w.Hosts[0], "cluster ids", doctor.Error, "several clusters "+c.Name, other)
	c.Stop(1)
	c.Restart(1)
	expect(t, c, w.Hosts[0], "ring settings", doctor.OK, "all have the same", other)
	expect(t, c, w.Hosts[0], "cluster ids", doctor.OK, "", other)
}

// TestOtherMTU: a host's interface carries less. By UDP they are one ring nevertheless, as these interfaces
// take aggregates of any length.
func TestOtherMTU(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	w.Hosts[1].SetMTU(1400)
	c := harness.StartAcross(t, w, meshPort, "--ring-datapath=udp")
	expect(t, c, w.Hosts[0], "ring settings", doctor.Warning, "netmtu differ: netmtu 1500 at .*; netmtu 1400 at "+w.Hosts[1].IP)
	c.Stop(1)
	w.Hosts[1].SetMTU(ethernet)
	c.Restart(1)
	expect(t, c, w.Hosts[0], "ring settings", doctor.OK, "netmtu 1500")
}

// TestOtherKey: one host has another key, and one none at all.
func TestOtherKey(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 3, ethernet)
	dir := t.TempDir()
	ringFile := func(name string) string {
		key, file := filepath.Join(dir, "key-"+name), filepath.Join(dir, name)
		if err := os.WriteFile(key, []byte(strings.Repeat(name+"0123456789abcdef", 16)[:256]), 0o600); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("totem {\n\tversion: 2\n\tcrypto_cipher: aes256\n\tcrypto_hash: sha256\n\tkeyfile: %s\n}\n", key)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--ring-config=" + file
	}
	c := harness.StartMixed(t, w, []string{meshPort, ringFile("right")}, nil, []string{ringFile("wrong")}, []string{"--ring-config="})
	named := []string{w.Hosts[1].IP, w.Hosts[2].IP}
	expect(t, c, w.Hosts[0], "ring settings", doctor.Error, "key differ: key [0-9a-f]{8} at "+w.Hosts[0].IP, named...)
	expect(t, c, w.Hosts[0], "ring settings", doctor.Error, "encryption differ: AES-256-GCM at .*; none at "+w.Hosts[2].IP, named...)
	for _, i := range []int{1, 2} {
		c.Stop(i)
		c.Restart(i)
	}
	expect(t, c, w.Hosts[0], "ring settings", doctor.OK, "encryption AES-256-GCM", named...)
}

// drop has a host drop what comes to the ring's port.
func drop(t *testing.T, h *harness.Host, port int) (mend func()) {
	t.Helper()
	nft := func(command string) {
		line := h.Line("nft", command)
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	nft(fmt.Sprintf("table inet mine { chain input { type filter hook input priority -10; policy accept; udp dport %d drop; }; }", port))
	return func() { nft("delete table inet mine") }
}

// TestDirections: a host that gets nothing is named, and that what it sends gets to the others is, by
// not being named.
func TestDirections(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w, meshPort, "--ring-datapath=udp")
	mend := drop(t, w.Hosts[1], c.RingPort)
	expect(t, c, w.Hosts[0], "ring reach", doctor.Error, "what "+w.Hosts[0].IP+".* does not reach "+w.Hosts[1].IP, w.Hosts[1].IP)
	found := of(examineAll(t, c, w.Hosts[0], w.Hosts[1].IP), "ring reach")
	if len(found) != 1 || !strings.Contains(found[0].Fix, fmt.Sprintf("open UDP port %d there", c.RingPort)) {
		t.Errorf("%+v", found)
	}
	mend()
	expect(t, c, w.Hosts[0], "ring reach", doctor.OK, "what each of 2 sends", w.Hosts[1].IP)
}

// TestDeafMember: multicasts do not get to a host, and what is for it alone does.
func TestDeafMember(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartAcross(t, w, meshPort)
	w.Deafen(w.Hosts[2])
	expect(t, c, w.Hosts[0], "ring reach", doctor.Error, "what "+w.Hosts[0].IP+".* does not reach "+w.Hosts[2].IP+".*, what it sends to each alone does: .*IGMP snooping and no querier")
	w.Hear()
	expect(t, c, w.Hosts[0], "ring reach", doctor.OK, "what each of 3 sends")
}

// TestStandIn: where no broker runs, the doctor is on the ring's port in its place.
func TestStandIn(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w, meshPort, "--ring-datapath=udp")
	c.Stop(0)
	expect(t, c, w.Hosts[0], "members", doctor.Warning, "no broker of cluster .* runs on this host", w.Hosts[1].IP)
	expect(t, c, w.Hosts[0], "ring reach", doctor.OK, "what each of 2 sends", w.Hosts[1].IP)
	mend := drop(t, w.Hosts[0], c.RingPort)
	expect(t, c, w.Hosts[0], "ring reach", doctor.Error, "what "+w.Hosts[1].IP+".* does not reach "+w.Hosts[0].IP, w.Hosts[1].IP)
	mend()
	expect(t, c, w.Hosts[0], "ring reach", doctor.OK, "", w.Hosts[1].IP)
	c.Restart(0)
	expect(t, c, w.Hosts[0], "members", doctor.OK, "2 answer")
}

// otherRelease builds the broker of this tree with another version, and another format of journals.
func otherRelease(t *testing.T) (program string) {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for file, change := range map[string][2]string{
		"daemon/broker.go":  {"const Version = ", `const Version = "0." + "0." + `},
		"journal/format.go": {"FormatVersion = 1", "FormatVersion = 2"},
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil || !strings.Contains(string(text), change[0]) {
			t.Fatalf("%s: no %q: %v", file, change[0], err)
		}
		other := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(other, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = other
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "qpidd")
	cmd := exec.Command("go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay"), "-o", program, "./cmd/qpidd")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// TestOtherRelease: a member of another version, whose journal has another format.
func TestOtherRelease(t *testing.T) {
	harness.OwnRing(t, "corosync's is not probed")
	program := otherRelease(t)
	w := harness.NewNetwork(t, 2, ethernet)
	dir := t.TempDir()
	c := harness.StartMixed(t, w, []string{meshPort}, []string{"--store-dir=" + filepath.Join(dir, "0")}, []string{"--store-dir=" + filepath.Join(dir, "1")})
	c.Stop(1)
	b := c.Brokers[1]
	line := b.Host.Line(program, fmt.Sprintf("-p%d", b.Port), "--cluster-name="+c.Name, "-d", "--no-data-dir", "--auth=no", meshPort, "--store-dir="+filepath.Join(dir, "other"), "--log-output="+b.Log)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), c.Environ(b.Host)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.Adopt(b)
	expect(t, c, w.Hosts[0], "versions", doctor.Warning, `0\.1\.0 at .*; 0\.0\.0\.1\.0 at`)
	expect(t, c, w.Hosts[0], "journal versions", doctor.Warning, "format 1 at "+w.Hosts[0].IP+".*; format 2 at "+w.Hosts[1].IP)
	c.Stop(1)
	c.Restart(1) // without a store of its own
	expect(t, c, w.Hosts[0], "versions", doctor.OK, "")
	expect(t, c, w.Hosts[0], "journal versions", doctor.Warning, "some members keep nothing on disk")
}

// TestDoctorOnCorosync: where corosync carries the ring members are asked all the same, and not to probe.
func TestDoctorOnCorosync(t *testing.T) {
	harness.UseCorosync(t)
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w, meshPort)
	expect(t, c, w.Hosts[0], "members", doctor.OK, "2 answer")
	for _, check := range []string{"ring settings", "ring reach"} {
		expect(t, c, w.Hosts[0], check, doctor.OK, "corosync|no ring of the broker's own")
	}
	expect(t, c, w.Hosts[0], "versions", doctor.OK, "all have the same")
}
