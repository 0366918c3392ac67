package appliance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// installLimit is how long it may take from apt install to a member.
const installLimit = 15 * time.Second

// TestInstall makes two hosts a cluster with nothing but packages and systemctl start, and then
// does to one of them what happens to services.
func TestInstall(t *testing.T) {
	w := harness.NewNetwork(t, 2, 1500)
	a, b := boot(t, w.Hosts[0]), boot(t, w.Hosts[1])
	began := time.Now()
	a.install()
	if state := a.show("qpidd", "ActiveState"); state != "inactive" {
		t.Errorf("installing has started the service: %s", state)
	}
	a.run("systemctl start qpidd")
	took := time.Since(began).Round(time.Millisecond)
	t.Logf("from apt install to a member: %v", took)
	if took > installLimit {
		t.Errorf("it took %v, %v is the most", took, installLimit)
	}
	b.install()
	b.run("systemctl start qpidd")
	for _, c := range []*container{a, b} {
		c.await("both are a cluster", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
	}
	for name, test := range map[string]func(t *testing.T, a, b *container){
		"users": users, "confined": confined, "journal": journal, "several": several,
	} {
		t.Run(name, func(t *testing.T) { a.t, b.t = t, t; test(t, a, b) })
	}
	for _, x := range []struct {
		name string
		test func(t *testing.T, a, b *container)
	}{{"reload", reload}, {"doctor", physician}, {"mistakes", mistakes}, {"capability", capability}, {"watchdog", watchdog}, {"upgrade", upgrade}, {"remove", remove}} {
		t.Run(x.name, func(t *testing.T) { a.t, b.t = t, t; x.test(t, a, b) })
	}
	a.t, b.t = t, t
}

// users: nobody gets in until there is one, and the log says how to add the first.
func users(t *testing.T, a, _ *container) {
	if out, err := a.try("qpid-cluster localhost:5672"); err == nil {
		t.Errorf("anybody is let in: %s", out)
	}
	if out := a.run("journalctl -u qpidd -o cat"); !strings.Contains(out, "add one with qpid-cluster user add NAME") {
		t.Error(out)
	}
	if out := a.run("systemctl status qpidd; qpid-cluster doctor --listen 0"); strings.Count(out, "qpid-cluster user add NAME") < 2 {
		t.Errorf("status and doctor do not tell how to add a user: %s", out)
	}
	a.run("echo secret | qpid-cluster user add alice")
	a.await("it wants no users any more", "systemctl show -p StatusText qpidd | grep -v 'user add' || true", "active in cluster")
	a.await("alice gets in", "qpid-cluster alice:secret@127.0.0.1:5672", "Cluster Size: 2")
	if out := a.run("qpid-cluster-store /var/lib/qpidd"); !strings.Contains(out, "cluster-id: ") || strings.Contains(out, "cluster-id: 00000000-") {
		t.Errorf("the original's command: %s", out)
	}
	if out := a.run("stat -c '%U %a' /var/lib/qpidd/users"); strings.TrimSpace(out) != "qpidd 600" {
		t.Error(out)
	}
}

// confined: the broker is nobody's user, has one capability, and guards its ports.
func confined(t *testing.T, a, _ *container) {
	status := a.run("cat /proc/$(systemctl show --value -p MainPID qpidd)/status")
	user := strings.TrimSpace(a.run("id -u qpidd"))
	for _, want := range []string{"Uid:\t" + user + "\t", "CapEff:\t0000000000001000", "CapPrm:\t0000000000001000", "CapAmb:\t0000000000001000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	if out := a.run("nft list table inet qpidd-5672"); !strings.Contains(out, "udp dport 5405") || !strings.Contains(out, a.IP) {
		t.Error(out)
	}
}

// journal: records have fields of their own.
func journal(t *testing.T, a, _ *container) {
	if out := a.run("journalctl -u qpidd -o cat QPID_CATEGORY=Cluster"); !strings.Contains(out, "joined cluster qpidd") || strings.Contains(out, "Listening") {
		t.Error(out)
	}
	if out := a.run("journalctl -u qpidd -o cat -p warning"); !strings.Contains(out, "there are no users") || strings.Contains(out, "joined cluster") {
		t.Error(out)
	}
}

// several: another broker on the host has a configuration and data of its own.
func several(t *testing.T, a, b *container) {
	a.run("printf 'cluster-name=qpidd\\nport=5673\\nmesh-port=5407\\n' >/etc/qpid/qpidd-east.conf && systemctl start qpidd@east")
	b.await("there are three", "systemctl show -p StatusText qpidd", "of 3")
	a.run("test -e /var/lib/qpidd-east/users && systemctl stop qpidd@east")
	b.await("there are two again", "systemctl show -p StatusText qpidd", "of 2")
}

// reload follows the log's options without a restart.
func reload(t *testing.T, a, _ *container) {
	pid := a.show("qpidd", "MainPID")
	a.run("sed -i 's/^#log-enable=.*/log-enable=debug+/; s/^#max-connections=.*/max-connections=77/' /etc/qpid/qpidd.conf && systemctl reload qpidd")
	a.await("it is reloaded", "journalctl -u qpidd -o cat", "a restart is needed for what has changed of: max-connections")
	if state := a.show("qpidd", "ActiveState"); state != "active" || a.show("qpidd", "MainPID") != pid {
		t.Errorf("it is %s, and process %s was %s", state, a.show("qpidd", "MainPID"), pid)
	}
	a.run("sed -i 's/^log-enable=.*/#log-enable=notice+/' /etc/qpid/qpidd.conf && systemctl reload qpidd")
}

// physician: the doctor finds nothing wrong with a service that runs, and starts one that does not.
func physician(t *testing.T, a, b *container) {
	a.run("qpid-cluster doctor")
	// The other examines itself with what its service leaves it.
	out := a.run("qpid-cluster doctor --all --listen 0")
	_, other, found := strings.Cut(out, "\n"+b.IP+" (")
	if !found || !strings.Contains(out, "ok       ring reach: what each of 2") || !strings.Contains(other, "ok       firewall: nothing drops") || !strings.Contains(other, "journal format 1") {
		t.Error(out)
	}
	a.run("systemctl stop qpidd")
	if out := a.run("qpid-cluster doctor"); !strings.Contains(out, "warning  service: qpidd.service is inactive") {
		t.Error(out)
	}
	if out := a.run("qpid-cluster doctor --fix"); !strings.Contains(out, "running: systemctl start qpidd") || !strings.Contains(out, "ok       service: it runs: active in cluster qpidd of 2") {
		t.Error(out)
	}
	if out := a.run("systemctl is-enabled qpidd"); strings.TrimSpace(out) != "enabled" {
		t.Error(out)
	}
}

// unable takes all capabilities from the service, and able gives them back.
const (
	unable = "mkdir -p /run/systemd/system/qpidd.service.d && printf '[Service]\\nAmbientCapabilities=\\nCapabilityBoundingSet=\\n' >/run/systemd/system/qpidd.service.d/none.conf && systemctl daemon-reload"
	able   = "rm -f /run/systemd/system/qpidd.service.d/none.conf && systemctl daemon-reload"
)

// mistakes are named in the journal, and not tried again and again.
func mistakes(t *testing.T, a, _ *container) {
	a.run("cp /etc/qpid/qpidd.conf /root/good.conf")
	corosync := "mkdir -p /etc/corosync && printf 'totem {\\n' >/etc/corosync/corosync.conf"
	for _, bad := range []struct{ harm, status, says string }{
		{corosync, "78", "is not closed"},
		{"echo firewall=required >>/etc/qpid/qpidd.conf && " + unable, "77", "it takes cap_net_admin"},
		{"echo max-connections=many >>/etc/qpid/qpidd.conf", "78", `invalid argument "many"`},
		{"echo no-such-option=1 >>/etc/qpid/qpidd.conf", "78", "unknown option"},
		{"chmod 600 /etc/qpid/qpidd.conf", "78", "permission denied"},
		{"echo data-dir=/srv/qpidd >>/etc/qpid/qpidd.conf", "1", "read-only file system"},
		{"mv /var/lib/qpidd/users /root/ && mkdir /var/lib/qpidd/users && chmod 700 /var/lib/qpidd/users && chown qpidd /var/lib/qpidd/users", "1", "users"},
		{"mount -t tmpfs -o ro none /var/lib/qpidd", "238", "read-only file system"}, // systemd's own words: EXIT_STATE_DIRECTORY,
		{"mount -t tmpfs -o size=4k,uid=qpidd,gid=qpidd,mode=750 none /var/lib/qpidd && head -c 4096 /dev/zero >/var/lib/qpidd/full", "1", "no space left on device"},
	} {
		a.run("systemctl reset-failed qpidd; systemctl stop qpidd")
		since := strings.TrimSpace(a.run(`journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'`))
		a.run(bad.harm)
		if out, err := a.try("systemctl start qpidd"); err == nil {
			t.Errorf("%s: it starts: %s", bad.harm, out)
		}
		if status := a.show("qpidd", "ExecMainStatus"); status != bad.status {
			t.Errorf("%s: exit status %s, not %s", bad.harm, status, bad.status)
		}
		if out := a.run("journalctl -o cat --after-cursor='" + since + "'"); !strings.Contains(strings.ToLower(out), bad.says) {
			t.Errorf("%s: no %q in %s", bad.harm, bad.says, out)
		}
		if state := a.show("qpidd", "ActiveState"); (bad.status == "78" || bad.status == "77") != (state == "failed") {
			t.Errorf("%s: it is %s", bad.harm, state)
		}
		a.run("rm -f /etc/corosync/corosync.conf; " + able)
		a.run("systemctl stop qpidd; umount /var/lib/qpidd 2>/dev/null; cp /root/good.conf /etc/qpid/qpidd.conf; chmod 644 /etc/qpid/qpidd.conf; rmdir /var/lib/qpidd/users 2>/dev/null; ! test -e /root/users || mv /root/users /var/lib/qpidd/users")
	}
	a.run("systemctl reset-failed qpidd; systemctl start qpidd")
}

// capability: a service that may not touch the firewall says so, and works.
func capability(t *testing.T, a, _ *container) {
	a.run(unable + " && systemctl restart qpidd")
	a.await("it is a member", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
	if out := a.run("journalctl -u qpidd -o cat -p warning -n 20"); !strings.Contains(out, "it takes CAP_NET_ADMIN") {
		t.Error(out)
	}
	if out := a.run("nft list ruleset"); strings.Contains(out, "qpidd") {
		t.Errorf("it has a table all the same: %s", out)
	}
	a.run(able + " && systemctl restart qpidd")
	a.await("it is a member", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
}

// watchdog: a broker that stands still is replaced, and one that is killed as well. It is the one
// with the higher id: the other has the quorum without it.
func watchdog(t *testing.T, _, a *container) {
	a.run("mkdir -p /run/systemd/system/qpidd.service.d && printf '[Service]\\nWatchdogSec=2\\n' >/run/systemd/system/qpidd.service.d/watchdog.conf && systemctl daemon-reload && systemctl restart qpidd")
	a.await("it is a member", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
	pid := a.show("qpidd", "MainPID")
	for i, signal := range []string{"STOP", "KILL"} {
		a.run("kill -" + signal + " " + pid)
		a.await("it is started again", "systemctl show -p NRestarts qpidd", fmt.Sprintf("NRestarts=%d", i+1))
		a.await("it is a member again", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
		pid = a.show("qpidd", "MainPID")
	}
	if out := a.run("journalctl -u qpidd -o cat"); !strings.Contains(out, "Watchdog timeout") {
		t.Errorf("it was not the watchdog")
	}
	a.run("rm /run/systemd/system/qpidd.service.d/watchdog.conf && systemctl daemon-reload")
}

// upgrade keeps configuration and users, and what ran runs again.
func upgrade(t *testing.T, a, _ *container) {
	before := a.run("md5sum /etc/qpid/qpidd.conf /var/lib/qpidd/users")
	pid := a.show("qpidd", "MainPID")
	// The same version once more is what an upgrade does.
	a.run("DEBIAN_FRONTEND=noninteractive dpkg -i " + debs + " </dev/null")
	a.await("it is a member again", "systemctl show -p StatusText qpidd", "of 2")
	if a.show("qpidd", "MainPID") == pid {
		t.Error("the old broker still runs")
	}
	if after := a.run("md5sum /etc/qpid/qpidd.conf /var/lib/qpidd/users"); after != before {
		t.Errorf("%s, before %s", after, before)
	}
	a.run("qpid-cluster alice:secret@127.0.0.1:5672")
}

// remove takes the service and its rules away, and leaves data and configuration.
func remove(t *testing.T, a, b *container) {
	a.run("apt-get remove -y qpidd-cluster </dev/null")
	b.await("the other is alone", "systemctl show -p StatusText qpidd", "of 1")
	if out := a.run("nft list ruleset; ls /lib/systemd/system/qpidd* 2>/dev/null || true"); strings.Contains(out, "qpidd") {
		t.Errorf("something is left: %s", out)
	}
	a.run("test -s /var/lib/qpidd/users && test -e /etc/qpid/qpidd.conf")
	a.run("apt-get purge -y qpidd-cluster </dev/null && test -s /var/lib/qpidd/users && test ! -e /etc/qpid/qpidd.conf")
}

// TestRestartUnderLoad restarts a member through systemd, while clients publish and consume on
// the other. None of those is disturbed, and nothing that was promised is lost. With the socket
// open no connection to the one that restarts is refused.
func TestRestartUnderLoad(t *testing.T) {
	w := harness.NewNetwork(t, 2, 1500)
	list := []*container{boot(t, w.Hosts[0]), boot(t, w.Hosts[1])}
	cluster := harness.Start(t, 0)
	for _, c := range list {
		c.install()
		c.run("sed -i 's/^#auth=.*/auth=no/' /etc/qpid/qpidd.conf && systemctl start qpidd.socket qpidd")
		p := cluster.Place()
		p.Host, p.Port = c.Host, 5672
	}
	for _, c := range list {
		c.await("both are a cluster", "systemctl show -p StatusText qpidd", "of 2")
	}
	s := load.NewStage(t, cluster)
	s.RunOnce(s.Publishing, 0, s.Publish091("old"))
	s.RunOnce(s.Publishing, 0, s.Publish100("new"))
	s.RunOnce(s.Consuming, 0, s.Consume091("consumer", false))
	s.Await(t, "load", 500, 500, 0)

	over := make(chan struct{})
	var dialled, refused atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			conn, err := w.Hosts[0].Dial(ctx, net.JoinHostPort(list[1].IP, "5672"))
			cancel()
			dialled.Add(1)
			if err != nil {
				refused.Add(1)
				continue
			}
			conn.Close()
		}
	}()
	for range 3 {
		list[1].run("systemctl restart qpidd")
		list[1].await("it is a member again", "systemctl show -p StatusText qpidd", "active in cluster qpidd of 2")
		s.Await(t, "load after it", 500, 500, 0)
	}
	close(over)
	<-done
	t.Logf("%d connections while it restarted three times, %d refused", dialled.Load(), refused.Load())
	if refused.Load() > 0 || dialled.Load() < 100 {
		t.Errorf("%d of %d connections were refused", refused.Load(), dialled.Load())
	}
	s.Settle(t)
	if ends := s.Ends(); len(ends) > 0 {
		t.Errorf("clients of the other member lost it: %v", errors.Join(ends...))
	}
}

// TestNotifyReload has a systemd that knows Type=notify-reload: a reload is over when the broker has done it,
// and no sooner, so that whoever has changed the configuration can rely on it.
func TestNotifyReload(t *testing.T) {
	w := harness.NewNetwork(t, 1, 1500)
	a := bootSuite(t, w.Hosts[0], newer)
	a.install()
	// The DEB's units are for the systemd of whoever builds it.
	for _, name := range []string{"qpidd.service", "qpidd.socket"} {
		text, err := os.ReadFile("../../../systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		a.run("cat >/etc/systemd/system/" + name + " <<'EOF'\n" + string(text) + "EOF")
	}
	a.run("systemctl daemon-reload && systemd-analyze verify --man=no qpidd.socket qpidd.service && systemctl start qpidd.socket qpidd")
	if kind := a.show("qpidd", "Type"); kind != "notify-reload" {
		t.Errorf("the service is of type %s", kind)
	}
	pid := a.show("qpidd", "MainPID")
	for i := range 5 {
		a.run(fmt.Sprintf("sed -i 's/^#*max-connections=.*/max-connections=%d/' /etc/qpid/qpidd.conf && systemctl reload qpidd", 100+i))
		if out := a.run("journalctl --sync && journalctl -u qpidd -o cat"); strings.Count(out, "a restart is needed for what has changed of: max-connections") != i+1 {
			t.Fatalf("reload %d was over before it was done: %s", i+1, out)
		}
	}
	if state := a.show("qpidd", "ActiveState"); state != "active" || a.show("qpidd", "MainPID") != pid {
		t.Errorf("it is %s, and process %s was %s", state, a.show("qpidd", "MainPID"), pid)
	}
}

// TestSetup makes two hosts whose firewall drops everything a cluster with one command on each. Once
// more it changes nothing.
func TestSetup(t *testing.T) {
	w := harness.NewNetwork(t, 2, 1500)
	list := []*container{boot(t, w.Hosts[0]), boot(t, w.Hosts[1])}
	for _, c := range list {
		c.install()
		c.run("nft 'table inet mine { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; }; }'")
	}
	const setup = "qpid-cluster setup --cluster-name orders --cluster-size 2 </dev/null"
	for _, c := range list {
		out := c.run(setup)
		for _, want := range []string{"+ cluster-name=orders", "+ cluster-size=2", "new file /etc/corosync/corosync.conf", "running: nft insert rule inet mine input ip saddr 10.77.0.0/24 udp dport 5405 accept", "enabled and runs"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
	}
	for _, c := range list {
		c.await("both are a cluster", "systemctl show -p StatusText qpidd", "active in cluster orders of 2")
		if out := c.run(setup); strings.Contains(out, "+") || strings.Contains(out, "running") || !strings.Contains(out, "as it is to be") {
			t.Errorf("it changes something again: %s", out)
		}
		c.run("qpid-cluster doctor")
	}
}
