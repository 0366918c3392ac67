package privileged

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// healthy makes a host, in mounts of its own, on which nothing is wrong: a user qpidd, a
// configuration, data, and somebody who may connect.
const healthy = `set -e
mount --make-rprivate /
mount -t tmpfs none /srv
for f in passwd group; do cp /etc/$f /srv/$f; done
grep -q ^qpidd: /srv/passwd || echo qpidd:x:7997:7997::/srv:/bin/false >>/srv/passwd
grep -q ^qpidd: /srv/group || echo qpidd:x:7997: >>/srv/group
for f in passwd group; do mount --bind /srv/$f /etc/$f; done
printf 'cluster-name=doctor\ncluster-size=3\nport=5672\nmesh-port=5406\ndata-dir=/srv/data\nring-config=\n' >/srv/qpidd.conf
mkdir -m 750 /srv/data
echo secret | $CLUSTER user add alice --data-dir /srv/data
chown -R qpidd:qpidd /srv/data
`

// illness is one thing that is wrong, and nothing else.
type illness struct {
	check    string
	harm     string
	verdict  doctor.Verdict
	evidence string
	mends    bool   // --fix makes it well
	remedy   string // what the fix says a person is to do does
}

var illnesses = map[string]illness{
	"option":           {"configuration", "echo max-connections=many >>/srv/qpidd.conf", doctor.Error, `/srv/qpidd.conf:7: invalid argument "many"`, false, "sed -i /max-connections/d /srv/qpidd.conf"},
	"no configuration": {"configuration", "rm /srv/qpidd.conf", doctor.Error, "/srv/qpidd.conf: no such file", false, "$CLUSTER setup --config /srv/qpidd.conf --ring-config /srv/corosync.conf --cluster-name doctor --cluster-size 3 --open-firewall=false --enable=false >/dev/null && chgrp qpidd /srv/qpidd.conf"},
	"stand-alone":      {"configuration", "sed -i '/cluster-/d' /srv/qpidd.conf", doctor.Warning, "stands alone", false, "echo cluster-name=doctor >>/srv/qpidd.conf"},
	"brace":            {"ring configuration", "printf 'totem {\\n\\tversion: 2\\n' >/srv/ring; sed -i 's|ring-config=|&/srv/ring|' /srv/qpidd.conf", doctor.Error, "is not closed", false, "echo } >>/srv/ring"},
	"bindnetaddr":      {"ring configuration", "echo bindnetaddr=192.0.2.0 >>/srv/qpidd.conf", doctor.Error, "eth0 has 10.77.0.1", false, "sed -i s/192.0.2.0/10.77.0.0/ /srv/qpidd.conf"},
	"loopback":         {"interface", "echo bindnetaddr=127.0.0.1 >>/srv/qpidd.conf", doctor.Warning, "brokers on other hosts are not found", false, "sed -i s/127.0.0.1/10.77.0.1/ /srv/qpidd.conf"},
	"no multicast":     {"interface", "echo bindnetaddr=10.77.0.0 >>/srv/qpidd.conf; ip link set eth0 multicast off", doctor.Error, "multicast is turned off", true, ""},
	"small mtu":        {"mtu", "ip link set eth0 mtu 1280", doctor.Warning, "carries 1280 bytes", false, "ip link set eth0 mtu 1500"},
	"netmtu":           {"mtu", "printf 'totem {\\n\\tversion: 2\\n\\tsecauth: off\\n\\tnetmtu: 9000\\n}\\n' >/srv/ring; sed -i 's|ring-config=|&/srv/ring|' /srv/qpidd.conf", doctor.Warning, "netmtu is 9000", false, "ip link set eth0 mtu 9000"},
	"snooping": {"igmp snooping", "ip link add br0 type bridge mcast_snooping 1; ip addr del 10.77.0.1/24 dev eth0; ip link set eth0 master br0; ip link set br0 up; ip addr add 10.77.0.1/24 dev br0",
		doctor.Warning, "bridge br0 watches who is in a group", true, ""},
	"ring closed":    {"firewall", "nft 'table inet mine { chain input { type filter hook input priority 0; policy accept; udp dport 5405 drop; }; }'", doctor.Error, "table inet mine, chain input drops packets of the ring (UDP port 5405)", true, ""},
	"mesh closed":    {"firewall", "nft 'table inet mine { chain input { type filter hook input priority 0; policy accept; tcp dport 5406 reject; }; }'", doctor.Error, "(TCP port 5406)", true, ""},
	"clients closed": {"firewall", "nft 'table inet mine { chain input { type filter hook input priority 0; policy accept; tcp dport 5672 drop; }; }'", doctor.Error, "drops clients (TCP port 5672)", true, ""},
	"leftover":       {"firewall leftovers", "nft add table inet qpidd-5999", doctor.Warning, "no broker listens at port 5999", true, ""},
	"port":           {"ports", "python3 -m http.server 5672 >/dev/null 2>&1 & until ss -ltn | grep -q :5672; do :; done", doctor.Error, "TCP port 5672 belongs to python3", false, "kill $!; while ss -ltn | grep -q :5672; do :; done"},
	"no corosync":    {"corosync", "echo ring-provider=corosync >>/srv/qpidd.conf; sed -i /ring-config/d /srv/qpidd.conf", doctor.Error, "no corosync runs", false, "mkdir -p /etc/corosync; mount -t tmpfs none /etc/corosync; mkdir /etc/corosync/uidgid.d; printf 'uidgid {\\n\\tuid: qpidd\\n}\\n' >/etc/corosync/uidgid.d/qpidd; cp $(command -v sleep) /srv/corosync; /srv/corosync 100 & until pgrep -x corosync >/dev/null; do :; done"},
	"uidgid": {"corosync", "echo ring-provider=corosync >>/srv/qpidd.conf; sed -i /ring-config/d /srv/qpidd.conf; mkdir -p /etc/corosync; mount -t tmpfs none /etc/corosync; mkdir /etc/corosync/uidgid.d; cp $(command -v sleep) /srv/corosync; /srv/corosync 100 & until pgrep -x corosync >/dev/null; do :; done",
		doctor.Error, "no rule in /etc/corosync/uidgid.d", true, ""},
	"no user":        {"identity", "umount /etc/passwd", doctor.Error, "there is no user qpidd", false, "mount --bind /srv/passwd /etc/passwd"},
	"unreadable":     {"identity", "chmod 600 /srv/qpidd.conf", doctor.Error, "cannot be read by user qpidd", true, ""},
	"writable":       {"identity", "chmod 666 /srv/qpidd.conf", doctor.Error, "can be changed by anybody", true, ""},
	"data of root":   {"data directory", "chown root /srv/data", doctor.Error, "/srv/data is not qpidd's (root, 0750)", true, ""},
	"data for all":   {"data directory", "chmod 755 /srv/data", doctor.Warning, "can be looked into by anybody", true, ""},
	"data read-only": {"data directory", "mount --bind /srv/data /srv/data && mount -o remount,bind,ro /srv/data", doctor.Error, "read-only", false, "mount -o remount,bind,rw /srv/data"},
	"disk full":      {"disk space", "cp -p /srv/data/users /srv; mount -t tmpfs -o size=32m,uid=7997,mode=750 none /srv/data; cp -p /srv/users /srv/data", doctor.Error, "/srv/data has 31 MiB left", false, "mount -o remount,size=2g /srv/data"},
	"disk small":     {"disk space", "cp -p /srv/data/users /srv; mount -t tmpfs -o size=512m,uid=7997,mode=750 none /srv/data; cp -p /srv/users /srv/data", doctor.Warning, "/srv/data has 511 MiB left", false, "mount -o remount,size=2g /srv/data"},
	"no users":       {"users", "rm /srv/data/users", doctor.Warning, "there are no users", false, "echo secret | $CLUSTER user add alice --users-file /srv/data/users && chown qpidd:qpidd /srv/data/users"},
	"open users":     {"users", "chmod 644 /srv/data/users", doctor.Error, "others may read or change it", false, "chmod 600 /srv/data/users"},
	"users of root":  {"users", "chown root:root /srv/data/users", doctor.Error, "cannot be read by user qpidd", true, ""},
	"no password":    {"users", "echo auth=no >>/srv/qpidd.conf", doctor.Warning, "auth=no", false, "sed -i /auth=no/d /srv/qpidd.conf"},
	"no size":        {"cluster size", "sed -i /cluster-size/d /srv/qpidd.conf", doctor.Warning, "how many members there are", false, "echo cluster-size=3 >>/srv/qpidd.conf"},

	"original's":   {"store", "mkdir -p /srv/data/rhm/jrnl", doctor.Error, "rhm", false, "rm -r /srv/data/rhm"},
	"no identity":  {"store", stored + "echo nonsense >/srv/data/journal/store", doctor.Error, "nonsense", false, "rm -r /srv/data/journal"},
	"newer":        {"store", stored + version + "version 7", doctor.Error, "the file has version 7", false, "version 1"},
	"many clients": {"limits", "echo max-connections=2000000000 >>/srv/qpidd.conf", doctor.Error, "fs.nr_open is", false, "sed -i /max-connections/d /srv/qpidd.conf"},
	"old kernel":   {"kernel", "printf '#!/bin/sh\\nexec setarch x86_64 --uname-2.6 '$CLUSTER' \"$@\"\\n' >/srv/old && chmod +x /srv/old; NEW=$CLUSTER; CLUSTER=/srv/old", doctor.Warning, "has neither UDP_SEGMENT", false, "CLUSTER=$NEW"},
}

