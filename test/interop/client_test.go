package interop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// client starts our client of a host's corosync, perhaps as another user.
func (l *lab) client(i int, as ...string) *process {
	l.t.Helper()
	line := append(as, filepath.Join(l.programs, "ringnode"), "-corosync")
	return start(l.t, i, fmt.Sprintf("client %d", i), l.beside(i, line...)...)
}

// longer than a request to corosync can be, so that it goes in parts.
const hugeBytes = 3 << 20

// TestClient has clients of ours and of libcpg on the same corosyncs exchange messages of all
// lengths; and one of ours goes.
func TestClient(t *testing.T) {
	l := newLab(t)
	theirs := []*process{l.corosync(1), l.corosync(2)}
	theirs[0].awaitView(viewLimit, 1, 2)
	ours := []*process{l.client(1), l.client(2)}
	all := append(ours, theirs...)
	for _, p := range all {
		p.awaitView(viewLimit, 1, 1, 2, 2)
	}
	exchange(t, exchangeLimit, burstMessages, all...)

	all[0].say("start %d", len(all))
	for _, p := range all {
		p.await(startLimit, "started")
	}
	for _, p := range all {
		p.say("huge %d", hugeBytes)
	}
	burst(t, exchangeLimit, burstMessages, all...)

	ours[0].say("leave")
	for _, p := range all[1:] {
		p.await(token*time.Millisecond, "left 1 2")
	}
	<-ours[0].ended
	ours[1].kill()
	theirs[1].await(token*time.Millisecond, "left 2 5")
	exchange(t, exchangeLimit, burstMessages, theirs...)
}

// TestClientOverFile does the same over a socket in the file system.
func TestClientOverFile(t *testing.T) {
	l := newLab(t)
	if err := os.MkdirAll(filepath.Join(l.dir, "1", "libqb"), 0o755); err != nil {
		t.Fatal(err)
	}
	force := filepath.Join(l.dir, "1", "libqb", "force-filesystem-sockets")
	if err := os.WriteFile(force, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	theirs := l.corosync(1)
	theirs.awaitView(viewLimit, 1)
	if out := l.ask(1, "ss", "-xlH"); strings.Contains(out, "@cpg") || !strings.Contains(out, "/cpg ") {
		t.Fatalf("corosync's socket is not in the file system: %s", out)
	}
	ours := l.client(1)
	ours.awaitView(viewLimit, 1, 1)
	exchange(t, exchangeLimit, burstMessages, ours, theirs)
}

// TestClientGone kills the corosync of a client of ours.
func TestClientGone(t *testing.T) {
	l := newLab(t)
	l.corosync(1)
	ours := l.client(1)
	ours.awaitView(viewLimit, 1, 1)
	l.daemons[1].kill()
	ours.await(token*time.Millisecond, "ringnode: Disconnected from cluster: corosync has gone")
}

// TestClientDenied has a client run as a user that corosync's rules do not name, and then do.
func TestClientDenied(t *testing.T) {
	const user = "65534" // nobody, which has no files
	l := newLab(t)
	l.corosync(1).awaitView(viewLimit, 1)
	if err := os.Chmod(l.programs, 0o755); err != nil {
		t.Fatal(err)
	}
	as := []string{"setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups"}
	denied := l.client(1, as...)
	said := denied.await(startLimit, "ringnode: Failed to initialize CPG: access denied (11): corosync does not admit user")
	for _, want := range []string{"/etc/corosync/uidgid.d/qpidd", "uid: nobody", "gid: nogroup"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says %q, without %q", said, want)
		}
	}
	rules := filepath.Join(l.dir, "1", "etc", "uidgid.d")
	if err := os.MkdirAll(rules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rules, "qpidd"), []byte("uidgid {\n\tuid: nobody\n\tgid: nogroup\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, startLimit, "corosync reads its rules again", func() error {
		if out := l.ask(1, "corosync-cfgtool", "-R"); !strings.Contains(out, "Done") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	l.client(1, as...).awaitView(viewLimit, 1, 1)
}

// TestProvidersApart starts a broker on a corosync beside brokers with rings of their own: it says
// what is wrong, and they go on.
func TestProvidersApart(t *testing.T) {
	l := newLab(t)
	l.id = l.byAddress
	l.corosync(1)
	l.brokers(func(i int) []string {
		return []string{"--ring-config=", "--bindnetaddr=" + l.host(i).IP, "--mcastaddr=" + multicastGroup, fmt.Sprintf("--token=%dms", token)}
	})
	clustered := func() error { return errors.Join(l.bothActive(t, 2), l.bothActive(t, 3)) }
	harness.Eventually(t, viewLimit, "both brokers are active", clustered)
	stray := start(t, 1, "qpidd 1", l.beside(1, harness.Program(t, "qpidd"), "--config=/dev/null", "--cluster-name=brokers",
		"--no-data-dir", "--auth=no", "--ring-provider=corosync")...)
	stray.awaitLine(viewLimit, "it says what is wrong", func(line string) bool {
		return strings.Contains(line, "all brokers of a cluster must have the same --ring-provider")
	})
	l.carry(t)
}
