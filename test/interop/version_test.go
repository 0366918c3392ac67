package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// version has what is started from here on read a file with a config_version.
func (l *lab) version(v int) {
	l.totem = strings.Split(l.totem, "\n\tconfig_version:")[0]
	if v != 0 {
		l.totem += fmt.Sprintf("\n\tconfig_version: %d", v)
	}
}

// TestConfigVersion: nodes tell their config_version as corosync does. Who has an older one than somebody
// whom it meets first ends, corosync and ours alike; who has none, or has met others, does not.
func TestConfigVersion(t *testing.T) {
	l := newLab(t)
	l.version(5)
	first := l.ringnode(2, 0)
	first.awaitView(viewLimit, 2)

	l.version(4)
	l.corosync(1)
	l.daemons[1].await(viewLimit, "ended: exit status")
	if log := l.log(); !strings.Contains(log, "Received config version (5) is different than my config version (4)! Exiting") {
		t.Errorf("corosync says\n%s", log)
	}
	first.awaitView(viewLimit, 2)

	l.version(6)
	newer := l.corosync(1)
	newer.awaitView(viewLimit, 1, 2)
	harness.Eventually(t, viewLimit, "corosync knows our version", func() error {
		out := l.ask(1, "corosync-cmapctl", "-g", "runtime.members.2.config_version")
		if !strings.HasSuffix(strings.TrimSpace(out), "= 5") {
			return fmt.Errorf("it says %s", out)
		}
		return nil
	})
	l.version(5)
	older := l.ringnode(3, 0)
	older.await(viewLimit, "outdated 6")
	older.await(viewLimit, "ended: exit status 0")
	l.version(0)
	none := l.ringnode(3, 1<<20)
	for _, p := range []*process{newer, first, none} {
		p.awaitView(viewLimit, 1, 2, 3)
	}
	if strings.Contains(first.text()+none.text(), "outdated") {
		t.Error("who has met others, or has no version, takes itself for outdated")
	}
}

// TestConfigVersionOfBrokers: a broker that is outdated ends with what to do about it, and a status upon which
// it is not started again. One that was alone until then and has the cluster's state goes on, and says so.
func TestConfigVersionOfBrokers(t *testing.T) {
	l := newLab(t)
	l.version(5)
	file := l.dir + "/versions.conf"
	broker := func(i int) *process {
		l.writeConfiguration(file)
		return start(t, i, fmt.Sprintf("qpidd %d", i), l.host(i).Line(harness.Program(t, "qpidd"), "--config=/dev/null", "--cluster-name=brokers",
			"--no-data-dir", "--auth=no", "--cluster-size=1", "--ring-config="+file)...)
	}
	first := broker(2)
	harness.Eventually(t, viewLimit, "the first is active", func() error { return l.active(t, 2, 1) })

	l.version(6)
	broker(3)
	first.awaitLine(viewLimit, "that it is outdated", func(line string) bool {
		return strings.Contains(line, "config_version is 5, and another node's is 6") && strings.Contains(line, "until then it goes on")
	})
	harness.Eventually(t, viewLimit, "both are active", func() error { return l.bothActive(t, 3) })
	if err := l.bothActive(t, 2); err != nil {
		t.Error(err)
	}

	l.version(4)
	older := broker(1)
	older.await(viewLimit, "ended: exit status 78")
	if text := older.text(); !strings.Contains(text, file+":7: config_version is 4, and another node's is 6: this ring configuration is out of date") {
		t.Errorf("the older one says\n%s", text)
	}
}