// stored is a broker that has kept something.
const stored = "$QPIDD --config /dev/null --data-dir /srv/data -d && $QPIDD --config /dev/null --data-dir /srv/data -q && chown -R qpidd:qpidd /srv/data; "

// version gives the segments in use another version of their format.
const version = "version() { for f in /srv/data/journal/*" + journal.SegmentSuffix + "; do [ -z \"$(head -c 1 $f | tr -d '\\0')\" ] || printf \"\\\\00$1\" | dd of=$f bs=1 seek=8 conv=notrunc status=none; done; }; "

// aside are checks that this machine, and not a test, is the cause of.
var aside = map[string]bool{"clock": true, "limits": true, "kernel": true, "selinux": true, "service": true, "ring traffic": true}

// examine runs the doctor on a host after some harm, and again after what it says has been done: by
// itself, or by a person.
func examine(t *testing.T, h *harness.Host, harm string, mends bool, remedy string) (before, after []doctor.Finding) {
	t.Helper()
	const run = "\n$CLUSTER doctor --config /srv/qpidd.conf --listen 0 --json || true\n"
	script := healthy + harm + run
	again := mends || remedy != ""
	switch {
	case mends:
		script += "echo =====\n" + strings.Replace(run, "--json", "--json --fix", 1)
	case again:
		script += remedy + "\necho =====\n" + run
	}
	line := h.Line("unshare", "-m", "env", "CLUSTER="+harness.Program(t, "qpid-cluster"), "QPIDD="+harness.Program(t, "qpidd"), "QPID_PID_DIR=/srv", "sh", "-c", script+"\nkill $! 2>/dev/null || true")
	cmd := exec.Command(line[0], line[1:]...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, said.String())
	}
	first, second, _ := strings.Cut(string(out), "=====")
	if err := json.Unmarshal([]byte(first), &before); err != nil {
		t.Fatalf("%v: %s%s", err, first, said.String())
	}
	if again {
		if mends && !strings.Contains(said.String(), "running: ") {
			t.Errorf("it does not show what it runs: %s", said.String())
		}
		if err := json.Unmarshal([]byte(second), &after); err != nil {
			t.Fatalf("%v: %s", err, second)
		}
	}
	return before, after
}

