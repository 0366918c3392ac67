package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestProbes has a doctor probe a ring that is in part corosync's, which takes probes, says nothing and
// does nothing.
func TestProbes(t *testing.T) {
	l := newLab(t)
	l.id = l.byAddress
	l.corosync(1)
	l.brokers(func(i int) []string {
		return []string{"--ring-config=", "--bindnetaddr=" + l.host(i).IP, "--mcastaddr=" + multicastGroup, fmt.Sprintf("--token=%dms", token)}
	})
	harness.Eventually(t, viewLimit, "both brokers are active", func() error { return errors.Join(l.bothActive(t, 2), l.bothActive(t, 3)) })
	before := l.log()
	r := (&harness.Command{Program: "qpid-cluster", Host: l.host(2), Arguments: []string{"doctor", "--all", "--json", "--listen=0", "--config=/dev/null", "--",
		"--cluster-name=brokers", "--no-data-dir", "--auth=no", "--ring-config=", "--bindnetaddr=" + l.host(2).IP, "--mcastaddr=" + multicastGroup, fmt.Sprintf("--token=%dms", token)}}).Run(t)
	var list []doctor.Finding
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	found := false
	for _, f := range list {
		if f.Member == "" && f.Verdict != doctor.OK {
			t.Errorf("nothing is wrong, and it finds %+v", f)
		}
		found = found || f.Check == "ring reach" && strings.Contains(f.Evidence, "what each of 2 sends")
	}
	if !found {
		t.Errorf("it has not probed: %+v", list)
	}
	if said := strings.TrimPrefix(l.log(), before); said != "" {
		t.Errorf("corosync says %s", said)
	}
	l.carry(t)
}

// log is what the one corosync has in its log.
func (l *lab) log() (text string) {
	l.t.Helper()
	logs, err := filepath.Glob(filepath.Join(l.dir, "*", "log", "*"))
	if err != nil || len(logs) != 1 {
		l.t.Fatalf("%v: %v", logs, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}
