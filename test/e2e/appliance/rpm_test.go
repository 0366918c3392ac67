package appliance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// standIn provides what a Fedora has and the packages ask for. The tree that they are installed
// into has it all, but no RPM knows of it.
const standIn = `Name: stand-in
Version: 1
Release: 1
Summary: What is there already
License: Apache-2.0
BuildArch: noarch
Provides: /bin/sh
Provides: systemd
Provides: shadow-utils
Provides: logrotate
Provides: policycoreutils
Provides: selinux-policy
%description
What is there already.
%files
`

// TestRPM has dnf install the packages from a repository into a tree, with their scripts run there,
// and install them again over changed files, and remove them.
func TestRPM(t *testing.T) {
	harness.Privileged(t)
	root := unpack(t, stable)
	repository := t.TempDir()
	sh := func(command string, arguments ...any) string {
		t.Helper()
		out, err := exec.Command("bash", "-c", fmt.Sprintf(command, arguments...)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		return string(out)
	}
	spec := filepath.Join(repository, "stand-in.spec")
	if err := os.WriteFile(spec, []byte(standIn), 0o644); err != nil {
		t.Fatal(err)
	}
	sh("rpmbuild -bb --define '_topdir %s/build' --define '_rpmdir %[1]s' %s && cp %s/*.rpm %[1]s && createrepo_c -q %[1]s", repository, spec, packages(t))
	dnf := func(what string) string {
		t.Helper()
		return sh("dnf -y --installroot=%s --disablerepo='*' --repofrompath=new,%s --setopt=reposdir=/dev/null --nogpgcheck --releasever=40 --setopt=install_weak_deps=False %s </dev/null", root, repository, what)
	}
	rpm := func(what string) string { t.Helper(); return sh("rpm --root %s %s", root, what) }
	inside := func(what string) string { t.Helper(); return sh("chroot %s sh -c %q", root, what) }
	out := dnf("install qpidd-cluster qpidd-cluster-selinux")
	if strings.Contains(strings.ToLower(out), "scriptlet failed") || !strings.Contains(out, "qpidd-cluster-tools") {
		t.Error(out)
	}
	if out := rpm("-V qpidd-cluster qpidd-cluster-tools qpidd-cluster-selinux"); out != "" {
		t.Errorf("rpm -V: %s", out)
	}
	if out := inside("getent passwd qpidd && stat -c '%U:%G %a' /var/lib/qpidd /var/log/qpidd"); !strings.Contains(out, "/var/lib/qpidd:/usr/sbin/nologin") || strings.Count(out, "qpidd:qpidd 750") != 2 {
		t.Errorf("the scripts have not run: %s", out)
	}
	if out := inside("qpidd --version && systemd-analyze verify --man=no qpidd.socket && grep -c ^Type=notify-reload /usr/lib/systemd/system/qpidd.service"); !strings.Contains(out, "qpidd-cluster") {
		t.Error(out)
	}
	inside("qpid-cluster-store --help && test -s /usr/share/doc/qpidd-cluster/journal-format.md")
	module := "semodule -lfull -s default | grep -c '^400 qpid ' || true"
	if out := inside(module); strings.TrimSpace(out) != "1" {
		t.Errorf("the policy module is not installed: %s", out)
	}
	inside("echo port=5680 >>/etc/qpid/qpidd.conf && echo data >/var/lib/qpidd/data")
	dnf("reinstall qpidd-cluster")
	if out := rpm("-V qpidd-cluster || true"); !strings.Contains(out, "c /etc/qpid/qpidd.conf") || strings.Count(out, "\n") != 1 {
		t.Errorf("rpm -V: %s", out)
	}
	inside("grep -q ^port=5680 /etc/qpid/qpidd.conf")
	dnf("remove qpidd-cluster qpidd-cluster-selinux")
	if out := inside(module); strings.TrimSpace(out) != "0" {
		t.Errorf("the policy module is still there: %s", out)
	}
	inside("test -e /var/lib/qpidd/data && grep -q ^port=5680 /etc/qpid/qpidd.conf.rpmsave && test ! -e /usr/sbin/qpidd")
}