// TestDoctor breaks one thing at a time on a host that is well, and sees that it is found, and
// that nothing else is; and where there is a fix that is safe, that it mends it.
func TestDoctor(t *testing.T) {
	t.Run("well", func(t *testing.T) {
		well, _ := examine(t, harness.NewNetwork(t, 1, ethernet).Hosts[0], "", false, "")
		for _, f := range well {
			if f.Verdict != doctor.OK && !aside[f.Check] {
				t.Errorf("nothing is wrong, and it finds %+v", f)
			}
		}
	})
	for name, x := range illnesses {
		t.Run(name, func(t *testing.T) {
			before, after := examine(t, harness.NewNetwork(t, 1, ethernet).Hosts[0], x.harm, x.mends, x.remedy)
			if len(after) == 0 {
				t.Error("nothing says whether the fix helps")
			}
			found := false
			for _, f := range before {
				switch {
				case f.Check == x.check && f.Verdict == x.verdict && strings.Contains(f.Evidence, x.evidence):
					found = true
					if f.Fix == "" || x.mends && !f.Safe {
						t.Errorf("%+v", f)
					}
				case f.Verdict != doctor.OK && f.Verdict != doctor.Unknown && !aside[f.Check] && f.Check != x.check:
					t.Errorf("something else is found: %+v", f)
				}
			}
			if !found {
				t.Errorf("%s is not found: %+v", x.check, before)
			}
			for _, f := range after {
				if f.Check == x.check && f.Verdict != doctor.OK {
					t.Errorf("the fix does not help: %+v", f)
				}
			}
		})
	}
}

// TestDoctorListens tells a network that carries multicast from one that has stopped to.
func TestDoctorListens(t *testing.T) {
	harness.OwnRing(t, "corosync is not listened to")
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w)
	listen := func(h *harness.Host, broker ...string) (f doctor.Finding) {
		t.Helper()
		arguments := append([]string{"doctor", "--config", "/dev/null", "--json", "--listen", "2s", "--", "--no-data-dir", "--cluster-name=" + c.Name, "--ring-config=", fmt.Sprintf("--mcastport=%d", c.RingPort)}, broker...)
		r := (&harness.Command{Program: "qpid-cluster", Arguments: arguments, Host: h}).Run(t)
		var list []doctor.Finding
		if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		for _, f := range list {
			if f.Check == "ring traffic" {
				return f
			}
		}
		t.Fatal("it does not listen")
		return f
	}
	harness.Eventually(t, 20*time.Second, "others are heard", func() error {
		if f := listen(w.Hosts[1]); f.Verdict != doctor.OK || strings.Contains(f.Evidence, " 0 packets") {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	w.Deafen(w.Hosts[1])
	harness.Eventually(t, 20*time.Second, "multicasts are missed", func() error {
		if f := listen(w.Hosts[1]); f.Verdict != doctor.Error || !strings.Contains(f.Fix, "querier") {
			return fmt.Errorf("%+v", f)
		}
		return nil
	})
	c.Stop(0)
	harness.Eventually(t, 20*time.Second, "nobody is heard", func() error {
		if f := listen(w.Hosts[1]); f.Verdict != doctor.Warning {
			return errors.New(f.Evidence)
		}
		return nil
	})
}
